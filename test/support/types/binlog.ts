/** The type matrix on MySQL and MariaDB: its runs, its SQL, and how two databases are compared. */
import mysql, { type Connection, type RowDataPacket } from 'mysql2/promise';
import type { ConnectorConfig } from '../connect-rest.ts';
import type { Cell, Rows } from './exceptions.ts';
import { packRuns, playedRuns, type Run } from './runs.ts';
import type { SqlWriter } from './type-table.ts';

/** These connectors know no `adaptive` time. */
export const BINLOG_MODES = {
  time: ['adaptive_time_microseconds', 'connect', 'isostring', 'microseconds', 'nanoseconds'],
  decimal: ['precise', 'double', 'string'],
  binary: ['bytes', 'base64', 'base64-url-safe', 'hex'],
  bigintUnsigned: ['precise', 'long'],
  names: ['none', 'avro', 'avro_unicode'],
  propagate: ['no', 'yes'],
} as const;

export type BinlogRun = Run<keyof typeof BINLOG_MODES>;

/** The settings that we publish, as they are: what cannot be converted stops the connector. */
const BINLOG_PUBLISHED: BinlogRun = {
  name: 'published',
  encoding: 'schema',
  modes: {
    time: 'adaptive_time_microseconds',
    decimal: 'precise',
    binary: 'bytes',
    bigintUnsigned: 'precise',
    names: 'none',
    propagate: 'no',
  },
};

export const BINLOG_RUNS: readonly BinlogRun[] = [...packRuns(BINLOG_MODES), BINLOG_PUBLISHED];

/** Those that the tests play this time. */
export const BINLOG_PLAYED = playedRuns(BINLOG_RUNS);

/** The connector's settings for a run's modes; none are needed for the published ones. */
export function binlogModeSettings(run: BinlogRun): ConnectorConfig {
  if (run === BINLOG_PUBLISHED) return {};
  const { encoding, modes } = run;
  return {
    'time.precision.mode': modes.time,
    'decimal.handling.mode': modes.decimal,
    'binary.handling.mode': modes.binary,
    'bigint.unsigned.handling.mode': modes.bigintUnsigned,
    'field.name.adjustment.mode': modes.names,
    // Avro takes no name of a schema as it is, whatever the fields are called.
    ...(encoding === 'avro' && {
      'schema.name.adjustment.mode': modes.names === 'avro_unicode' ? 'avro_unicode' : 'avro',
    }),
    ...(modes.propagate === 'yes' && { 'column.propagate.source.type': '.*' }),
    // What the connector loses is to be seen, not to stop it.
    'event.converting.failure.handling.mode': 'warn',
  };
}

export const BINLOG: SqlWriter = {
  quote: (name) => mysql.escapeId(name, true),
  literal: (value) => value,
};

/** Sets all columns of a form's rows to what the snapshot's rows hold. */
export function fillBinlog(name: string, columns: readonly string[], above: number): string {
  const sets = columns.map((column) => `t.${column} = s.${column}`).join(', ');
  return `UPDATE ${name} t JOIN ${name} s ON t.id = s.id + ${String(above)} AND s.id < 100
             SET ${sets}`;
}

/** A session that reads and writes whatever was ever stored, in UTC. */
export async function connectBinlog(url: string): Promise<Connection> {
  const connection = await mysql.createConnection({ uri: url, charset: 'utf8mb4' });
  await connection.query(`SET time_zone = '+00:00', sql_mode = ''`);
  return connection;
}

/** An expression that gives a column's value exactly, as text. */
export function exactSql(column: string, type: string): string {
  switch (type) {
    case 'float':
      // As text it has six digits.
      return `CAST(${column} + 0E0 AS CHAR)`;
    case 'json':
      return `CONCAT(JSON_TYPE(${column}), ' ', CAST(${column} AS CHAR))`;
    case 'bit':
      return `LPAD(BIN(${column} + 0), 64, '0')`;
    case 'tinyint':
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'bigint':
    case 'decimal':
    case 'double':
    case 'date':
    case 'time':
    case 'datetime':
    case 'timestamp':
    case 'year':
    case 'uuid':
      return `CAST(${column} AS CHAR)`;
    default:
      // Texts in their own character set, bytes, and spatial values as they are stored.
      return `HEX(${column})`;
  }
}

interface ColumnRow extends RowDataPacket {
  readonly name: string;
  readonly type: string;
}

const COLUMNS = `SELECT column_name AS name, data_type AS type FROM information_schema.columns
  WHERE table_schema = DATABASE() AND table_name = ? AND column_name <> 'id'
  ORDER BY ordinal_position`;

/** All rows of a table as its database shows them. */
export async function readBinlog(connection: Connection, table: string): Promise<Rows> {
  const [columns] = await connection.query<ColumnRow[]>(COLUMNS, [table]);
  const cells = columns.map(({ name, type }) => exactSql(mysql.escapeId(name, true), type));
  const [rows] = await connection.query<RowDataPacket[][]>({
    sql: `SELECT id, ${cells.join(', ')} FROM ${mysql.escapeId(table, true)}`,
    rowsAsArray: true,
  });
  return new Map(
    rows.map((row) => {
      const values = columns.map(({ name }, i): [string, Cell] => {
        const value = (row as unknown as readonly (string | null)[])[1 + i] ?? null;
        return [name, { text: value, exact: value }];
      });
      return [Number((row as unknown as readonly unknown[])[0]), new Map(values)];
    }),
  );
}
