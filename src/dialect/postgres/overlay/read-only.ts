/**
 * Tables that a candidate may read and not write (tables.rules, mode `readonly`): triggers that refuse its
 * rows, in any session but the applier's. They are made and dropped as the rules have it by now.
 */
import { escapeIdentifier, escapeLiteral, type ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { TableSchema } from '../../../schema/table-schema.ts';
import type { ReadOnly } from '../../overlay.ts';
import { guardedTables } from '../../sql/reshaped.ts';
import type { SparedAccount } from '../apply/applier-rights.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { OWN_SCHEMA, relation } from '../session/names.ts';
import { notApplier } from '../shadow/fallback-schema.ts';
import { readReshapes } from './reshapes.ts';

/** The function's name; it captures nothing. */
export const REFUSE = 'refuse_write';
const FUNCTION = `${OWN_SCHEMA}.${REFUSE}`;

const CREATE_REFUSE = `CREATE OR REPLACE FUNCTION ${FUNCTION}() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $refuse$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'read_only_sql_transaction',
    MESSAGE = format('%I.%I is read-only in this rollout', TG_TABLE_SCHEMA, TG_TABLE_NAME),
    HINT = 'tables.rules of its configuration has mode: readonly for it';
END $refuse$`;

/** By row: a cascade that reaches no row is none. Partitions get clones of it. */
const ROWS = '!understudy_read_only';
/** Fires by statement alone, so that each partition has its own. */
const TRUNCATE = '!understudy_read_only_truncate';

interface Guard {
  readonly schema: string;
  readonly table: string;
  readonly name: string;
}

const FOUND = `SELECT n.nspname AS schema, c.relname AS "table", t.tgname AS name
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE t.tgparentid = 0 AND t.tgenabled = 'O'
    AND t.tgfoid = pg_catalog.to_regproc(${escapeLiteral(FUNCTION)})`;

/** Null: there are no rules. In the caller's fenced transaction. Waits for who is writing a table of which a trigger comes or goes. */
export async function ensureReadOnly(
  client: ClientBase,
  spared: SparedAccount,
  readOnly: ReadOnly | null,
): Promise<void> {
  const { rows: found } = await client.query<Guard>(FOUND);
  if (readOnly === null && found.length === 0) return;
  const catalogue = await readCatalogue(client);
  const wanted = new Map(
    guardedTables(catalogue, await readReshapes(client), readOnly ?? (() => false)).flatMap(
      (table) => {
        const label = tableName(table.id);
        const partitions = [...catalogue.values()].filter(
          ({ partitionOf }) => partitionOf !== undefined && tableName(partitionOf) === label,
        );
        return guards(table, partitions, spared);
      },
    ),
  );
  const isThere = new Set(found.map((guard) => idOf(guard.name, guard.schema, guard.table)));
  const statements = [
    ...found
      .filter((guard) => !wanted.has(idOf(guard.name, guard.schema, guard.table)))
      .map(({ name, schema, table }) => drop(name, { schema, name: table })),
    ...[...wanted].flatMap(([id, create]) => (isThere.has(id) ? [] : [create])),
  ];
  if (statements.length === 0) return;
  await client.query([CREATE_REFUSE, ...statements].join(';\n'));
}

const idOf = (...parts: readonly string[]): string => JSON.stringify(parts);

function drop(name: string, table: TableId): string {
  return `DROP TRIGGER IF EXISTS ${escapeIdentifier(name)} ON ${relation(table)}`;
}

function guards(
  { id: root }: TableSchema,
  partitions: readonly TableSchema[],
  spared: SparedAccount,
): readonly (readonly [id: string, create: string])[] {
  const when = spared === null ? '' : `WHEN (${notApplier(spared)})`;
  // One that is there and was disabled is made anew.
  const guard = (name: string, id: TableId, fires: string): readonly [string, string] => [
    idOf(name, id.schema, id.name),
    `${drop(name, id)};
      CREATE TRIGGER ${escapeIdentifier(name)} BEFORE ${fires.replace('?', `ON ${relation(id)}`)}
      ${when} EXECUTE FUNCTION ${FUNCTION}()`,
  ];
  return [
    guard(ROWS, root, 'INSERT OR UPDATE OR DELETE ? FOR EACH ROW'),
    ...[root, ...partitions.map(({ id }) => id)].map((id) =>
      guard(TRUNCATE, id, 'TRUNCATE ? FOR EACH STATEMENT'),
    ),
  ];
}
