/**
 * The registry of what the candidate's migrations made of tables (sql/reshaped.ts), and production's image of
 * such tables, which is kept whole in the companion, in production's own shape.
 */
import { tableName } from '../../../change/table-id.ts';
import { NO_RESHAPES, parseReshaped, reshapedText } from '../../sql/reshaped.ts';
import type { Reshaped, Reshapes } from '../../sql/reshaped.ts';
import { shortenedTo } from '../../sql/shortened.ts';
import { describeTable, type ApplyTable } from '../apply/apply-table.ts';
import { readTables, type DatabaseTables } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import { readFlavour } from '../session/flavour.ts';
import { patiently } from '../session/metadata-locks.ts';
import { companionName, literal, quote, viewDatabase } from '../session/names.ts';
import { triggerDefiner } from '../shadow/accounts.ts';
import type { CapturedTable } from './journal.ts';
import { productionImage } from './waiting.ts';

const NAME_CHARACTERS = 64;

/** In the companion. */
export function keptName(table: string): string {
  return shortenedTo(NAME_CHARACTERS, table, '#kept');
}

export function keptRelation(database: string, table: string): string {
  return quote(companionName(database), keptName(table));
}

const registry = (database: string): string => quote(companionName(database), 'reshaped');
const ownTables = (database: string): string => quote(companionName(database), 'own_table');

/** `source`: the followed database in production. */
export async function readReshapes(
  client: Client,
  database: string,
  source: string,
): Promise<Reshapes> {
  const rows = await client.rows<{ shape: string }>(
    `SELECT shape FROM ${registry(database)} ORDER BY name`,
  );
  const own = await client.rows<{ name: string }>(`SELECT name FROM ${ownTables(database)}`);
  if (rows.length === 0 && own.length === 0) return NO_RESHAPES;
  const tables = rows.map(({ shape }) => parseReshaped(shape));
  return {
    tables: new Map(tables.map((one) => [tableName(one.schema.id), one])),
    own: new Set(own.map(({ name }) => tableName({ schema: source, name }))),
  };
}

export async function saveReshaped(
  client: Client,
  database: string,
  reshaped: Reshaped,
): Promise<void> {
  await client.run(`REPLACE INTO ${registry(database)} (name, shape) VALUES (?, ?)`, [
    ...[reshaped.schema.id.name, reshapedText(reshaped)],
  ]);
}

/** It is as production has it again, or for the first time: what was kept of it goes. */
export async function forgetReshaped(
  client: Client,
  database: string,
  table: string,
): Promise<void> {
  await client.run(`DELETE FROM ${registry(database)} WHERE name = ?`, [table]);
  await client.run(`DROP TABLE IF EXISTS ${keptRelation(database, table)}`);
}

export async function saveOwnTables(
  client: Client,
  database: string,
  names: readonly string[],
): Promise<void> {
  await client.run(`DELETE FROM ${ownTables(database)}`);
  for (const name of names) {
    await client.run(`INSERT INTO ${ownTables(database)} (name) VALUES (?)`, [name]);
  }
}

/** Production's image of a table that is captured as production has it: a copy of it, as a table of ours. */
export async function keepImage(
  client: Client,
  database: string,
  table: CapturedTable,
): Promise<void> {
  const kept = keptRelation(database, table.schema.id.name);
  const keys = new Set(table.key.map(({ name }) => name));
  const columns = table.columns.map(
    ({ name, stagedType }) => `${name} ${stagedType} ${keys.has(name) ? 'NOT NULL' : 'NULL'}`,
  );
  await client.run(`DROP TABLE IF EXISTS ${kept}`);
  await client.run(`CREATE TABLE ${kept} (
    ${[...columns, ...table.computed].join(',\n    ')},
    PRIMARY KEY (${[...keys].join(', ')})
  ) ENGINE=InnoDB`);
  const names = (alias: string): string =>
    table.columns.map(({ name }) => `${alias}.${name}`).join(', ');
  await client.run(
    `INSERT INTO ${kept} (${table.columns.map(({ name }) => name).join(', ')})
      ${productionImage(table, names)}`,
  );
}

/** What an applier's session knows of them. */
export interface KeptTables {
  readonly reshaped: ReadonlyMap<string, Reshaped>;
  /** By the same names. */
  readonly kept: ReadonlyMap<string, ApplyTable>;
}

export async function readKept(
  client: Client,
  database: string,
  { catalogue }: DatabaseTables,
): Promise<KeptTables> {
  const [first] = catalogue.values();
  const { tables: reshaped } = await readReshapes(client, database, first?.id.schema ?? '');
  if (reshaped.size === 0) return { reshaped, kept: new Map() };
  const companion = companionName(database);
  const tables = await readTables(client, companion, first?.id.schema ?? '');
  const kept = new Map<string, ApplyTable>();
  for (const [label, { schema }] of reshaped) {
    const id = { schema: first?.id.schema ?? '', name: keptName(schema.id.name) };
    kept.set(label, describeTable(tables, companion, id, companion));
  }
  return { reshaped, kept };
}

/** In place of the views of the same names; others are dropped by `ensureViews`. */
export async function ensureKeptViews(
  client: Client,
  database: string,
  { tables }: Reshapes,
): Promise<void> {
  const beside = viewDatabase(database, 'production');
  for (const { schema } of tables.values()) {
    const columns = schema.columns.map(({ name }) => quote(name)).join(', ');
    await patiently(
      client,
      database,
      `CREATE OR REPLACE DEFINER = ${triggerDefiner(database)} SQL SECURITY DEFINER
        VIEW ${quote(beside, schema.id.name)} AS
        SELECT ${columns} FROM ${keptRelation(database, schema.id.name)}`,
    );
  }
}

/** The account of our views reads it. */
export async function letRead(client: Client, database: string, table: string): Promise<void> {
  await client.run(
    `GRANT SELECT ON ${keptRelation(database, table)} TO ${triggerDefiner(database)}`,
  );
}

/**
 * What rows of production's get in columns that only the candidate has and that must have a value, by their
 * names; as SQL. Columns without a default are left out.
 */
export async function readDefaults(
  client: Client,
  database: string,
  { schema }: Pick<ApplyTable, 'schema'>,
  reshaped: Reshaped,
): Promise<ReadonlyMap<string, string>> {
  const theirs = new Set(reshaped.columns.values());
  const due = schema.columns.filter(
    ({ name, nullable, hasDefault }) => !theirs.has(name) && !nullable && hasDefault === true,
  );
  if (due.length === 0) return new Map();
  const { engine } = await readFlavour(client);
  const rows = await client.rows<{ name: string; told: string; extra: string }>(
    `SELECT COLUMN_NAME AS name, COLUMN_DEFAULT AS told, EXTRA AS extra
      FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?`,
    [database, schema.id.name],
  );
  // One server tells a text as it is, the other as it is written.
  const written = ({ told, extra }: { readonly told: string; readonly extra: string }): string =>
    engine === 'mariadb' || /DEFAULT_GENERATED/i.test(extra) || /^b'[01]*'$/.test(told)
      ? `(${told})`
      : literal(told);
  const names = new Set(due.map(({ name }) => name));
  return new Map(rows.filter(({ name }) => names.has(name)).map((row) => [row.name, written(row)]));
}
