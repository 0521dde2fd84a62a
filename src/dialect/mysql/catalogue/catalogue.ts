/** A database's tables, from information_schema, as the rest of the program knows tables. */
import { tableName, type TableId } from '../../../change/table-id.ts';
import type {
  ColumnSchema,
  ForeignKey,
  SchemaCatalogue,
  TableSchema,
  UniqueKey,
} from '../../../schema/table-schema.ts';
import type { Client } from '../session/client.ts';
import { logsCascades } from '../session/flavour.ts';
import { columnType } from './type-kind.ts';

interface TableRow {
  readonly name: string;
  readonly options: string | null;
}

interface ColumnRow {
  readonly tableName: string;
  readonly name: string;
  readonly columnType: string;
  readonly dataType: string;
  readonly nullable: string;
  /** MariaDB writes the word where a column's default is NULL. */
  readonly default: string | null;
  readonly extra: string;
  /** Empty, or null, where it is not generated. */
  readonly expression: string | null;
  readonly length: string | number | null;
  readonly precision: string | number | null;
  readonly scale: string | number | null;
  readonly fraction: string | number | null;
  readonly charset: string | null;
  readonly collation: string | null;
}

interface IndexRow {
  readonly tableName: string;
  readonly name: string;
  /** Null for an expression. */
  readonly column: string | null;
  readonly prefix: string | number | null;
  readonly type: string;
}

interface ReferenceRow {
  readonly tableName: string;
  readonly name: string;
  readonly column: string;
  readonly schema: string;
  readonly references: string;
  readonly referencedColumn: string;
  readonly onDelete: string;
  readonly onUpdate: string;
}

/** How a column's texts are stored and compared; null for a column of no text. */
export interface TextForm {
  readonly charset: string;
  readonly collation: string;
}

/** What the applier needs beside the catalogue: by tableName() and column. */
export interface DatabaseTables {
  readonly catalogue: SchemaCatalogue;
  readonly textForms: ReadonlyMap<string, ReadonlyMap<string, TextForm>>;
  /** Name of the index over the key, by tableName(). */
  readonly keyIndexes: ReadonlyMap<string, string>;
  /** Names of indexes that no hint may name, for they are INVISIBLE or IGNORED; by tableName(). */
  readonly hidden: ReadonlyMap<string, ReadonlySet<string>>;
  /** What generated columns are computed by, where the server tells it plainly. */
  readonly expressions: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/**
 * Reads the tables of `database`. Their ids name `source`, the database in production that
 * `database` follows, for so do events. In the caller's transaction, if any.
 */
export async function readTables(
  client: Client,
  database: string,
  source: string,
): Promise<DatabaseTables> {
  const tables = await client.rows<TableRow>(
    `SELECT TABLE_NAME AS name, CREATE_OPTIONS AS options FROM information_schema.TABLES
      WHERE TABLE_SCHEMA = ? AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
      ORDER BY TABLE_NAME`,
    [database],
  );
  const columns = grouped(await readColumns(client, database));
  const indexes = grouped(await readUniqueIndexes(client, database));
  const references = grouped(await readReferenceRows(client, database));
  const hidden = await readHidden(client, database);
  // What the shadow's server does production's is taken to do.
  const logged = await logsCascades(client);
  const catalogue = new Map<string, TableSchema>();
  const textForms = new Map<string, ReadonlyMap<string, TextForm>>();
  const keyIndexes = new Map<string, string>();
  const expressions = new Map<string, ReadonlyMap<string, string>>();
  for (const { name, options } of tables) {
    const id: TableId = { schema: source, name };
    const label = tableName(id);
    const rows = columns.get(name) ?? [];
    const schemas = rows.map(toColumn);
    const uniques = toUniques(indexes.get(name) ?? [], rows);
    const key = chooseKey(uniques, schemas);
    catalogue.set(label, {
      id,
      columns: schemas,
      key: key?.columns ?? [],
      uniques,
      foreignKeys: toForeignKeys(references.get(name) ?? [], { database, source, logged }),
      partitioned: (options ?? '').includes('partitioned'),
    });
    textForms.set(label, toTextForms(rows));
    expressions.set(
      label,
      new Map(
        rows.flatMap((row) => {
          const plain = plainExpression(row.expression ?? '');
          return plain === null ? [] : [[row.name, plain] as const];
        }),
      ),
    );
    if (key !== null) keyIndexes.set(label, key.name);
  }
  const byLabel = [...hidden].map(
    ([name, indexes]) => [tableName({ schema: source, name }), indexes] as const,
  );
  return { catalogue, textForms, keyIndexes, hidden: new Map(byLabel), expressions };
}

function readColumns(client: Client, database: string): Promise<readonly ColumnRow[]> {
  return client.rows<ColumnRow>(
    `SELECT TABLE_NAME AS tableName, COLUMN_NAME AS name, COLUMN_TYPE AS columnType,
        DATA_TYPE AS dataType, IS_NULLABLE AS nullable, EXTRA AS extra,
        COLUMN_DEFAULT AS \`default\`, GENERATION_EXPRESSION AS expression,
        CHARACTER_MAXIMUM_LENGTH AS length, NUMERIC_PRECISION AS \`precision\`,
        NUMERIC_SCALE AS scale, DATETIME_PRECISION AS fraction,
        CHARACTER_SET_NAME AS charset, COLLATION_NAME AS collation
      FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ?
      ORDER BY TABLE_NAME, ORDINAL_POSITION`,
    [database],
  );
}

/**
 * MySQL escapes the quotes of texts once more, and spells what is not ASCII wrongly. Null for that, and for
 * all that has a backslash of its own, which sessions read in two ways.
 */
function plainExpression(told: string): string | null {
  const isEscaped = /_[a-z0-9]+\\'/.test(told);
  const plain = isEscaped ? told.replaceAll(/\\(.)/gs, '$1') : told;
  return plain !== '' && /^[\n\x20-\x7e]*$/.test(plain) && !plain.includes('\\') ? plain : null;
}

function readUniqueIndexes(client: Client, database: string): Promise<readonly IndexRow[]> {
  return client.rows<IndexRow>(
    `SELECT TABLE_NAME AS tableName, INDEX_NAME AS name, COLUMN_NAME AS \`column\`,
        SUB_PART AS prefix, INDEX_TYPE AS type
      FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND NON_UNIQUE = 0
      ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX`,
    [database],
  );
}

/** By the tables' names. Each of the servers has a column of its own for it. */
async function readHidden(
  client: Client,
  database: string,
): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const rows = await client.rows<{
    readonly TABLE_NAME: string;
    readonly INDEX_NAME: string;
    readonly IS_VISIBLE?: string;
    readonly IGNORED?: string;
  }>('SELECT * FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ?', [database]);
  const hidden = rows.filter((row) => row.IS_VISIBLE === 'NO' || row.IGNORED === 'YES');
  return new Map(
    [...Map.groupBy(hidden, (row) => row.TABLE_NAME)].map(
      ([table, indexes]) => [table, new Set(indexes.map((row) => row.INDEX_NAME))] as const,
    ),
  );
}

