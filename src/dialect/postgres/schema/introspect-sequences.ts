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

interface SequenceRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly type: string;
  readonly start: string;
  readonly increment: string;
  readonly min: string;
  readonly max: string;
  readonly cache: string;
  readonly cycle: boolean;
  /** Of the table it belongs to, by OWNED BY ('a') or as an identity column ('i'). */
  readonly owner: number | null;
  readonly ownership: 'a' | 'i' | null;
  readonly ownerColumn: string | null;
  readonly readable: boolean;
}

/** The options of a sequence as both CREATE SEQUENCE and GENERATED … AS IDENTITY take them. */
function sequenceOptions(row: SequenceRow): string {
  return [
    `START WITH ${row.start}`,
    `INCREMENT BY ${row.increment}`,
    `MINVALUE ${row.min}`,
    `MAXVALUE ${row.max}`,
    `CACHE ${row.cache}`,
    row.cycle ? 'CYCLE' : 'NO CYCLE',
  ].join(' ');
}

export interface SequenceFindings extends Findings {
  /** By `table oid/column`: the options of an identity column. */
  readonly identities: ReadonlyMap<string, string>;
}

export function identityKey(table: number, column: string): string {
  return `${table}/${column}`;
}

/** Sequences, free, owned or of identity columns, with their current value. */
export async function readSequences(client: ClientBase): Promise<SequenceFindings> {
  const rows = await read<SequenceRow>(
    client,
    `SELECT c.oid, n.nspname AS schema, c.relname AS name, format_type(s.seqtypid, NULL) AS type,
       s.seqstart::text AS start, s.seqincrement::text AS increment, s.seqmin::text AS min,
       s.seqmax::text AS max, s.seqcache::text AS cache, s.seqcycle AS cycle,
       d.refobjid AS owner, d.deptype::text AS ownership, a.attname AS "ownerColumn",
       has_sequence_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable
     FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_depend d ON d.classid = ${CATALOGUE.class} AND d.objid = c.oid AND d.objsubid = 0
       AND d.refclassid = ${CATALOGUE.class} AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
     LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE ${USER_SCHEMA} AND c.relpersistence <> 't'`,
  );
  const values = await readValues(
    client,
    rows.filter((row) => row.readable),
  );
  const objects: CatalogueObject[] = [];
  const remarks: Remark[] = [];
  const aliases: (readonly [string, string])[] = [];
  const identities = new Map<string, string>();
  for (const row of rows) {
    const key = objectKey(CATALOGUE.class, row.oid);
    const name = quote(row.schema, row.name);
    const what = `sequence ${plainName(row.schema, row.name)}`;
    const options = sequenceOptions(row);
    let made = key;
    if (row.ownership === 'i' && row.owner !== null && row.ownerColumn !== null) {
      made = objectKey(CATALOGUE.class, row.owner);
      aliases.push([key, made]);
      identities.set(identityKey(row.owner, row.ownerColumn), `(SEQUENCE NAME ${name} ${options})`);
    } else {
      objects.push({
        key,
        what,
        rank: RANK.sequence,
        sql: [`CREATE SEQUENCE ${name} AS ${row.type} ${options}`],
        optional: false,
      });
    }
    const value = values.get(row.oid);
    if (value === undefined) {
      remarks.push({ what: `value of ${what}`, why: 'the account may not SELECT from it' });
      continue;
    }
    objects.push({
      key: `value:${key}`,
      what: `value of ${what}`,
      rank: RANK.sequenceValue,
      sql: [`SELECT pg_catalog.setval(${literal(name)}, ${value.last}, ${value.called})`],
      optional: true,
      needs: [made],
      partOf: made,
    });
  }
  return { objects, remarks, aliases, identities };
}

/** OWNED BY of sequences whose owner is a table; afterwards, because the table needs them. */
export async function readOwnership(client: ClientBase): Promise<Findings> {
  const rows = await read<{
    oid: number;
    schema: string;
    name: string;
    table: number;
    tableSchema: string;
    tableName: string;
    column: string;
  }>(
    client,
    `SELECT c.oid, n.nspname AS schema, c.relname AS name, t.oid AS table,
       tn.nspname AS "tableSchema", t.relname AS "tableName", a.attname AS column
     FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
     JOIN pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p')
     JOIN pg_namespace tn ON tn.oid = t.relnamespace
     JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
     WHERE d.classid = ${CATALOGUE.class} AND d.refclassid = ${CATALOGUE.class}
       AND d.deptype = 'a' AND d.refobjsubid > 0 AND ${USER_SCHEMA}`,
  );
  const objects = rows.map((row): CatalogueObject => {
    const sequence = quote(row.schema, row.name);
    const column = quote(row.tableSchema, row.tableName, row.column);
    const table = objectKey(CATALOGUE.class, row.table);
    return {
      key: `owner:${row.oid}`,
      what: `owner of sequence ${plainName(row.schema, row.name)}`,
      rank: RANK.ownership,
      sql: [`ALTER SEQUENCE ${sequence} OWNED BY ${column}`],
      optional: false,
      needs: [objectKey(CATALOGUE.class, row.oid), table],
      partOf: table,
    };
  });
  return { objects, remarks: [] };
}

/** `last_value` and `is_called`: both, because setval(…, false) hides the value elsewhere. */
async function readValues(
  client: ClientBase,
  sequences: readonly SequenceRow[],
): Promise<Map<number, { readonly last: string; readonly called: boolean }>> {
  const values = new Map<number, { readonly last: string; readonly called: boolean }>();
  const perQuery = 200;
  for (let start = 0; start < sequences.length; start += perQuery) {
    const query = sequences
      .slice(start, start + perQuery)
      .map(
        (row) =>
          `SELECT ${row.oid}::oid AS oid, last_value::text AS last, is_called AS called
           FROM ${quote(row.schema, row.name)}`,
      )
      .join(' UNION ALL ');
    const rows = await read<{ oid: number; last: string; called: boolean }>(client, query);
    for (const row of rows) values.set(row.oid, row);
  }
  return values;
}
