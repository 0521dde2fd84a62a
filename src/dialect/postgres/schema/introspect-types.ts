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
  USER_SCHEMA,
} from './introspect-object.ts';

interface TypeRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** typtype: e enum, d domain, c composite, r range, b base. */
  readonly form: string;
}

/** Enums, domains, composites, ranges; base types are reported, since they need C code. */
export async function readTypes(client: ClientBase): Promise<Findings> {
  const types = await read<TypeRow>(
    client,
    `SELECT t.oid, n.nspname AS schema, t.typname AS name, t.typtype::text AS form
     FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     LEFT JOIN pg_class c ON c.oid = t.typrelid
     WHERE ${USER_SCHEMA} AND t.typtype IN ('e', 'd', 'c', 'r', 'b')
       AND (t.typrelid = 0 OR c.relkind = 'c')
       AND NOT (t.typtype = 'b' AND t.typcategory = 'A')`,
  );
  const [enums, domains, constraints, attributes, ranges] = [
    await readEnums(client),
    await readDomains(client),
    await readDomainConstraints(client),
    await readAttributes(client),
    await readRanges(client),
  ];
  const objects = types.map((type): CatalogueObject => {
    const base = {
      key: objectKey(CATALOGUE.type, type.oid),
      what: `type ${plainName(type.schema, type.name)}`,
      rank: RANK.type,
      optional: false,
    };
    const name = quote(type.schema, type.name);
    const range = ranges.get(type.oid);
    const domain = domains.get(type.oid);
    if (type.form === 'e') {
      const labels = (enums.get(type.oid) ?? []).map(literal).join(', ');
      return { ...base, sql: [`CREATE TYPE ${name} AS ENUM (${labels})`] };
    }
    if (domain !== undefined) {
      return { ...base, sql: domainSql(name, domain, constraints.get(type.oid) ?? []) };
    }
    if (type.form === 'c') {
      const columns = (attributes.get(type.oid) ?? []).join(', ');
      return { ...base, sql: [`CREATE TYPE ${name} AS (${columns})`] };
    }
    if (range !== undefined && !range.canonical) {
      return { ...base, sql: [`CREATE TYPE ${name} AS RANGE (${range.options.join(', ')})`] };
    }
    const reason =
      type.form === 'r'
        ? 'a range type with a canonical function is not carried over'
        : 'a base type needs code in the server; install it there as an extension';
    return { ...base, sql: [], reason };
  });
  const aliases = [...constraints].flatMap(([type, list]) =>
    list.map(
      (constraint) =>
        [objectKey(CATALOGUE.constraint, constraint.oid), objectKey(CATALOGUE.type, type)] as const,
    ),
  );
  return { objects, remarks: [], aliases };
}

async function readEnums(client: ClientBase): Promise<Map<number, readonly string[]>> {
  const rows = await read<{ oid: number; labels: readonly string[] }>(
    client,
    `SELECT enumtypid AS oid, array_agg(enumlabel::text ORDER BY enumsortorder) AS labels
     FROM pg_enum GROUP BY enumtypid`,
  );
  return new Map(rows.map((row) => [row.oid, row.labels]));
}

interface DomainRow {
  readonly oid: number;
  readonly base: string;
  readonly collation: string | null;
  readonly default: string | null;
  readonly notNull: boolean;
}

async function readDomains(client: ClientBase): Promise<Map<number, DomainRow>> {
  const rows = await read<DomainRow>(
    client,
    `SELECT t.oid, format_type(t.typbasetype, t.typtypmod) AS base,
       CASE WHEN t.typcollation <> b.typcollation
         THEN format('%I.%I', cn.nspname, co.collname) END AS collation,
       pg_get_expr(t.typdefaultbin, 0) AS default, t.typnotnull AS "notNull"
     FROM pg_type t JOIN pg_type b ON b.oid = t.typbasetype
     LEFT JOIN pg_collation co ON co.oid = t.typcollation
     LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
     WHERE t.typtype = 'd'`,
  );
  return new Map(rows.map((row) => [row.oid, row]));
}

interface DomainConstraint {
  readonly oid: number;
  readonly type: number;
  readonly name: string;
  readonly notNull: boolean;
  readonly valid: boolean;
  readonly definition: string;
}

