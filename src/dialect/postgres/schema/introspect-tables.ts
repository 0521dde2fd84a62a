import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import {
  CATALOGUE,
  type CatalogueObject,
  EXCLUDED,
  type Findings,
  objectKey,
  quote,
  RANK,
  read,
  type Remark,
  USER_SCHEMA,
} from './introspect-object.ts';
import { identityKey } from './introspect-sequences.ts';

interface TableRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly unlogged: boolean;
  readonly partitionKey: string | null;
  readonly partition: boolean;
  readonly bound: string | null;
  /** Partitioned table it is a partition of, or tables it inherits from. */
  readonly parents: readonly number[];
  readonly rowSecurity: boolean;
  readonly typed: boolean;
}

interface ColumnRow {
  readonly table: number;
  readonly name: string;
  readonly type: string;
  readonly collation: string | null;
  readonly notNull: boolean;
  readonly notNullName: string | null;
  readonly notNullDefinition: string | null;
  readonly notNullValid: boolean;
  readonly identity: '' | 'a' | 'd';
  readonly generated: '' | 's' | 'v';
  readonly defaultOid: number | null;
  readonly default: string | null;
}

/** A table as production has it, with what the filter needs to know. */
interface Table {
  readonly row: TableRow;
  readonly id: TableId;
  readonly key: string;
  readonly columns: readonly ColumnRow[];
  /** The partitioned table above it. */
  readonly parent: Table | null;
  readonly excluded: boolean;
  /** By the filter alone. */
  readonly wanted: boolean;
}

/**
 * Tables with columns and defaults. A partition goes the way of its root: rows reach it through
 * there. Inheritance other than partitioning is reported, and the tables stand alone.
 * `identities` are the options of identity columns (see identityKey).
 */
export async function readTables(
  client: ClientBase,
  include: (table: TableId) => boolean,
  identities: ReadonlyMap<string, string>,
): Promise<Findings> {
  const rows = await readTableRows(client);
  const columns = Map.groupBy(await readColumnRows(client), (row) => row.table);
  const byOid = new Map(rows.map((row) => [row.oid, row]));
  const tables = new Map<number, Table>();
  const describe = (row: TableRow): Table => {
    const known = tables.get(row.oid);
    if (known !== undefined) return known;
    const id = { schema: row.schema, name: row.name };
    const parentRow = row.partition ? byOid.get(row.parents[0] ?? 0) : undefined;
    const parent = parentRow === undefined ? null : describe(parentRow);
    const table: Table = {
      row,
      id,
      key: objectKey(CATALOGUE.class, row.oid),
      columns: columns.get(row.oid) ?? [],
      parent,
      excluded: parent === null ? !include(id) : parent.excluded,
      wanted: include(id),
    };
    tables.set(row.oid, table);
    return table;
  };
  for (const row of rows) describe(row);

  const findings = [...tables.values()].map((table) => ({
    objects: [tableObject(table, identities), ...defaultObjects(table)],
    remarks: table.excluded ? [] : tableRemarks(table),
    aliases: generatedAliases(table),
  }));
  return {
    objects: findings.flatMap((one) => one.objects),
    remarks: findings.flatMap((one) => one.remarks),
    aliases: findings.flatMap((one) => one.aliases),
  };
}

function readTableRows(client: ClientBase): Promise<readonly TableRow[]> {
  return read<TableRow>(
    client,
    `SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relpersistence = 'u' AS unlogged,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS "partitionKey",
       c.relispartition AS partition, pg_get_expr(c.relpartbound, c.oid) AS bound,
       ARRAY(SELECT i.inhparent::int8::float8 FROM pg_inherits i WHERE i.inhrelid = c.oid
         ORDER BY i.inhseqno) AS parents,
       c.relrowsecurity OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
         AS "rowSecurity",
       c.reloftype <> 0 AS typed
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND ${USER_SCHEMA}`,
  );
}

function readColumnRows(client: ClientBase): Promise<readonly ColumnRow[]> {
  // Names of NOT NULL constraints exist since PostgreSQL 18; before, the join finds nothing.
  return read<ColumnRow>(
    client,
    `SELECT a.attrelid AS table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attcollation <> t.typcollation
         THEN format('%I.%I', cn.nspname, co.collname) END AS collation,
       a.attnotnull AS "notNull", k.conname AS "notNullName",
       pg_get_constraintdef(k.oid) AS "notNullDefinition",
       coalesce(k.convalidated, true) AS "notNullValid",
       a.attidentity::text AS identity, a.attgenerated::text AS generated,
       d.oid AS "defaultOid", pg_get_expr(d.adbin, d.adrelid) AS default
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_collation co ON co.oid = a.attcollation
     LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'n'
       AND k.conkey[1] = a.attnum
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND ${USER_SCHEMA}
       AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attrelid, a.attnum`,
  );
}

