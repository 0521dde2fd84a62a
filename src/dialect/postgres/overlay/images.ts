/**
 * Where production's rows are kept that are set aside: for each table a table of the same columns
 * without constraints. A row that its columns' types refuse is not known here, and neither is one
 * that no event told whole.
 */
import type { ClientBase } from 'pg';
import type { ApplyTable } from '../apply/apply-table.ts';
import { IMAGE, imageId, OWN_SCHEMA, relation } from '../session/names.ts';
import { readGenerated } from './generated.ts';
import { copyStatements, type GeneratedColumn } from './journal.ts';
import { productionView } from './views.ts';

/** The statements that make a table's images, without any. */
export function imageStatements(
  table: ApplyTable,
  generated: readonly GeneratedColumn[],
): readonly string[] {
  return copyStatements(table, generated, {
    name: relation(imageId(table.schema.id)),
    columns: [`${IMAGE.state} "char" NOT NULL`, `${IMAGE.letter} text`],
    isRow: `${IMAGE.state} = 'i'`,
  });
}

/** Names of the tables that hold images. */
export async function readImageTables(client: ClientBase): Promise<Set<string>> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT c.relname AS name FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = '${OWN_SCHEMA}' AND c.relkind = 'r' AND c.relname LIKE '%#image'`,
  );
  return new Set(rows.map(({ name }) => name));
}

/**
 * Makes a table's images where they are not: on a trunk, whose tables get them when they need them,
 * and on a rollout of an older version, whose view is to show them. A column that the table has got
 * since is added; then what was known is not known any more.
 */
export async function ensureImages(client: ClientBase, table: ApplyTable): Promise<void> {
  const { schema, name } = imageId(table.schema.id);
  const images = relation({ schema, name });
  const { rows } = await client.query<{ column: string; enum: number | null }>(
    `SELECT a.attname AS column, CASE t.typtype WHEN 'e' THEN t.oid::int8::float8 END AS enum
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
      WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped`,
    [images],
  );
  const generated = (await readGenerated(client)).get(table.label) ?? [];
  if (rows.length === 0) {
    const view = table.journal === null ? [] : [productionView(table, 'OR REPLACE')];
    await client.query([...imageStatements(table, generated), ...view].join(';\n'));
    return;
  }
  await followEnums(client, images, table, new Map(rows.map((row) => [row.column, row.enum])));
  const there = new Set(rows.map(({ column }) => column));
  const lacking = table.columns.filter((column) => !there.has(column.schema.name));
  if (lacking.length === 0) return;
  const added = lacking.map(
    ({ name: column, schema: { type } }) => `ADD COLUMN ${column} ${type.domainOf ?? type.sql}`,
  );
  await client.query(
    `ALTER TABLE ${images} ${added.join(', ')};
      UPDATE ${images} SET ${IMAGE.state} = 'u' WHERE ${IMAGE.state} = 'i'`,
  );
}

/** An enum may have got another name, and another enum its name. */
async function followEnums(
  client: ClientBase,
  images: string,
  { columns }: ApplyTable,
  enums: ReadonlyMap<string, number | null>,
): Promise<void> {
  for (const { name, schema } of columns) {
    const was = enums.get(schema.name) ?? null;
    if (was === null) continue;
    const type = schema.type.domainOf ?? schema.type.sql;
    const { rows } = await client.query<{ now: number | null }>(
      'SELECT pg_catalog.to_regtype($1)::oid::int8::float8 AS now',
      [type],
    );
    const now = rows[0]?.now ?? null;
    if (now === null || now === was) continue;
    await client.query(
      `ALTER TABLE ${images} ALTER COLUMN ${name} TYPE ${type} USING ${name}::pg_catalog.text::${type}`,
    );
  }
}
