/** The followed database's tables, and which of them take part in snapshots. */
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { readTables, type DatabaseTables } from '../catalogue/catalogue.ts';
import { followedDatabase } from '../schema/plan-from-production.ts';
import type { Client } from '../session/client.ts';
import { quote } from '../session/names.ts';

export interface Followed {
  readonly database: string;
  readonly tables: DatabaseTables;
  /** Quoted: those that a snapshot shows, and so are locked for it. */
  readonly locked: readonly string[];
  /** The storage engines of the others, by tableName(). */
  readonly others: ReadonlyMap<string, string>;
  /** About their size on disk. */
  readonly bytes: ReadonlyMap<string, number>;
}

/** Of the database that `named` names; null takes the only one that has included tables. */
export async function readFollowed(
  client: Client,
  named: string | null,
  includes: (table: TableId) => boolean,
): Promise<Followed> {
  const database = await followedDatabase(client, named, includes);
  const tables = await readTables(client, database, database);
  const rows = await client.rows<{ name: string; engine: string | null; bytes: string | null }>(
    `SELECT TABLE_NAME AS name, ENGINE AS engine, DATA_LENGTH AS bytes
      FROM information_schema.TABLES
      WHERE TABLE_SCHEMA = ? AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')`,
    [database],
  );
  const found = rows
    .map((row) => ({ ...row, table: { schema: database, name: row.name } }))
    .filter(({ table }) => includes(table));
  const isShown = ({ engine }: (typeof found)[number]): boolean => engine === 'InnoDB';
  return {
    ...{ database, tables },
    locked: found.filter(isShown).map(({ name }) => quote(database, name)),
    others: new Map(
      found
        .filter((row) => !isShown(row))
        .map(({ table, engine }) => [tableName(table), engine ?? 'none']),
    ),
    bytes: new Map(found.map(({ table, bytes }) => [tableName(table), Number(bytes ?? 0)])),
  };
}

/** READ_FAILED for a table whose storage engine knows no snapshots. */
export function assertShown({ others }: Followed, table: TableId): void {
  const engine = others.get(tableName(table));
  if (engine === undefined) return;
  throw new UnderstudyError('READ_FAILED', 'the table’s storage engine knows no snapshots', {
    table: tableName(table),
    detail: `it is ${engine}: ALTER TABLE … ENGINE = InnoDB, or exclude the table`,
  });
}
