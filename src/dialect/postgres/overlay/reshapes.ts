/**
 * The registry of what the candidate's migrations made of tables (sql/reshaped.ts), and production's image of
 * such tables, which is kept whole in our schema, in production's own shape.
 */
import { escapeIdentifier, escapeLiteral, type ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import {
  NO_RESHAPES,
  parseReshaped,
  reshapedText,
  type Reshaped,
  type Reshapes,
} from '../../sql/reshaped.ts';
import { describeTable, type ApplyTable } from '../apply/apply-table.ts';
import type { Comparisons } from '../catalogue/key-facts.ts';
import {
  IMAGE,
  imageId,
  JOURNAL,
  OWN_SCHEMA,
  relation,
  shortened,
  viewId,
} from '../session/names.ts';
import { readGenerated } from './generated.ts';
import { imageStatements, readImageTables } from './images.ts';
import { copyStatements, type GeneratedColumn } from './journal.ts';

const REGISTRY = `${OWN_SCHEMA}.reshaped`;
const OWN_TABLES = `${OWN_SCHEMA}.own_table`;

/** Production's image of a reshaped table: `understudy."schema.table#kept"`. */
export function keptId(table: TableId): TableId {
  return { schema: OWN_SCHEMA, name: shortened(`${table.schema}.${table.name}`, '#kept') };
}

/** None where there is no registry, as in databases that a test makes by hand. */
export async function readReshapes(client: ClientBase): Promise<Reshapes> {
  const there = await client.query<{ there: boolean }>(
    `SELECT pg_catalog.to_regclass('${REGISTRY}') IS NOT NULL AS there`,
  );
  if (there.rows[0]?.there !== true) return NO_RESHAPES;
  const shapes = await client.query<{ shape: string }>(
    `SELECT shape FROM ${REGISTRY} ORDER BY schema, name`,
  );
  const own = await client.query<{ schema: string; name: string }>(
    `SELECT schema, name FROM ${OWN_TABLES}`,
  );
  const tables = shapes.rows.map(({ shape }) => parseReshaped(shape));
  return {
    tables: new Map(tables.map((one) => [tableName(one.schema.id), one])),
    own: new Set(own.rows.map(tableName)),
  };
}

/** The statement that notes it. */
export function savesReshaped(reshaped: Reshaped): string {
  const { schema, name } = reshaped.schema.id;
  const values = [schema, name, reshapedText(reshaped)].map((value) => escapeLiteral(value));
  return `INSERT INTO ${REGISTRY} (schema, name, shape) VALUES (${values.join(', ')})
    ON CONFLICT (schema, name) DO UPDATE SET shape = excluded.shape`;
}

/** It is as production has it: what was kept of it goes. */
export async function forgetReshaped(client: ClientBase, { schema, name }: TableId): Promise<void> {
  await client.query(`DELETE FROM ${REGISTRY} WHERE schema = $1 AND name = $2`, [schema, name]);
  await client.query(`DROP TABLE ${relation(keptId({ schema, name }))}`);
}

export async function saveOwnTables(client: ClientBase, own: readonly TableId[]): Promise<void> {
  await client.query(`DELETE FROM ${OWN_TABLES}`);
  await client.query(
    `INSERT INTO ${OWN_TABLES} (schema, name) SELECT * FROM unnest($1::text[], $2::text[])`,
    [own.map(({ schema }) => schema), own.map(({ name }) => name)],
  );
}

/** Makes production's image of a table that is captured as production has it: a copy of it, as a table of ours. */
export function keepImage(
  table: ApplyTable,
  generated: readonly GeneratedColumn[],
): readonly string[] {
  const kept = relation(keptId(table.schema.id));
  const journal = table.journal ?? '';
  const names = (alias: string): string =>
    table.columns.map(({ name }) => `${alias}.${name}`).join(', ');
  const same = table.key.map((c) => `j.${c.name} ${c.equals} t.${c.name}`).join(' AND ');
  return [
    ...copyStatements(table, generated, { name: kept, columns: [], isRow: 'true' }),
    `INSERT INTO ${kept} (${table.columns.map(({ name }) => name).join(', ')})
      SELECT ${names('t')} FROM ${table.rows} t WHERE NOT EXISTS (SELECT FROM ${journal} j WHERE ${same})
      UNION ALL SELECT ${names('j')} FROM ${journal} j WHERE j.${JOURNAL.present}`,
  ];
}

/** For statements on what is kept; otherwise it is as the table was in production's shape. */
export function describeKept({ schema }: Reshaped, comparisons: Comparisons): ApplyTable {
  const id = keptId(schema.id);
  const name = relation(id);
  // What is never sent of a row is not known here, where the table itself may have a default for it.
  const columns = schema.columns.map((column) =>
    schema.key.includes(column.name) ? column : { ...column, nullable: true },
  );
  const whole = { ...schema, columns, uniques: [], foreignKeys: [], partitioned: false };
  return {
    ...describeTable({ ...whole, id }, comparisons, null),
    ...{ schema: whole, label: tableName(schema.id), relation: name, rows: name },
  };
}

/** What an applier's session knows of them. */
export interface KeptTables {
  readonly reshaped: ReadonlyMap<string, Reshaped>;
  /** By the same names. */
  readonly kept: ReadonlyMap<string, ApplyTable>;
  /** Names, by `tableName()`, of what the candidate made of them. */
  readonly visible: ReadonlySet<string>;
}

export async function readKept(client: ClientBase, comparisons: Comparisons): Promise<KeptTables> {
  const { tables: reshaped } = await readReshapes(client);
  const all = [...reshaped];
  return {
    reshaped,
    kept: new Map(all.map(([label, one]) => [label, describeKept(one, comparisons)] as const)),
    visible: new Set(
      all.flatMap(([, one]) => (one.visible === null ? [] : [tableName(one.visible)])),
    ),
  };
}

/** What is kept of a table, or of the root of a partition. */
export function keptOf({ kept, reshaped }: KeptTables, table: TableId): ApplyTable | undefined {
  const label = tableName(table);
  const root = [...reshaped].find(([, { partitions }]) =>
    partitions.some(({ id }) => tableName(id) === label),
  );
  return kept.get(root?.[0] ?? label);
}

/** Its rows that are set aside are kept in production's shape, too. */
export async function ensureKeptImages(client: ClientBase, table: ApplyTable): Promise<void> {
  if ((await readImageTables(client)).has(imageId(table.schema.id).name)) return;
  const generated = await readGenerated(client);
  const kept = generated.get(tableName(keptId(table.schema.id))) ?? [];
  await client.query(imageStatements(table, kept).join(';\n'));
}

/** As `productionView`. */
export function keptView(table: ApplyTable): string {
  const all = table.schema.columns.map((column) => escapeIdentifier(column.name));
  const columns = (alias: string): string => all.map((c) => `${alias}.${c}`).join(', ');
  const images = relation(imageId(table.schema.id));
  const same = table.key.map((c) => `i.${c.name} ${c.equals} t.${c.name}`).join(' AND ');
  return `CREATE VIEW ${relation(viewId(table.schema.id, 'production'))} AS
    SELECT ${columns('t')} FROM ${table.rows} t
      WHERE NOT EXISTS (SELECT FROM ${images} i WHERE ${same})
    UNION ALL SELECT ${columns('i')} FROM ${images} i WHERE i.${IMAGE.state} = 'i'`;
}
