/**
 * The journal of a table: production's image of each row that the candidate wrote, by the row's key. The
 * first write of a row makes its entry, and later ones leave it. Whether the candidate inserted, changed
 * or deleted the row follows from the entry and the row.
 */
import { createHash } from 'node:crypto';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { OVERLAY_WINS, type TablePolicy } from '../../../overlay/policy.ts';
import { columnNow } from '../../../schema/former-columns.ts';
import { describeTable, stagedType, type ApplyTable } from '../apply/apply-table.ts';
import { readTables, type DatabaseTables } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import {
  companionName,
  JOURNAL,
  journalName,
  literal,
  nextJournalName,
  quote,
  TRACE_BYTES,
  TRACE_VARIABLE,
  waitingName,
} from '../session/names.ts';

/** Names of columns that are not the table's, as literals. */
const OWN = Object.values(JOURNAL).map(literal).join(', ');

/** A table with its journal. */
export interface CapturedTable extends ApplyTable {
  /** Quoted and qualified. */
  readonly journal: string;
  /** Quoted and qualified: where changes wait (overlay/waiting.ts). */
  readonly waiting: string;
  /** Quoted: the database that holds it. */
  readonly companion: string;
  /** Definitions of columns that are computed in the journal as in the table. */
  readonly computed: readonly string[];
  /** See `Isolates`; false where it does not matter. */
  readonly isolated: boolean;
  /** Who wins where production changes what the candidate owns; by default the candidate does. */
  readonly policy: TablePolicy;
  /** See `readDefaults`; empty where it does not matter. */
  readonly defaults: ReadonlyMap<string, string>;
}

export function describeCaptured(
  tables: DatabaseTables,
  database: string,
  id: ApplyTable['schema']['id'],
): CapturedTable {
  const table = describeTable(tables, database, id);
  const { label, schema } = table;
  const expressions = tables.expressions.get(label);
  const forms = tables.textForms.get(label);
  const computed = schema.columns.flatMap((column) => {
    const expression = expressions?.get(column.name);
    if (column.generated === 'no' || expression === undefined) return [];
    const type = stagedType(column, forms?.get(column.name));
    return [`${quote(column.name)} ${type} AS (${expression}) VIRTUAL`];
  });
  return {
    ...table,
    ...{ computed, isolated: false, policy: OVERLAY_WINS, defaults: new Map() },
    journal: quote(companionName(database), journalName(id.name)),
    waiting: quote(companionName(database), waitingName(id.name)),
    companion: quote(companionName(database)),
  };
}

/** Columns for images of rows: every key here is one there, and no other, by types and collations. */
export function imageDefinitions(table: CapturedTable): readonly string[] {
  const keys = new Set(table.key.map((column) => column.name));
  const columns = table.columns.map(
    (one) => `${one.name} ${one.stagedType} ${keys.has(one.name) ? 'NOT NULL' : 'NULL'}`,
  );
  return [...columns, ...table.computed];
}

export function createJournal(table: CapturedTable, name: string): string {
  return `CREATE TABLE ${name} (
    ${imageDefinitions(table).join(',\n    ')},
    ${JOURNAL.present} TINYINT NOT NULL,
    ${JOURNAL.at} TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    ${JOURNAL.moved} TINYINT NOT NULL DEFAULT 0,
    ${JOURNAL.trace} VARBINARY(${String(TRACE_BYTES)}),
    ${JOURNAL.blocked} VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin,
    ${JOURNAL.conflict} VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin,
    ${JOURNAL.conflictBase} LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    ${JOURNAL.conflictAt} TIMESTAMP(6) NULL,
    ${JOURNAL.conflictSource} TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    ${JOURNAL.detail} VARCHAR(500) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    PRIMARY KEY (${table.key.map(({ name: column }) => column).join(', ')})
  ) ENGINE=InnoDB`;
}

/**
 * Makes the journal where there is none, and brings one into its table's shape, with its entries, by the
 * names that columns had before. Nobody writes into it meanwhile. SCHEMA_FAILED if there are entries that
 * lack a column, or have another key.
 */
