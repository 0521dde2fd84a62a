import type { ClientBase } from 'pg';
import {
  CATALOGUE,
  type CatalogueObject,
  type Findings,
  objectKey,
  plainName,
  quote,
  RANK,
  read,
  type Remark,
  USER_SCHEMA,
} from './introspect-object.ts';

interface ConstraintRow {
  readonly oid: number;
  readonly table: number;
  readonly schema: string;
  readonly tableName: string;
  readonly name: string;
  readonly form: 'p' | 'u' | 'x' | 'c' | 'f';
  readonly valid: boolean;
  readonly definition: string;
}

const KINDS = {
  p: { word: 'primary key', rank: RANK.key, optional: false },
  u: { word: 'unique constraint', rank: RANK.key, optional: false },
  x: { word: 'exclusion constraint', rank: RANK.key, optional: true },
  c: { word: 'check', rank: RANK.check, optional: true },
  f: { word: 'foreign key', rank: RANK.foreignKey, optional: true },
} as const;

/**
 * Keys, uniques, exclusions, checks and foreign keys, as the server writes them. What a partition
 * has from the table above it comes by itself.
 */
export async function readConstraints(client: ClientBase): Promise<Findings> {
  const rows = await read<ConstraintRow>(
    client,
    `SELECT k.oid, c.oid AS table, n.nspname AS schema, c.relname AS "tableName",
       k.conname AS name, k.contype::text AS form, k.convalidated AS valid,
       pg_get_constraintdef(k.oid) AS definition
     FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE k.contype IN ('p', 'u', 'x', 'c', 'f') AND k.conparentid = 0
       AND (k.contype <> 'c' OR k.conislocal OR NOT c.relispartition)
       AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND ${USER_SCHEMA}`,
  );
  const objects = rows.map((row): CatalogueObject => {
    const kind = KINDS[row.form];
    const table = objectKey(CATALOGUE.class, row.table);
    const on = quote(row.schema, row.tableName);
    return {
      key: objectKey(CATALOGUE.constraint, row.oid),
      what: `${kind.word} ${row.name} of table ${plainName(row.schema, row.tableName)}`,
      rank: kind.rank,
      sql: [`ALTER TABLE ${on} ADD CONSTRAINT ${quote(row.name)} ${row.definition}`],
      optional: kind.optional,
      needs: [table],
      partOf: table,
    };
  });
  return { objects, remarks: [], aliases: await notNullAliases(client) };
}

/** NOT NULL constraints (catalogued since PostgreSQL 18) are a part of their table. */
async function notNullAliases(client: ClientBase): Promise<readonly (readonly [string, string])[]> {
  const rows = await read<{ oid: number; table: number }>(
    client,
    `SELECT oid, conrelid AS table FROM pg_constraint WHERE contype = 'n' AND conrelid <> 0`,
  );
  return rows.map((row) => [
    objectKey(CATALOGUE.constraint, row.oid),
    objectKey(CATALOGUE.class, row.table),
  ]);
}

interface IndexRow {
  readonly oid: number;
  readonly table: number;
  readonly schema: string;
  readonly tableName: string;
  readonly name: string;
  readonly unique: boolean;
  readonly valid: boolean;
  readonly ofView: boolean;
  readonly definition: string;
}

/** Indexes that no constraint makes; an invalid one is reported. */
export async function readIndexes(client: ClientBase): Promise<Findings> {
  const rows = await read<IndexRow>(
    client,
    `SELECT i.indexrelid AS oid, c.oid AS table, n.nspname AS schema, c.relname AS "tableName",
       ic.relname AS name, i.indisunique AS unique, i.indisvalid AS valid,
       c.relkind = 'm' AS "ofView", pg_get_indexdef(i.indexrelid) AS definition
     FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
     JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND NOT ic.relispartition
       AND ${USER_SCHEMA} AND NOT EXISTS (SELECT FROM pg_constraint k
         WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))`,
  );
  const objects: CatalogueObject[] = [];
  const remarks: Remark[] = [];
  for (const row of rows) {
    const what = `index ${plainName(row.schema, row.name)}`;
    if (!row.valid) {
      remarks.push({ what, why: 'it is invalid in production (a build that failed)' });
      continue;
    }
    const table = objectKey(CATALOGUE.class, row.table);
    objects.push({
      key: objectKey(CATALOGUE.class, row.oid),
      what,
      rank: row.ofView ? RANK.viewIndex : RANK.index,
      sql: [onAllPartitions(row)],
      // A unique index may be the key that changes are addressed by.
      optional: !row.unique || row.ofView,
      needs: [table],
      partOf: table,
    });
  }
  return { objects, remarks };
}

/** The server writes the index of a partitioned table with ONLY, which would leave it invalid. */
function onAllPartitions(row: IndexRow): string {
  const head = `CREATE ${row.unique ? 'UNIQUE ' : ''}INDEX ${quote(row.name)} ON `;
  const only = `${head}ONLY `;
  return row.definition.startsWith(only)
    ? head + row.definition.slice(only.length)
    : row.definition;
}
