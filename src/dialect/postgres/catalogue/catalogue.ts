import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type {
  ColumnSchema,
  ForeignKey,
  SchemaCatalogue,
  TableSchema,
  UniqueKey,
} from '../../../schema/table-schema.ts';
import { columnType, type TypeRow } from './type-kind.ts';

interface TableRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly partitioned: boolean;
  readonly rootOid: number | null;
}

interface ColumnRow {
  readonly table: number;
  readonly name: string;
  readonly type: number;
  readonly modifier: number;
  readonly sql: string;
  readonly domainOf: string | null;
  readonly notNull: boolean;
  readonly generated: '' | 's' | 'v';
  readonly identity: '' | 'a' | 'd';
  readonly hasDefault: boolean;
  readonly toastable: boolean;
}

interface IndexRow {
  readonly table: number;
  readonly name: string;
  readonly columns: readonly (string | null)[];
  readonly primary: boolean;
  readonly replicaIdentity: boolean;
  readonly deferrable: boolean;
  readonly partial: boolean;
}

interface ForeignKeyRow {
  readonly table: number;
  readonly name: string;
  readonly columns: readonly string[];
  readonly schema: string;
  readonly target: string;
  readonly targetColumns: readonly string[];
}

/** Tables of the user: not the server's, not ours, not the views beside them. */
const USER_TABLE = `c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname <> 'understudy' AND n.nspname <> 'information_schema'
  AND n.nspname !~ '^pg_' AND n.nspname !~ '__(production|difference)$'`;

const FROM_USER_TABLES = `FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace`;

const TABLES = `SELECT c.oid::int8::float8 AS oid, n.nspname AS schema, c.relname AS name,
    c.relkind = 'p' AS partitioned,
    CASE WHEN c.relispartition
      THEN pg_catalog.pg_partition_root(c.oid)::oid::int8::float8 END AS "rootOid"
  ${FROM_USER_TABLES} WHERE ${USER_TABLE} ORDER BY 2, 3`;

/** `format_type`, but with the schema always there unless the type is built in. */
function typeSql(type: string, oid: string, modifier: string): string {
  const text = `pg_catalog.format_type(${oid}, ${modifier})`;
  const schema = `(SELECT tn.nspname FROM pg_catalog.pg_namespace tn
    WHERE tn.oid = ${type}.typnamespace)`;
  return `CASE WHEN ${schema} = 'pg_catalog'
      OR pg_catalog.starts_with(${text}, pg_catalog.quote_ident(${schema}) || '.')
    THEN ${text} ELSE pg_catalog.quote_ident(${schema}) || '.' || ${text} END`;
}

const COLUMNS = `SELECT a.attrelid::int8::float8 AS "table", a.attname AS name,
    a.atttypid::int8::float8 AS type, a.atttypmod AS modifier,
    ${typeSql('t', 'a.atttypid', 'a.atttypmod')} AS sql,
    (WITH RECURSIVE beneath AS (
        SELECT d.typbasetype AS oid, d.typtypmod AS modifier FROM pg_catalog.pg_type d
          WHERE d.oid = a.atttypid AND d.typtype = 'd'
        UNION ALL
        SELECT d.typbasetype, d.typtypmod FROM beneath
          JOIN pg_catalog.pg_type d ON d.oid = beneath.oid AND d.typtype = 'd'
      )
      SELECT ${typeSql('b', 'b.oid', 'beneath.modifier')}
      FROM beneath JOIN pg_catalog.pg_type b ON b.oid = beneath.oid WHERE b.typtype <> 'd'
    ) AS "domainOf",
    a.attnotnull OR t.typnotnull AS "notNull", a.attgenerated::text AS generated,
    a.attidentity::text AS identity,
    a.atthasdef AND a.attgenerated = '' OR t.typdefault IS NOT NULL AS "hasDefault",
    a.attlen = -1 AND a.attstorage <> 'p' AS toastable
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE ${USER_TABLE} AND a.attnum > 0 AND NOT a.attisdropped
  ORDER BY a.attrelid, a.attnum`;

const TYPES = `SELECT t.oid::int8::float8 AS oid, n.nspname AS schema, t.typname AS name,
    t.typtype::text AS class, t.typbasetype::int8::float8 AS base, t.typtypmod AS "baseModifier",
    COALESCE(e.oid, 0::oid)::int8::float8 AS element,
    CASE WHEN t.typtype = 'e' THEN ARRAY(SELECT l.enumlabel::text FROM pg_catalog.pg_enum l
      WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder) END AS labels
  FROM pg_catalog.pg_type t
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_type e ON e.typarray = t.oid`;