async function readDomainConstraints(
  client: ClientBase,
): Promise<Map<number, readonly DomainConstraint[]>> {
  const rows = await read<DomainConstraint>(
    client,
    `SELECT oid, contypid AS type, conname AS name, contype = 'n' AS "notNull",
       convalidated AS valid, pg_get_constraintdef(oid) AS definition
     FROM pg_constraint WHERE contypid <> 0 ORDER BY contypid, conname`,
  );
  return Map.groupBy(rows, (row) => row.type);
}

function domainSql(
  name: string,
  domain: DomainRow,
  constraints: readonly DomainConstraint[],
): readonly string[] {
  const named = constraints.filter((constraint) => constraint.valid);
  const clauses = [
    domain.collation === null ? '' : ` COLLATE ${domain.collation}`,
    domain.default === null ? '' : ` DEFAULT ${domain.default}`,
    domain.notNull && !named.some((constraint) => constraint.notNull) ? ' NOT NULL' : '',
    ...named.map((one) => ` CONSTRAINT ${quote(one.name)} ${one.definition}`),
  ];
  return [
    `CREATE DOMAIN ${name} AS ${domain.base}${clauses.join('')}`,
    ...constraints
      .filter((constraint) => !constraint.valid)
      .map((one) => `ALTER DOMAIN ${name} ADD CONSTRAINT ${quote(one.name)} ${one.definition}`),
  ];
}

async function readAttributes(client: ClientBase): Promise<Map<number, readonly string[]>> {
  const rows = await read<{ oid: number; columns: readonly string[] }>(
    client,
    `SELECT c.reltype AS oid, array_agg(format('%I %s%s', a.attname,
         format_type(a.atttypid, a.atttypmod),
         CASE WHEN a.attcollation <> t.typcollation
           THEN format(' COLLATE %I.%I', cn.nspname, co.collname) ELSE '' END)
       ORDER BY a.attnum) AS columns
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     JOIN pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_collation co ON co.oid = a.attcollation
     LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
     WHERE c.relkind = 'c' AND a.attnum > 0 AND NOT a.attisdropped GROUP BY c.reltype`,
  );
  return new Map(rows.map((row) => [row.oid, row.columns]));
}

async function readRanges(
  client: ClientBase,
): Promise<Map<number, { readonly canonical: boolean; readonly options: readonly string[] }>> {
  // The multirange's column exists since PostgreSQL 14; to_jsonb reads it where it is.
  const rows = await read<{
    oid: number;
    canonical: boolean;
    options: readonly (string | null)[];
  }>(
    client,
    `SELECT r.rngtypid AS oid, r.rngcanonical <> 0 AS canonical, ARRAY[
       'subtype = ' || format_type(r.rngsubtype, NULL),
       CASE WHEN NOT oc.opcdefault
         THEN format('subtype_opclass = %I.%I', ocn.nspname, oc.opcname) END,
       CASE WHEN r.rngcollation <> 0 AND r.rngcollation <> st.typcollation
         THEN format('collation = %I.%I', cn.nspname, co.collname) END,
       CASE WHEN r.rngsubdiff <> 0 THEN format('subtype_diff = %s', r.rngsubdiff::regproc) END,
       CASE WHEN mt.oid IS NOT NULL
         THEN format('multirange_type_name = %I.%I', mn.nspname, mt.typname) END] AS options
     FROM pg_range r JOIN pg_type st ON st.oid = r.rngsubtype
     JOIN pg_opclass oc ON oc.oid = r.rngsubopc
     JOIN pg_namespace ocn ON ocn.oid = oc.opcnamespace
     LEFT JOIN pg_collation co ON co.oid = r.rngcollation
     LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
     LEFT JOIN pg_type mt ON mt.oid = (to_jsonb(r) ->> 'rngmultitypid')::oid
     LEFT JOIN pg_namespace mn ON mn.oid = mt.typnamespace`,
  );
  return new Map(
    rows.map((row) => [
      row.oid,
      { canonical: row.canonical, options: row.options.filter((option) => option !== null) },
    ]),
  );
}