function readReferenceRows(client: Client, database: string): Promise<readonly ReferenceRow[]> {
  return client.rows<ReferenceRow>(
    `SELECT k.TABLE_NAME AS tableName, k.CONSTRAINT_NAME AS name, k.COLUMN_NAME AS \`column\`,
        k.REFERENCED_TABLE_SCHEMA AS \`schema\`, k.REFERENCED_TABLE_NAME AS \`references\`,
        k.REFERENCED_COLUMN_NAME AS referencedColumn,
        r.DELETE_RULE AS onDelete, r.UPDATE_RULE AS onUpdate
      FROM information_schema.KEY_COLUMN_USAGE k
      JOIN information_schema.REFERENTIAL_CONSTRAINTS r
        ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.TABLE_NAME = k.TABLE_NAME
          AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME
      WHERE k.TABLE_SCHEMA = ? AND k.REFERENCED_TABLE_NAME IS NOT NULL
      ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION`,
    [database],
  );
}

/** A foreign key with its rules. */
export interface KeyReference {
  /** Names of the tables that have it and that it leads to, and of the latter's database. */
  readonly table: string;
  readonly schema: string;
  readonly references: string;
  readonly columns: readonly string[];
  readonly referencedColumns: readonly string[];
  readonly onDelete: string;
  readonly onUpdate: string;
}

/** The foreign keys of a database's tables. */
export async function readReferences(
  client: Client,
  database: string,
): Promise<readonly KeyReference[]> {
  const rows = await readReferenceRows(client, database);
  const keys = Map.groupBy(rows, (row) => JSON.stringify([row.tableName, row.name]));
  return [...keys.values()].flatMap((parts) =>
    parts.slice(0, 1).map(({ tableName: table, schema, references, onDelete, onUpdate }) => ({
      ...{ table, schema, references, onDelete, onUpdate },
      columns: parts.map(({ column }) => column),
      referencedColumns: parts.map(({ referencedColumn }) => referencedColumn),
    })),
  );
}

/**
 * Every index of a database's tables that holds whole columns by their order, and may be named in a hint; by
 * the tables' names.
 */
export async function readIndexes(
  client: Client,
  database: string,
): Promise<
  ReadonlyMap<string, readonly { readonly name: string; readonly columns: readonly string[] }[]>