const INDEXES = `SELECT i.indrelid::int8::float8 AS "table", x.relname AS name,
    ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k(num, pos)
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
        AND k.num > 0
      WHERE k.pos <= i.indnkeyatts ORDER BY k.pos) AS columns,
    i.indisprimary AS "primary", i.indisreplident AS "replicaIdentity",
    NOT i.indimmediate AS deferrable, i.indpred IS NOT NULL AS partial
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE ${USER_TABLE} AND i.indisunique AND i.indisvalid AND NOT i.indisexclusion
  ORDER BY i.indisprimary DESC, i.indisreplident DESC, i.indimmediate DESC, x.relname`;

/** Leaves out the clones PostgreSQL makes for each partition of a referenced table. */
const FOREIGN_KEYS = `SELECT k.conrelid::int8::float8 AS "table", k.conname AS name,
    ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u(num, pos)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num
      ORDER BY u.pos) AS columns,
    fn.nspname AS schema, f.relname AS target,
    ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY u(num, pos)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num
      ORDER BY u.pos) AS "targetColumns"
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
  JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
  WHERE ${USER_TABLE} AND k.contype = 'f' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_constraint p WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid)
  ORDER BY k.conrelid, k.conname`;

/**
 * Reads the user's tables of one database. Partitioned tables and their partitions are both
 * listed (Debezium names either, by `publish_via_partition_root`); a partition names its root.
 * Foreign, temporary and system tables, and all of ours, are left out. Several statements: within
 * a READ COMMITTED transaction concurrent DDL may show in a part of them.
 */
export async function readCatalogue(client: ClientBase): Promise<SchemaCatalogue> {
  const tables = (await client.query<TableRow>(TABLES)).rows;
  const columns = groupByTable((await client.query<ColumnRow>(COLUMNS)).rows);
  const types = new Map((await client.query<TypeRow>(TYPES)).rows.map((row) => [row.oid, row]));
  const indexes = groupByTable((await client.query<IndexRow>(INDEXES)).rows);
  const foreignKeys = groupByTable((await client.query<ForeignKeyRow>(FOREIGN_KEYS)).rows);
  const byOid = new Map(tables.map((row) => [row.oid, row]));
  const catalogue = new Map<string, TableSchema>();
  for (const table of tables) {
    const id: TableId = { schema: table.schema, name: table.name };
    const tableColumns = (columns.get(table.oid) ?? []).map((row) => toColumn(row, types));
    const tableIndexes = indexes.get(table.oid) ?? [];
    const root = table.rootOid === null ? undefined : byOid.get(table.rootOid);
    catalogue.set(tableName(id), {
      id,
      columns: tableColumns,
      key: chooseKey(tableIndexes, tableColumns),
      uniques: tableIndexes.map(toUnique),
      foreignKeys: (foreignKeys.get(table.oid) ?? []).map(toForeignKey),
      partitioned: table.partitioned,
      ...(root !== undefined && { partitionOf: { schema: root.schema, name: root.name } }),
    });
  }
  return catalogue;
}

function groupByTable<Row extends { readonly table: number }>(
  rows: readonly Row[],
): ReadonlyMap<number, readonly Row[]> {
  return Map.groupBy(rows, (row) => row.table);
}

function toColumn(row: ColumnRow, types: ReadonlyMap<number, TypeRow>): ColumnSchema {
  return {
    name: row.name,
    type: columnType({
      types,
      oid: row.type,
      modifier: row.modifier,
      sql: row.sql,
      domainOf: row.domainOf,
    }),
    nullable: !row.notNull,
    generated: row.generated === '' ? 'no' : row.generated === 's' ? 'stored' : 'virtual',
    identity: row.identity === '' ? 'no' : row.identity === 'a' ? 'always' : 'by-default',
    ...(row.hasDefault ? { hasDefault: true } : {}),
    toastable: row.toastable,
  };
}

/** A unique index's plain columns, or null if it is partial or has an expression. */
function plainColumns(index: IndexRow): readonly string[] | null {
  if (index.partial) return null;
  const columns = index.columns.filter((column) => column !== null);
  return columns.length === index.columns.length ? columns : null;
}

/**
 * Takes the first index that can name every row, in the order of the query: primary key, replica
 * identity, checked at once before deferrable, name.
 */
function chooseKey(
  indexes: readonly IndexRow[],
  columns: readonly ColumnSchema[],
): readonly string[] {
  const mandatory = new Set(columns.filter((c) => !c.nullable).map((c) => c.name));
  for (const index of indexes) {
    const plain = plainColumns(index);
    if (plain?.every((column) => mandatory.has(column)) === true) return plain;
  }
  return [];
}

function toUnique(index: IndexRow): UniqueKey {
  return {
    name: index.name,
    columns: index.columns.filter((column) => column !== null),
    primary: index.primary,
    deferrable: index.deferrable,
    plain: plainColumns(index) !== null,
  };
}

function toForeignKey(row: ForeignKeyRow): ForeignKey {
  return {
    name: row.name,
    columns: row.columns,
    references: { schema: row.schema, name: row.target },
    referencedColumns: row.targetColumns,
  };
}
