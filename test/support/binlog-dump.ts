/** A dump of a MySQL or MariaDB database by SQL, restored elsewhere as it is read. */
import mysql, { type Connection, type RowDataPacket } from 'mysql2/promise';
import { connectBinlog } from './types/binlog.ts';

interface Dump {
  readonly file: string;
  readonly pos: string;
  readonly gtids: string;
}

/**
 * Copies tables of `from` into the new database `into`, of one moment, and says which: as
 * `mysqldump --single-transaction --source-data` does. `meanwhile` runs when the moment is fixed.
 */
export async function dumpInto(
  from: string,
  into: { readonly server: string; readonly database: string; readonly tables: readonly string[] },
  meanwhile: () => Promise<void>,
): Promise<Dump> {
  const [source, target] = [await connectBinlog(from), await connectBinlog(into.server)];
  await source.query('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ');
  await source.query('FLUSH TABLES WITH READ LOCK');
  await source.query('START TRANSACTION WITH CONSISTENT SNAPSHOT');
  const place = await whereIs(source);
  await source.query('UNLOCK TABLES');
  await meanwhile();
  const name = mysql.escapeId(into.database);
  await target.query(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
  await target.query(`USE ${name}`);
  await target.query(`SET foreign_key_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'`);
  for (const table of into.tables) await copyTable(source, target, table);
  await source.end();
  await target.end();
  return place;
}

async function whereIs(source: Connection): Promise<Dump> {
  const [[version]] = await source.query<RowDataPacket[]>('SELECT VERSION() AS v');
  const isMariaDB = String(version?.['v']).includes('MariaDB');
  const status = isMariaDB ? 'SHOW MASTER STATUS' : 'SHOW BINARY LOG STATUS';
  const [[found]] = await source.query<RowDataPacket[]>(status);
  const gtids = isMariaDB ? '@@gtid_binlog_pos' : '@@gtid_executed';
  const [[told]] = await source.query<RowDataPacket[]>(`SELECT ${gtids} AS gtids`);
  return {
    file: String(found?.['File']),
    pos: String(found?.['Position']),
    gtids: String(told?.['gtids']),
  };
}

async function copyTable(source: Connection, target: Connection, table: string): Promise<void> {
  const name = mysql.escapeId(table);
  const [[made]] = await source.query<RowDataPacket[]>(`SHOW CREATE TABLE ${name}`);
  await target.query(String(made?.['Create Table']));
  const [columns] = await source.query<RowDataPacket[]>(
    `SELECT column_name AS name, data_type AS type FROM information_schema.columns
      WHERE table_schema = DATABASE() AND table_name = ? AND extra NOT LIKE '%GENERATED%'
      ORDER BY ordinal_position`,
    [table],
  );
  const named = columns.map(({ name: column, type }) => ({
    column: mysql.escapeId(String(column)),
    type: String(type),
  }));
  const list = named.map(({ column }) => column).join(', ');
  const literals = named.map(({ column, type }) => `IFNULL(${literalSql(column, type)}, 'NULL')`);
  const [rows] = await source.query<RowDataPacket[]>(
    `SELECT CONCAT_WS(', ', ${literals.join(', ')}) AS line FROM ${name}`,
  );
  for (const { line } of rows) {
    await target.query(`INSERT INTO ${name} (${list}) VALUES (${String(line)})`);
  }
}

/** An expression that gives a value as a literal, exactly. */
function literalSql(column: string, type: string): string {
  switch (type) {
    // A number without quotes has no minus zero.
    case 'float':
      return `CONCAT('''', CAST(IF(${column} = 0, ${column}, ${column} + 0e0) AS CHAR), '''')`;
    case 'double':
      return `CONCAT('''', CAST(${column} AS CHAR), '''')`;
    case 'bit':
      return `CAST(${column} + 0 AS CHAR)`;
    case 'int':
    case 'bigint':
    case 'decimal':
      return `CAST(${column} AS CHAR)`;
    case 'blob':
    case 'binary':
    case 'point':
      return `CONCAT('X''', HEX(${column}), '''')`;
    default:
      return `CONCAT('_utf8mb4 X''', HEX(CONVERT(CAST(${column} AS CHAR) USING utf8mb4)), '''')`;
  }
}
