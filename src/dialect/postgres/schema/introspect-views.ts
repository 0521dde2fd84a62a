import type { ClientBase } from 'pg';
import {
  CATALOGUE,
  type CatalogueObject,
  type Findings,
  literal,
  objectKey,
  plainName,
  quote,
  RANK,
  read,
  type Remark,
  USER_SCHEMA,
} from './introspect-object.ts';

interface ViewRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly materialized: boolean;
  readonly options: readonly string[] | null;
  readonly definition: string;
}

/** Views and materialized views; the latter without rows, which only a REFRESH can bring. */
export async function readViews(client: ClientBase): Promise<Findings> {
  const rows = await read<ViewRow>(
    client,
    `SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind = 'm' AS materialized,
       CASE WHEN c.relkind = 'v' THEN c.reloptions END AS options,
       pg_get_viewdef(c.oid) AS definition
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('v', 'm') AND c.relpersistence <> 't' AND ${USER_SCHEMA}`,
  );
  const remarks: Remark[] = [];
  const objects = rows.map((row): CatalogueObject => {
    const name = quote(row.schema, row.name);
    const query = row.definition.trimEnd().replace(/;$/, '');
    const word = row.materialized ? 'materialized view' : 'view';
    const what = `${word} ${plainName(row.schema, row.name)}`;
    if (row.materialized) {
      remarks.push({ what: `rows of ${what}`, why: 'REFRESH it after the first load' });
    }
    return {
      key: objectKey(CATALOGUE.class, row.oid),
      what,
      rank: RANK.view,
      sql: [
        row.materialized
          ? `CREATE MATERIALIZED VIEW ${name} AS ${query} WITH NO DATA`
          : `CREATE VIEW ${name}${viewOptions(row.options)} AS ${query}`,
      ],
      optional: true,
    };
  });
  return {
    objects: [...objects, ...(await readViewDefaults(client))],
    remarks,
  };
}

function viewOptions(options: readonly string[] | null): string {
  if (options === null || options.length === 0) return '';
  const list = options.map((option) => {
    const equals = option.indexOf('=');
    return `${quote(option.slice(0, equals))} = ${literal(option.slice(equals + 1))}`;
  });
  return ` WITH (${list.join(', ')})`;
}

async function readViewDefaults(client: ClientBase): Promise<readonly CatalogueObject[]> {
  const rows = await read<{
    oid: number;
    view: number;
    schema: string;
    name: string;
    column: string;
    expression: string;
  }>(
    client,
    `SELECT d.oid, c.oid AS view, n.nspname AS schema, c.relname AS name, a.attname AS column,
       pg_get_expr(d.adbin, d.adrelid) AS expression
     FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid AND c.relkind = 'v'
     JOIN pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.adnum WHERE ${USER_SCHEMA}`,
  );
  return rows.map((row) => {
    const view = objectKey(CATALOGUE.class, row.view);
    const on = `${quote(row.schema, row.name)} ALTER COLUMN ${quote(row.column)}`;
    return {
      key: objectKey(CATALOGUE.attrdef, row.oid),
      what: `default of ${plainName(row.schema, row.name)}.${row.column}`,
      rank: RANK.trigger,
      sql: [`ALTER VIEW ${on} SET DEFAULT ${row.expression}`],
      optional: true,
      needs: [view],
      partOf: view,
    };
  });
}

/** Extended statistics: they change plans, not results. */
export async function readStatistics(client: ClientBase): Promise<Findings> {
  const rows = await read<{
    class: number;
    oid: number;
    table: number;
    schema: string;
    name: string;
    definition: string;
  }>(
    client,
    `SELECT s.tableoid AS class, s.oid, s.stxrelid AS table, n.nspname AS schema,
       s.stxname AS name, pg_get_statisticsobjdef(s.oid) AS definition
     FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE ${USER_SCHEMA}`,
  );
  const objects = rows.map((row) => {
    const table = objectKey(CATALOGUE.class, row.table);
    return {
      key: objectKey(row.class, row.oid),
      what: `statistics ${plainName(row.schema, row.name)}`,
      rank: RANK.statistics,
      sql: [row.definition],
      optional: true,
      needs: [table],
      partOf: table,
    };
  });
  return { objects, remarks: [] };
}

/**
 * Comments on whatever is carried over. Not on extensions, which bring their own, nor the one
 * that every database has on its schema `public`.
 */
export async function readComments(client: ClientBase): Promise<Findings> {
  const rows = await read<{
    class: number;
    oid: number;
    part: number;
    kind: string;
    name: string;
    text: string;
  }>(
    client,
    `SELECT d.classoid AS class, d.objoid AS oid, d.objsubid AS part, i.type AS kind,
       i.identity AS name, d.description AS text
     FROM pg_description d
     CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i
     WHERE i.type NOT IN ('extension') AND (d.objoid >= 16384
       OR (i.type = 'schema' AND d.description <> 'standard public schema'))`,
  );
  const objects: CatalogueObject[] = [];
  for (const row of rows) {
    const target = commentTarget(row.kind, row.name);
    if (target === null) continue;
    const on = objectKey(row.class, row.oid);
    objects.push({
      key: `comment:${on}/${row.part}`,
      what: `comment on ${row.kind} ${row.name.replaceAll('"', '')}`,
      rank: RANK.comment,
      sql: [`COMMENT ON ${target} IS ${literal(row.text)}`],
      optional: true,
      needs: [on],
      partOf: on,
    });
  }
  return { objects, remarks: [] };
}

const COMMENTED = new Set([
  ...['aggregate', 'collation', 'function', 'index', 'materialized view', 'procedure', 'schema'],
  ...['sequence', 'table', 'trigger', 'type', 'view'],
]);

/** From the kinds of pg_identify_object to the grammar of COMMENT ON. Null: not carried. */
function commentTarget(kind: string, name: string): string | null {
  if (kind === 'domain constraint') return `CONSTRAINT ${name.replace('" on "', '" ON DOMAIN "')}`;
  if (kind === 'table constraint') return `CONSTRAINT ${name}`;
  if (kind === 'composite type') return `TYPE ${name}`;
  if (kind === 'statistics object') return `STATISTICS ${name}`;
  if (kind.endsWith(' column')) return `COLUMN ${name}`;
  return COMMENTED.has(kind) ? `${kind.toUpperCase()} ${name}` : null;
}
