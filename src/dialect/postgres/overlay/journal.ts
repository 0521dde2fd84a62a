import { escapeIdentifier, escapeLiteral, type ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { assert } from '../../../util/assert.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { CAPTURED_TABLE, JOURNAL, journalId, OWN_SCHEMA, relation } from '../session/names.ts';

/** `tableName()` of each captured table to its journal. */
export type CapturedTables = ReadonlyMap<string, TableId>;

/**
 * One row per captured table. `touched` counts the batches that changed it: a candidate's TRUNCATE
 * in REPEATABLE READ, whose snapshot may miss rows that TRUNCATE removes all the same, fails to
 * serialize against it (see capture-sql.ts).
 */
export const CREATE_REGISTRY = `CREATE TABLE ${CAPTURED_TABLE} (
    schema text NOT NULL, name text NOT NULL, journal text NOT NULL,
    touched int8 NOT NULL DEFAULT 0, PRIMARY KEY (schema, name))`;

/** The captured tables of this database, or null if no overlay is installed. */
export async function readCaptured(client: ClientBase): Promise<CapturedTables | null> {
  const there = await client.query<{ there: boolean }>(
    `SELECT pg_catalog.to_regclass($1) IS NOT NULL AS there`,
    [CAPTURED_TABLE],
  );
  if (there.rows[0]?.there !== true) return null;
  const rows = await client.query<{ schema: string; name: string; journal: string }>(
    `SELECT schema, name, journal FROM ${CAPTURED_TABLE} ORDER BY schema, name`,
  );
  return new Map(
    rows.rows.map((row) => [
      tableName({ schema: row.schema, name: row.name }),
      { schema: OWN_SCHEMA, name: row.journal },
    ]),
  );
}

/**
 * Says that rows of these tables changed. Last in the transaction, after their row locks: a
 * TRUNCATE holds the table first and this row second, and so must we.
 */
export async function touchCaptured(
  client: ClientBase,
  tables: readonly ApplyTable[],
): Promise<void> {
  const captured = tables.filter((table) => table.journal !== null).map((table) => table.schema.id);
  if (captured.length === 0) return;
  await client.query(
    `UPDATE ${CAPTURED_TABLE} c SET touched = c.touched + 1
     FROM (SELECT r.schema, r.name FROM ${CAPTURED_TABLE} r
           JOIN unnest($1::text[], $2::text[]) AS u(schema, name)
             ON u.schema = r.schema AND u.name = r.name
           ORDER BY r.schema, r.name FOR NO KEY UPDATE OF r) l
     WHERE c.schema = l.schema AND c.name = l.name`,
    [captured.map((id) => id.schema), captured.map((id) => id.name)],
  );
}

/** A generated column of a table. */
export interface GeneratedColumn {
  readonly name: string;
  readonly expression: string;
  readonly stored: boolean;
}

/** Columns of a journal that tell of rows that are kept out, and of conflicts. */
const CONFLICT_COLUMNS: readonly string[] = [
  `${JOURNAL.refused} text`,
  `${JOURNAL.detail} text`,
  `${JOURNAL.conflict} text`,
  `${JOURNAL.conflictBase} jsonb`,
  `${JOURNAL.conflictAt} timestamptz`,
  `${JOURNAL.conflictSource} json`,
];

/** Few entries are such, and they are looked for often. */
function conflictIndexes(journal: string): readonly string[] {
  return [JOURNAL.refused, JOURNAL.conflict].map(
    (column) => `CREATE INDEX ON ${journal} (${JOURNAL.at}) WHERE ${column} IS NOT NULL`,
  );
}

/** The statements that make the journal of a table, see copyStatements. */
export function journalStatements(
  table: ApplyTable,
  generated: readonly GeneratedColumn[],
): readonly string[] {
  const id = journalId(table.schema.id);
  const { schema, name } = table.schema.id;
  const values = [schema, name, id.name].map((v) => escapeLiteral(v));
  return [
    ...copyStatements(table, generated, {
      name: relation(id),
      columns: [
        `${JOURNAL.present} boolean NOT NULL`,
        `${JOURNAL.at} timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()`,
        `${JOURNAL.trace} text`,
        `${JOURNAL.blocked} xid`,
        `${JOURNAL.moved} boolean NOT NULL DEFAULT false`,
        ...CONFLICT_COLUMNS,
      ],
      isRow: JOURNAL.present,
    }),
    ...conflictIndexes(relation(id)),
    `INSERT INTO ${CAPTURED_TABLE} (schema, name, journal) VALUES (${values.join(', ')})`,
  ];
}

/**
 * The statements that make a table for rows of another one: all its columns with their types and
 * collations, domains as the types beneath them, and no constraint but the key; generated columns
 * with their expressions, so that a row there shows them too. `isRow` is true where an entry holds a
 * row and not only a key.
 */
export function copyStatements(
  table: ApplyTable,
  generated: readonly GeneratedColumn[],
  copy: { readonly name: string; readonly columns: readonly string[]; readonly isRow: string },
): readonly string[] {
  const columns = table.columns.map(({ name, schema }) => {
    const { domainOf } = schema.type;
    return domainOf === undefined ? `t.${name}` : `t.${name}::${domainOf} AS ${name}`;
  });
  const key = table.key.map((column) => column.name).join(', ');
  const more = copy.columns.map((column) => `ADD COLUMN ${column}`);
  return [
    `CREATE TABLE ${copy.name} AS SELECT ${columns.join(', ')} FROM ${table.rows} t WITH NO DATA`,
    `ALTER TABLE ${copy.name} ${[`ADD PRIMARY KEY (${key})`, ...more].join(', ')}`,
    ...generated.map(
      (column) => `ALTER TABLE ${copy.name} ADD COLUMN ${escapeIdentifier(column.name)}
        ${typeOf(table, column.name)} GENERATED ALWAYS AS (CASE WHEN ${copy.isRow} THEN ${column.expression} END)
        ${column.stored ? 'STORED' : 'VIRTUAL'}`,
    ),
  ];
}

/** A column's type for a journal: beneath a domain, which might refuse the null of no image. */
function typeOf(table: ApplyTable, name: string): string {
  const type = table.schema.columns.find((column) => column.name === name)?.type;
  assert(type !== undefined, `${table.label} has the column ${name}`);
  return type.domainOf ?? type.sql;
}
