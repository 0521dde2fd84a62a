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

/** Schemas, extensions and collations: what everything else stands on. */
export async function readBase(client: ClientBase): Promise<Findings> {
  const objects = [
    ...(await readSchemas(client)),
    ...(await readExtensions(client)),
    ...(await readCollations(client)),
  ];
  return { objects, remarks: [] };
}

async function readSchemas(client: ClientBase): Promise<readonly CatalogueObject[]> {
  const rows = await read<{ oid: number; name: string }>(
    client,
    `SELECT n.oid, n.nspname AS name FROM pg_namespace n WHERE ${USER_SCHEMA}`,
  );
  return rows.map((row) => ({
    key: objectKey(CATALOGUE.namespace, row.oid),
    what: `schema ${row.name}`,
    rank: RANK.schema,
    sql: [`CREATE SCHEMA IF NOT EXISTS ${quote(row.name)}`],
    optional: false,
  }));
}

/**
 * The version is the target's choice. Optional, since the shadow server may lack the files; what
 * needs the extension then says so.
 */
async function readExtensions(client: ClientBase): Promise<readonly CatalogueObject[]> {
  const rows = await read<{ class: number; oid: number; name: string; schema: string | null }>(
    client,
    `SELECT e.tableoid AS class, e.oid, e.extname AS name,
       CASE WHEN NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = ${CATALOGUE.namespace}
           AND d.objid = n.oid AND d.deptype = 'e') AND n.nspname <> 'pg_catalog'
         THEN n.nspname END AS schema
     FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace`,
  );
  return rows.map((row) => {
    const where = row.schema === null ? '' : ` SCHEMA ${quote(row.schema)}`;
    return {
      key: objectKey(row.class, row.oid),
      what: `extension ${row.name}`,
      rank: RANK.extension,
      sql: [`CREATE EXTENSION IF NOT EXISTS ${quote(row.name)}${where}`],
      optional: true,
    };
  });
}

interface CollationRow {
  readonly class: number;
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly provider: string;
  readonly deterministic: boolean;
  readonly collate: string | null;
  readonly ctype: string | null;
  readonly locale: string | null;
  readonly rules: string | null;
}

const PROVIDERS: Readonly<Record<string, string>> = { c: 'libc', i: 'icu', b: 'builtin' };

async function readCollations(client: ClientBase): Promise<readonly CatalogueObject[]> {
  // The ICU locale is collcollate up to 14, colliculocale in 15 and 16, colllocale since 17.
  const rows = await read<CollationRow>(
    client,
    `SELECT c.tableoid AS class, c.oid, n.nspname AS schema, c.collname AS name,
       c.collprovider::text AS provider, c.collisdeterministic AS deterministic,
       c.collcollate::text AS collate, c.collctype::text AS ctype,
       coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale') AS locale,
       to_jsonb(c) ->> 'collicurules' AS rules
     FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE ${USER_SCHEMA}`,
  );
  return rows.map((row) => {
    const provider = PROVIDERS[row.provider];
    const base = {
      key: objectKey(row.class, row.oid),
      what: `collation ${plainName(row.schema, row.name)}`,
      rank: RANK.collation,
      optional: false,
    };
    if (provider === undefined) {
      return { ...base, sql: [], reason: `its provider '${row.provider}' is unknown` };
    }
    const options = [
      `provider = ${provider}`,
      ...(row.provider === 'c'
        ? [`lc_collate = ${literal(row.collate ?? '')}`, `lc_ctype = ${literal(row.ctype ?? '')}`]
        : [`locale = ${literal(row.locale ?? row.collate ?? '')}`]),
      ...(row.deterministic ? [] : ['deterministic = false']),
      ...(row.rules === null ? [] : [`rules = ${literal(row.rules)}`]),
    ];
    const sql = `CREATE COLLATION ${quote(row.schema, row.name)} (${options.join(', ')})`;
    return { ...base, sql: [sql] };
  });
}
