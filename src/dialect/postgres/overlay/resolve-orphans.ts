/** Deciding of rows that refer to none, see orphans.ts. */
import { escapeLiteral } from 'pg';
import { tableName } from '../../../change/table-id.ts';
import type { Side } from '../../../overlay/conflict.ts';
import type { OverlayConflict, ResolvedRows, RowSelection } from '../../overlay.ts';
import { accepting, decideOrphans } from '../../sql/orphan-decisions.ts';
import { isApart, selectTables } from '../../sql/overlay-rows.ts';
import type { ApplySession } from '../apply/apply.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { readComparisons } from '../catalogue/key-facts.ts';
import { JOURNAL, relation } from '../session/names.ts';
import { ACCEPTED, readOrphans, refersTo } from './orphans.ts';
import { insertOutcomes } from './outcomes.ts';
import { selectionCondition } from './read.ts';
import { resetTable } from './reset.ts';

/** Of each foreign key, in one act. */
const MOST = 100_000;

/** Those of `tables`, in the caller's transaction. Errors: USAGE, TABLE_UNKNOWN, APPLY_BLOCKED. */
export async function resolveOrphans(
  session: ApplySession,
  tables: readonly ApplyTable[],
  only: RowSelection,
  side: Side,
): Promise<ResolvedRows> {
  const { client, pairsOn } = session;
  const labels = new Set(selectTables(tables, only, isApart).map(({ label }) => label));
  const child = ({ table }: OverlayConflict): ApplyTable => named(tables, tableName(table));
  return decideOrphans(
    {
      read: async () =>
        (await readOrphans(client, MOST, { ...only, pairsOn })).filter(({ table }) =>
          labels.has(tableName(table)),
        ),
      accept: async (orphans) => {
        for (const orphan of orphans) await accept(session, child(orphan), orphan);
      },
      putBack: (orphan) => putBack(session, tables, child(orphan), orphan),
    },
    side,
  );
}

function named(tables: readonly ApplyTable[], label: string): ApplyTable {
  const found = tables.find((table) => table.label === label);
  if (found === undefined) throw new Error(`no table ${label} is captured`);
  return found;
}

async function accept(
  { client }: ApplySession,
  table: ApplyTable,
  orphan: OverlayConflict,
): Promise<void> {
  const { schema, name, reference, key, referring } = accepting(orphan);
  await client.query(
    `INSERT INTO ${ACCEPTED} (table_schema, table_name, reference, row_key, referring)
      VALUES ($1, $2, $3, $4, $5)`,
    [schema, name, reference, key, referring],
  );
  const texts = orphan.key.map((text) => escapeLiteral(text)).join(', ');
  const trace = orphan.trace === null ? 'NULL' : escapeLiteral(orphan.trace);
  await client.query(
    insertOutcomes(
      table,
      { outcome: 'ours', source: null },
      `(SELECT ARRAY[${texts}]::text[] AS key, ${trace}::text AS trace,
        pg_catalog.to_timestamp(${String(orphan.firstAt.getTime() / 1000)}::float8) AS first_at)`,
    ),
  );
}

/** The row first; if production's refers to none either, what the candidate deleted. */
async function putBack(
  session: ApplySession,
  tables: readonly ApplyTable[],
  child: ApplyTable,
  { key, detail }: OverlayConflict,
): Promise<void> {
  const outcome = 'theirs';
  await resetTable(session, child, { ...selectionCondition(child, 'j', { key }), outcome });
  const reference = child.schema.foreignKeys.find(({ name }) => name === detail);
  const label = reference === undefined ? '' : tableName(reference.references);
  const parent = tables.find((table) => table.label === label);
  if (reference === undefined || parent === undefined) return;
  const comparisons = await readComparisons(session.client);
  const of = selectionCondition(child, 'c', { key });
  const refers = (alias: string): string => refersTo(reference, comparisons, alias);
  const gone = `j.${JOURNAL.present} AND EXISTS (SELECT FROM ${child.rows} c
    WHERE ${refers('j')} AND ${of.sql}
      AND NOT EXISTS (SELECT FROM ${relation(reference.references)} p WHERE ${refers('p')}))`;
  await resetTable(session, parent, { sql: gone, values: of.values, outcome });
}
