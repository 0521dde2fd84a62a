/**
 * Rows of a rollout that refer to none: production deleted what a row of the candidate's refers to, or the
 * candidate what a row of production's does. Who applies checks no foreign key, and neither side did wrong.
 * Only a row that somebody owns, or a parent that is owned and gone, can be at an end of such a reference.
 */
import { escapeIdentifier, type ClientBase } from 'pg';
import { tableName } from '../../../change/table-id.ts';
import type { ForeignKey } from '../../../schema/table-schema.ts';
import type { PairsOn } from '../../../overlay/pairing.ts';
import type { OverlayConflict, RowSelection } from '../../overlay.ts';
import { Accepted, type AcceptedOrphan, type forgottenBy } from '../../sql/orphan-decisions.ts';
import { selectTables } from '../../sql/overlay-rows.ts';
import { keysEqual, type ApplyTable } from '../apply/apply-table.ts';
import { readComparisons, type Comparisons } from '../catalogue/key-facts.ts';
import { JOURNAL, OWN_SCHEMA, relation, TRACE_CHARACTERS } from '../session/names.ts';
import { passedBy } from '../shadow/passed.ts';
import { readCapturedTables } from './capture.ts';
import { readPairs, type PgPairs } from './pairs.ts';
import { selectionCondition } from './read.ts';

/** Those that stay as they are, see sql/orphan-decisions.ts. */
export const ACCEPTED = `${OWN_SCHEMA}.accepted_orphan`;

interface Orphan {
  readonly key: readonly string[];
  readonly referring: readonly (string | null)[];
  readonly firstAt: number;
  readonly firstSource: string | null;
  readonly trace: string | null;
}

/** As `fk_orphan`, of each foreign key at most `limit`; a row once for each. Errors: USAGE, TABLE_UNKNOWN. */
export async function readOrphans(
  client: ClientBase,
  limit: number,
  { pairsOn = null, ...only }: RowSelection & { readonly pairsOn?: PairsOn | null },
): Promise<readonly OverlayConflict[]> {
  const tables = await readCapturedTables(client);
  const pairs = await readPairs(client, tables, pairsOn);
  const comparisons = await readComparisons(client);
  const accepted = await readAccepted(client);
  const found: OverlayConflict[] = [];
  // A trace is an entry's, of the row or of what it refers to.
  const keyed = only.key === undefined ? {} : { key: only.key };
  for (const child of selectTables(tables, only)) {
    for (const key of child.schema.foreignKeys) {
      const parent = tables.find(({ label }) => label === tableName(key.references));
      const of = selectionCondition(child, 'c', keyed);
      const traced = only.trace === undefined ? [] : [only.trace];
      const { rows } = await client.query<Orphan>(
        orphansOf({ child, parent, key, comparisons, pairs }, of.sql, {
          limit: limit + accepted.size,
          trace: only.trace === undefined ? null : of.values.length + 1,
        }),
        [...of.values, ...traced],
      );
      const listed = rows.map((row) => toConflict(child, key, row));
      found.push(...listed.filter((one) => !accepted.has(one)).slice(0, limit));
    }
  }
  return found;
}

async function readAccepted(client: ClientBase): Promise<Accepted> {
  const { rows } = await client.query<AcceptedOrphan>(
    `SELECT table_schema AS schema, table_name AS name, reference, row_key AS key, referring
      FROM ${ACCEPTED}`,
  );
  return new Accepted(rows);
}

export async function forgetAccepted(
  client: ClientBase,
  forgotten: ReturnType<typeof forgottenBy>,
): Promise<void> {
  await client.query(
    `DELETE FROM ${ACCEPTED} a USING ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]),
        pg_catalog.unnest($3::text[])) AS t (schema, name, key)
      WHERE a.table_schema = t.schema AND a.table_name = t.name AND (t.key IS NULL OR a.row_key = t.key)`,
    [
      forgotten.map(({ table }) => table.schema),
      forgotten.map(({ table }) => table.name),
      forgotten.map(({ key }) => key),
    ],
  );
}

/** Of a row `c`: what it refers to, as `alias`. */
export function refersTo(key: ForeignKey, comparisons: Comparisons, alias: string): string {
  const compared = comparisons.get(tableName(key.references));
  return key.columns
    .map((column, i) => {
      const referenced = key.referencedColumns[i] ?? '';
      const equals = compared?.get(referenced)?.equals ?? 'OPERATOR(pg_catalog.=)';
      return `${alias}.${escapeIdentifier(referenced)} ${equals} c.${escapeIdentifier(column)}`;
    })
    .join(' AND ');
}

function orphansOf(
  parts: {
    readonly child: ApplyTable;
    /** Undefined where what is written to it is not captured. */
    readonly parent: ApplyTable | undefined;
    readonly key: ForeignKey;
    readonly comparisons: Comparisons;
    readonly pairs: PgPairs;
  },
  selected: string,
  { limit, trace }: { readonly limit: number; readonly trace: number | null },
): string {
  const { child, parent, key, comparisons, pairs } = parts;
  // Under another key the candidate has what it refers to.
  const twin = pairs.refersToTwin(child, key.columns, 'c');
  const refers = (alias: string): string => refersTo(key, comparisons, alias);
  const set = key.columns.map((column) => `c.${escapeIdentifier(column)} IS NOT NULL`);
  const none = `NOT EXISTS (SELECT FROM ${relation(key.references)} p WHERE ${refers('p')})`;
  const wanted = [
    ...set,
    none,
    ...(twin === null ? [] : [`NOT ${twin}`]),
    selected,
    ...(trace === null
      ? []
      : [
          `e.${JOURNAL.trace} = pg_catalog.left($${String(trace)}::text, ${String(TRACE_CHARACTERS)})`,
        ]),
  ].join(' AND ');
  const texts = (names: readonly string[]): string =>
    `ARRAY[${names.map((name) => `c.${name}::text`).join(', ')}]::text[]`;
  const what = `${texts(child.key.map(({ name }) => name))} AS key,
    ${texts(key.columns.map(escapeIdentifier))} AS referring,
    pg_catalog.date_part('epoch', e.${JOURNAL.at}) OPERATOR(pg_catalog.*) 1000 AS "firstAt",
    ${passedBy(`e.${JOURNAL.at}`)}::text AS "firstSource",
    e.${JOURNAL.trace} AS trace`;
  const owned = `SELECT ${what} FROM ${child.journal ?? ''} e
    JOIN ${child.rows} c ON ${keysEqual(child, ['c', 'name'], ['e', 'name'])} WHERE ${wanted}`;
  const gone =
    parent === undefined
      ? []
      : [
          `SELECT ${what} FROM ${parent.journal ?? ''} e JOIN ${child.rows} c ON ${refers('e')}
            WHERE e.${JOURNAL.present} AND ${wanted}`,
        ];
  return `${pairs.with(child)}SELECT DISTINCT ON (o.key) o.* FROM (${[owned, ...gone].join(' UNION ALL ')}) o
    ORDER BY o.key, o."firstAt" LIMIT ${String(limit)}`;
}

function toConflict({ schema }: ApplyTable, key: ForeignKey, row: Orphan): OverlayConflict {
  const at = new Date(row.firstAt);
  return {
    ...{ table: schema.id, key: row.key, kind: 'fk_orphan', detail: key.name },
    columns: key.columns.map((column, i) => ({
      ...{ column, base: null, production: null },
      candidate: row.referring[i] ?? null,
    })),
    ...{ firstAt: at, at, trace: row.trace, firstSource: row.firstSource, source: null },
  };
}