export async function ensureJournal(
  client: Client,
  database: string,
  table: CapturedTable,
): Promise<void> {
  const wanted = shapeOf(table);
  const create = (where: string): Promise<unknown> =>
    client.run(`${createJournal(table, where)} COMMENT '${wanted}'`);
  const there = await readShape(client, database, journalName(table.schema.id.name));
  if (there === wanted) return;
  if (there === null) {
    await create(table.journal);
    return;
  }
  const next = quote(companionName(database), nextJournalName(table.schema.id.name, 'next'));
  await client.run(`DROP TABLE IF EXISTS ${next}`);
  await create(next);
  if (await hasEntries(client, table)) {
    const from = await sourcesOf(client, database, table);
    const kept = await ownColumns(client, database, journalName(table.schema.id.name));
    await client.run(
      `INSERT INTO ${next} (${[...table.columns.map((one) => one.name), ...kept].join(', ')})
        SELECT ${[...from, ...kept].join(', ')} FROM ${table.journal}`,
    );
  }
  await replaceJournal(client, database, table, next);
}

/** By the one that was made, in one step: there are entries under the name at any time. */
export async function replaceJournal(
  client: Client,
  database: string,
  table: CapturedTable,
  next: string,
): Promise<void> {
  const last = quote(companionName(database), nextJournalName(table.schema.id.name, 'last'));
  await client.run(`DROP TABLE IF EXISTS ${last}`);
  await client.run(`RENAME TABLE ${table.journal} TO ${last}, ${next} TO ${table.journal}`);
  await client.run(`DROP TABLE ${last}`);
}

/** Columns that are not the table's: those of older versions have fewer. */
export async function ownColumns(
  client: Client,
  database: string,
  journal: string,
): Promise<readonly string[]> {
  const found = await client.rows<{ name: string }>(
    `SELECT COLUMN_NAME AS name FROM information_schema.COLUMNS
      WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND COLUMN_NAME IN (${OWN})`,
    [companionName(database), journal],
  );
  return found.map(({ name }) => name);
}

/** Is a journal of an older version there? */
export async function isOldJournal(client: Client, database: string): Promise<boolean> {
  const found = await client.rows(
    `SELECT TABLE_NAME AS name FROM information_schema.COLUMNS
      WHERE TABLE_SCHEMA = ? AND COLUMN_NAME IN (${OWN})
        AND TABLE_NAME NOT REGEXP '#(journal_(next|last)|waiting)$'
      GROUP BY TABLE_NAME HAVING SUM(COLUMN_NAME = '${JOURNAL.present}') = 1
        AND COUNT(*) < ${String(Object.keys(JOURNAL).length)} LIMIT 1`,
    [companionName(database)],
  );
  return found.length > 0;
}

/** Tells the journal's shape from all others: its comment. */
export function shapeOf(table: CapturedTable): string {
  return createHash('sha256').update(createJournal(table, table.journal)).digest('hex');
}

/** As a table beside the captured one tells it, a journal or another; null if there is none. */
export async function readShape(
  client: Client,
  database: string,
  name: string,
): Promise<string | null> {
  const [found] = await client.rows<{ comment: string }>(
    `SELECT TABLE_COMMENT AS comment FROM information_schema.TABLES
      WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?`,
    [companionName(database), name],
  );
  return found?.comment ?? null;
}

/** Is there a journal that has its table's shape? */
export async function isJournalDone(
  client: Client,
  database: string,
  table: CapturedTable,
): Promise<boolean> {
  return (await readShape(client, database, journalName(table.schema.id.name))) === shapeOf(table);
}

export async function hasEntries(client: Client, { journal }: CapturedTable): Promise<boolean> {
  return (await client.rows(`SELECT 1 AS entry FROM ${journal} LIMIT 1`)).length > 0;
}

/** The journal's columns for the table's, quoted. */
async function sourcesOf(
  client: Client,
  database: string,
  table: CapturedTable,
): Promise<readonly string[]> {
  const found = await readJournalColumns(client, database, table);
  const names = new Map(found.map(({ name }) => [columnNow(table.schema, name) ?? name, name]));
  for (const { name } of found) names.set(name, name);
  const sources = table.schema.key.map((name) => names.get(name));
  const key = found.filter(({ isKey }) => isKey).map(({ name }) => name);
  const columns = table.columns.map(({ schema }) => names.get(schema.name));
  if (columns.includes(undefined) || sources.join('\0') !== key.join('\0')) {
    const what = 'a table changed its shape of which the candidate owns rows';
    throw new UnderstudyError('SCHEMA_FAILED', what, { database, table: table.label });
  }
  return columns.map((name) => quote(name ?? ''));
}