function tableObject(table: Table, identities: ReadonlyMap<string, string>): CatalogueObject {
  const { row, id, parent } = table;
  const base = {
    key: table.key,
    what: `table ${tableName(id)}`,
    rank: RANK.table,
    optional: false,
  };
  if (table.excluded) {
    const above = 'a partition goes the way of its partitioned table, which is excluded';
    return { ...base, sql: [], reason: table.wanted ? above : EXCLUDED };
  }
  const name = quote(id.schema, id.name);
  const create = row.unlogged ? 'CREATE UNLOGGED TABLE' : 'CREATE TABLE';
  const by = row.partitionKey === null ? '' : ` PARTITION BY ${row.partitionKey}`;
  const invalid = table.columns
    .filter((column) => !column.notNullValid && column.notNullDefinition !== null)
    .map(
      (column) =>
        `ALTER TABLE ${name} ADD CONSTRAINT ${quote(column.notNullName ?? '')} ` +
        String(column.notNullDefinition),
    );
  if (parent !== null) {
    const of = quote(parent.id.schema, parent.id.name);
    return {
      ...base,
      sql: [
        `${create} ${name} PARTITION OF ${of} ${row.bound ?? 'DEFAULT'}${by}`,
        ...partitionNotNulls(table, parent),
      ],
      needs: [parent.key],
      table: id,
    };
  }
  const columns = table.columns.map((column) => columnSql(column, row.oid, identities));
  const list = columns.length === 0 ? '()' : `(\n  ${columns.join(',\n  ')}\n)`;
  return { ...base, sql: [`${create} ${name} ${list}${by}`, ...invalid], table: id };
}

function columnSql(
  column: ColumnRow,
  table: number,
  identities: ReadonlyMap<string, string>,
): string {
  const parts = [quote(column.name), column.type];
  if (column.collation !== null) parts.push(`COLLATE ${column.collation}`);
  if (column.generated !== '' && column.default !== null) {
    const kind = column.generated === 's' ? 'STORED' : 'VIRTUAL';
    parts.push(`GENERATED ALWAYS AS (${column.default}) ${kind}`);
  }
  if (column.identity !== '') {
    const when = column.identity === 'a' ? 'ALWAYS' : 'BY DEFAULT';
    const options = identities.get(identityKey(table, column.name)) ?? '';
    parts.push(`GENERATED ${when} AS IDENTITY ${options}`.trimEnd());
  }
  if (column.notNull && column.notNullValid) {
    if (column.notNullName !== null) parts.push(`CONSTRAINT ${quote(column.notNullName)}`);
    parts.push('NOT NULL');
    if (column.notNullDefinition?.endsWith(' NO INHERIT') === true) parts.push('NO INHERIT');
  }
  return parts.join(' ');
}

/** NOT NULL that the partition has and the table above it has not. */
function partitionNotNulls(table: Table, parent: Table): readonly string[] {
  const above = new Map(parent.columns.map((column) => [column.name, column]));
  return table.columns
    .filter((column) => column.notNull && above.get(column.name)?.notNull !== true)
    .map(
      (column) =>
        `ALTER TABLE ${quote(table.id.schema, table.id.name)} ` +
        `ALTER COLUMN ${quote(column.name)} SET NOT NULL`,
    );
}

/** Defaults stand apart, since a function they call may itself need the table. */
function defaultObjects(table: Table): readonly CatalogueObject[] {
  const above = new Map(table.parent?.columns.map((column) => [column.name, column]) ?? []);
  return table.columns.flatMap((column) => {
    if (column.generated !== '' || column.default === above.get(column.name)?.default) return [];
    if (column.default === null && table.parent === null) return [];
    const action = column.default === null ? 'DROP DEFAULT' : `SET DEFAULT ${column.default}`;
    const name = quote(table.id.schema, table.id.name);
    return [
      {
        key:
          column.defaultOid === null
            ? `default:${table.row.oid}/${column.name}`
            : objectKey(CATALOGUE.attrdef, column.defaultOid),
        what: `default of ${tableName(table.id)}.${column.name}`,
        rank: RANK.columnDefault,
        sql: [`ALTER TABLE ${name} ALTER COLUMN ${quote(column.name)} ${action}`],
        optional: true,
        needs: [table.key],
        partOf: table.key,
      },
    ];
  });
}

/** What a generated column's expression needs, the table needs. */
function generatedAliases(table: Table): readonly (readonly [string, string])[] {
  return table.columns.flatMap((column) =>
    column.generated === '' || column.defaultOid === null
      ? []
      : [[objectKey(CATALOGUE.attrdef, column.defaultOid), table.key] as const],
  );
}

function tableRemarks(table: Table): readonly Remark[] {
  const { row, parent } = table;
  const what = `table ${tableName(table.id)}`;
  const remarks: Remark[] = [];
  const remark = (subject: string, why: string): void => {
    remarks.push({ what: `${subject} of ${what}`, why });
  };
  if (row.unlogged) remark('rows', 'an unlogged table is in no event log; it stays empty');
  if (row.rowSecurity) remark('row security', 'roles of the shadow differ from production’s');
  if (row.typed) remark('row type', 'it is carried over as a table with columns of its own');
  if (!row.partition && row.parents.length > 0) {
    remark('inheritance', 'it stands alone; queries on its parent do not see its rows');
  }
  if (parent !== null) {
    const order = (of: Table): string => JSON.stringify(of.columns.map((column) => column.name));
    if (order(parent) !== order(table)) {
      remark('column order', 'a partition is made with the order of its partitioned table');
    }
    if (differentExpressions(table, parent)) {
      remark('generation expressions', 'a partition is made with those of its partitioned table');
    }
  }
  return remarks;
}

function differentExpressions(table: Table, parent: Table): boolean {
  const above = new Map(parent.columns.map((column) => [column.name, column.default]));
  return table.columns.some(
    (column) => column.generated !== '' && above.get(column.name) !== column.default,
  );
}