> {
  const parts = await client.rows<Pick<IndexRow, 'tableName' | 'name' | 'column' | 'prefix'>>(
    `SELECT TABLE_NAME AS tableName, INDEX_NAME AS name, COLUMN_NAME AS \`column\`, SUB_PART AS prefix
      FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND INDEX_TYPE = 'BTREE'
      ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX`,
    [database],
  );
  const hidden = await readHidden(client, database);
  const indexes = [...grouped(parts)].map(([table, rows]) => {
    const byName = Map.groupBy(rows, (row) => row.name);
    for (const name of hidden.get(table) ?? []) byName.delete(name);
    const whole = [...byName].map(([name, of]) => {
      const end = of.findIndex(({ column, prefix }) => column === null || prefix !== null);
      const columns = of.slice(0, end < 0 ? of.length : end).flatMap((one) => one.column ?? []);
      return { name, columns };
    });
    return [table, whole] as const;
  });
  return new Map(indexes);
}

/** Rules that do something to the rows that refer. */
export const ACTS = new Set(['CASCADE', 'SET NULL', 'SET DEFAULT']);

function grouped<Row extends { readonly tableName: string }>(
  rows: readonly Row[],
): ReadonlyMap<string, readonly Row[]> {
  return Map.groupBy(rows, (row) => row.tableName);
}

function toColumn(row: ColumnRow): ColumnSchema {
  const generated = /\bVIRTUAL GENERATED\b/i.test(row.extra)
    ? 'virtual'
    : /\b(STORED|PERSISTENT) GENERATED\b/i.test(row.extra)
      ? 'stored'
      : 'no';
  return {
    name: row.name,
    type: columnType({
      dataType: row.dataType,
      columnType: row.columnType,
      length: toNumber(row.length),
      precision: toNumber(row.precision),
      scale: toNumber(row.scale),
      fraction: toNumber(row.fraction),
      charset: row.charset,
    }),
    nullable: row.nullable === 'YES',
    generated,
    identity: /\bauto_increment\b/i.test(row.extra) ? 'by-default' : 'no',
    ...(row.default === null || row.default === 'NULL' || generated !== 'no'
      ? {}
      : { hasDefault: true }),
    // A binlog with full row images sends every column of every row.
    toastable: false,
  };
}

function toNumber(value: string | number | null): number | null {
  return value === null ? null : Number(value);
}

function toTextForms(rows: readonly ColumnRow[]): ReadonlyMap<string, TextForm> {
  const forms = new Map<string, TextForm>();
  for (const { name, charset, collation } of rows) {
    if (charset !== null && collation !== null) forms.set(name, { charset, collation });
  }
  return forms;
}

/** Column types that no index covers whole, or not by its own order. */
const UNINDEXED = /^(tiny|medium|long)?(text|blob)$|^json$|^vector|geom|point|polygon|linestring/i;

function toUniques(indexes: readonly IndexRow[], columns: readonly ColumnRow[]): UniqueKey[] {
  const types = new Map(columns.map((column) => [column.name, column.dataType]));
  return [...Map.groupBy(indexes, (row) => row.name)].map(([name, parts]) => ({
    name,
    columns: parts.flatMap((part) => (part.column === null ? [] : [part.column])),
    primary: name === 'PRIMARY',
    deferrable: false,
    plain: parts.every(
      ({ column, prefix, type }) =>
        column !== null &&
        prefix === null &&
        type === 'BTREE' &&
        !UNINDEXED.test(types.get(column) ?? ''),
    ),
  }));
}

/** The primary key, else the unique index over the fewest columns, all written and NOT NULL. */
function chooseKey(
  uniques: readonly UniqueKey[],
  columns: readonly ColumnSchema[],
): UniqueKey | null {
  const usable = new Set(
    columns
      .filter((column) => !column.nullable && column.generated === 'no')
      .map((column) => column.name),
  );
  const candidates = uniques.filter(
    (unique) => unique.plain && unique.columns.every((column) => usable.has(column)),
  );
  const rank = (unique: UniqueKey): number => (unique.primary ? 0 : unique.columns.length);
  return (
    candidates.toSorted((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1)).at(0) ?? null
  );
}

function toForeignKeys(
  rows: readonly ReferenceRow[],
  of: { readonly database: string; readonly source: string; readonly logged: boolean },
): ForeignKey[] {
  return [...Map.groupBy(rows, (row) => row.name)].map(([name, parts]) => {
    const [first] = parts;
    const schema = first?.schema ?? of.database;
    const unlogged = {
      onDelete: ACTS.has(first?.onDelete ?? ''),
      onUpdate: ACTS.has(first?.onUpdate ?? ''),
    };
    return {
      name,
      columns: parts.map((part) => part.column),
      references: {
        schema: schema === of.database ? of.source : schema,
        name: first?.references ?? '',
      },
      referencedColumns: parts.map((part) => part.referencedColumn),
      ...(!of.logged && (unlogged.onDelete || unlogged.onUpdate) && { unlogged }),
    };
  });
}