/** Columns of the journal that are the table's, those of its key in their order. */
export function readJournalColumns(
  client: Client,
  database: string,
  { schema }: CapturedTable,
): Promise<readonly { readonly name: string; readonly isKey: boolean }[]> {
  return client.rows(
    `SELECT c.COLUMN_NAME AS name, s.SEQ_IN_INDEX IS NOT NULL AS isKey
      FROM information_schema.COLUMNS c
      LEFT JOIN information_schema.STATISTICS s ON s.TABLE_SCHEMA = c.TABLE_SCHEMA
        AND s.TABLE_NAME = c.TABLE_NAME AND s.COLUMN_NAME = c.COLUMN_NAME
      WHERE c.TABLE_SCHEMA = ? AND c.TABLE_NAME = ? AND c.COLUMN_NAME NOT IN (${OWN})
      ORDER BY s.SEQ_IN_INDEX, c.ORDINAL_POSITION`,
    [companionName(database), journalName(schema.id.name)],
  );
}

/** Is there a journal without that column, which its table is about to get? */
export async function lacksColumn(
  client: Client,
  database: string,
  table: CapturedTable,
  column: string,
): Promise<boolean> {
  const found = await readJournalColumns(client, database, table);
  return found.length > 0 && !found.some(({ name }) => name === column);
}

/** What the candidate's session says of what it writes for: any bytes, of which no statement of its fails. */
export const TRACE = `LEFT(CAST(${TRACE_VARIABLE} AS BINARY), ${String(TRACE_BYTES)})`;

const unlessOwned = (column: string, value: string): string =>
  `${column} = IF(${JOURNAL.blocked} IS NULL, ${column}, ${value})`;

/**
 * An entry that is there stays; its row is locked, which who applies relies on. One of a row that is kept out
 * becomes the candidate's, with production's image as it is: who is first to write the row is so now. Of which
 * kind its conflict is then is told later (settled.ts). (The servers assign from left to right, and write nothing
 * where nothing changes.)
 */
export const KEEPING = `ON DUPLICATE KEY UPDATE
    ${unlessOwned(JOURNAL.at, 'CURRENT_TIMESTAMP(6)')},
    ${unlessOwned(JOURNAL.trace, TRACE)},
    ${unlessOwned(JOURNAL.detail, 'NULL')},
    ${JOURNAL.blocked} = NULL`;

/**
 * Columns of an entry that a trigger makes with production's image, and of one that says that production has
 * no such row; the last two are `present` and TRACE.
 */
export function imageColumns(table: CapturedTable): string {
  return [...table.columns.map(({ name }) => name), JOURNAL.present, JOURNAL.trace].join(', ');
}

export function absentColumns(table: CapturedTable): string {
  return [...table.key.map(({ name }) => name), JOURNAL.present, JOURNAL.trace].join(', ');
}

/** A trace as text. */
export const traceText = (alias: string): string =>
  `CONVERT(${alias}.${JOURNAL.trace} USING utf8mb4)`;

const captured = (database: string): string => quote(companionName(database), 'captured_table');

/** Names of the tables whose writes are captured; none without an overlay. */
export async function readCapturedNames(
  client: Client,
  database: string,
): Promise<ReadonlySet<string>> {
  const rows = await client.rows<{ name: string }>(
    `SELECT name FROM ${captured(database)} ORDER BY name`,
  );
  return new Set(rows.map(({ name }) => name));
}

/** All tables whose writes are captured. In the caller's transaction. */
export async function readCaptured(
  client: Client,
  database: string,
  source: string,
): Promise<readonly CapturedTable[]> {
  const names = await readCapturedNames(client, database);
  if (names.size === 0) return [];
  const tables = await readTables(client, database, source);
  return [...tables.catalogue.values()]
    .filter(({ id }) => names.has(id.name))
    .map(({ id }) => describeCaptured(tables, database, id));
}

/** For a table that goes, or of whose name another one comes to be. */
export async function noteUncaptured(
  client: Client,
  database: string,
  table: string,
): Promise<void> {
  await client.run(`DELETE FROM ${captured(database)} WHERE name = ?`, [table]);
}

/** Last, when all that captures is there. */
export async function noteCaptured(
  client: Client,
  database: string,
  table: CapturedTable,
): Promise<void> {
  await client.run(`INSERT IGNORE INTO ${captured(database)} (name) VALUES (?)`, [
    table.schema.id.name,
  ]);
}
