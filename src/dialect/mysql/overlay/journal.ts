/**
 * The journal of a table: production's image of each row that the candidate wrote, by the row's key. The
 * first write of a row makes its entry, and later ones leave it. Whether the candidate inserted, changed
 * or deleted the row follows from the entry and the row.
 */
import { createHash } from 'node:crypto';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { describeTable, type ApplyTable } from '../apply/apply-table.ts';
import { readTables, type DatabaseTables } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import { companionName, JOURNAL, journalName, quote } from '../session/names.ts';

/** A table with its journal. */
export interface CapturedTable extends ApplyTable {
  /** Quoted and qualified. */
  readonly journal: string;
}

export function describeCaptured(
  tables: DatabaseTables,
  database: string,
  id: ApplyTable['schema']['id'],
): CapturedTable {
  return {
    ...describeTable(tables, database, id),
    journal: quote(companionName(database), journalName(id.name)),
  };
}

/** Every key here is one there, and no other: columns of the same types and collations. */
function createJournal(table: CapturedTable): string {
  const keys = new Set(table.key.map(({ name }) => name));
  const columns = table.columns.map(
    ({ name, stagedType }) => `${name} ${stagedType} ${keys.has(name) ? 'NOT NULL' : 'NULL'}`,
  );
  return `CREATE TABLE ${table.journal} (
    ${columns.join(',\n    ')},
    ${JOURNAL.present} TINYINT NOT NULL,
    ${JOURNAL.at} TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (${[...keys].join(', ')})
  ) ENGINE=InnoDB`;
}

/**
 * Makes the journal where there is none, and anew where its table has another shape now. SCHEMA_FAILED if
 * there are entries of the former shape.
 */
export async function ensureJournal(
  client: Client,
  database: string,
  table: CapturedTable,
): Promise<void> {
  const name = journalName(table.schema.id.name);
  const shape = await client.rows<{ comment: string }>(
    `SELECT TABLE_COMMENT AS comment FROM information_schema.TABLES
      WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?`,
    [companionName(database), name],
  );
  const statement = createJournal(table);
  const wanted = createHash('sha256').update(statement).digest('hex');
  if (shape[0]?.comment === wanted) return;
  if (shape.length > 0) {
    if ((await client.rows(`SELECT 1 AS entry FROM ${table.journal} LIMIT 1`)).length > 0) {
      const what = 'a table changed its shape of which the candidate owns rows';
      throw new UnderstudyError('SCHEMA_FAILED', what, { database, table: table.label });
    }
    await client.run(`DROP TABLE ${table.journal}`);
  }
  await client.run(`${statement} COMMENT '${wanted}'`);
}

/** An entry that is there stays; its row is locked, which who applies relies on. */
export const KEEPING = `ON DUPLICATE KEY UPDATE ${JOURNAL.present} = ${JOURNAL.present}`;

/** Columns of an entry with production's image, and of one that says that production has no such row. */
export function imageColumns(table: CapturedTable): string {
  return [...table.columns.map(({ name }) => name), JOURNAL.present].join(', ');
}

export function absentColumns(table: CapturedTable): string {
  return [...table.key.map(({ name }) => name), JOURNAL.present].join(', ');
}

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
