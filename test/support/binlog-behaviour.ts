/** The tables of the `*.behaviour.*` captures of MySQL and MariaDB, as their SQL makes them. */
import type { ColumnType, SchemaCatalogue, TableSchema } from '../../src/schema/table-schema.ts';

const INT: ColumnType = { sql: 'int', kind: 'int32' };
const TEXT: ColumnType = { sql: 'varchar(20)', kind: 'text', length: 20 };
const VALUE = { id: INT, v: TEXT };

type Columns = Readonly<Record<string, ColumnType>>;

export function binlogTable(
  schema: string,
  name: string,
  columns: Columns,
  key: readonly string[] = ['id'],
): TableSchema {
  return {
    id: { schema, name },
    columns: Object.entries(columns).map(([column, type]) => ({
      ...{ name: column, type, toastable: false, nullable: !key.includes(column) },
      generated: 'no',
      identity: 'no',
    })),
    ...{ key, uniques: [], foreignKeys: [], partitioned: false },
  };
}

const TABLES: readonly (readonly [name: string, columns: Columns, key?: readonly string[]])[] = [
  ['debezium_signal', { id: TEXT, type: TEXT, data: TEXT }],
  ['del1', { id: INT, a: INT, b: { sql: 'text', kind: 'text' } }],
  ['nopk', VALUE, []],
  ['nopk_uq', VALUE],
  ['pku', VALUE],
  ['cpk', { a: INT, b: TEXT, v: TEXT }, ['b', 'a']],
  ['trunc1', VALUE],
  ['tx1', VALUE],
  ['tx2', VALUE],
  ['myisam1', VALUE],
  ['par', { id: INT }],
  ['chi', { id: INT, p: INT }],
  ['inc1', VALUE],
  [
    'trap',
    {
      id: INT,
      i8: { sql: 'bigint', kind: 'int64' },
      bu: { sql: 'bigint unsigned', kind: 'int64', unsigned: true },
      n: { sql: 'decimal(20,4)', kind: 'numeric', precision: 20, scale: 4 },
      dflt: TEXT,
      b: { sql: 'blob', kind: 'bytes' },
      dt: { sql: 'datetime(6)', kind: 'timestamp', precision: 6 },
      t1: { sql: 'tinyint(1)', kind: 'int16' },
    },
  ],
];

/** All but the tables that change their columns on the way. */
export function binlogBehaviour(database: string): SchemaCatalogue {
  return new Map(
    TABLES.map(([name, columns, key]) => [
      `${database}.${name}`,
      binlogTable(database, name, columns, key),
    ]),
  );
}
