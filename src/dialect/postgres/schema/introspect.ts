/**
 * Production's catalogue, read without writing anything and without pg_dump: every object as the
 * statements that make it, with its dependencies. SELECT on the system catalogues is enough;
 * sequence values need SELECT on the sequences.
 */
import type { ClientBase } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import { readBase } from './introspect-base.ts';
import { readConstraints, readIndexes } from './introspect-constraints.ts';
import { type CatalogueObject, CATALOGUE, objectKey, read } from './introspect-object.ts';
import type { Findings, Remark } from './introspect-object.ts';
import { readLeftOut } from './introspect-reported.ts';
import { readRoutines, readTriggers } from './introspect-routines.ts';
import { readOwnership, readSequences } from './introspect-sequences.ts';
import { readTables } from './introspect-tables.ts';
import { readTypes } from './introspect-types.ts';
import { readComments, readStatistics, readViews } from './introspect-views.ts';

export interface Introspection {
  readonly objects: readonly CatalogueObject[];
  /** For each object's key, the keys of the objects that must exist first. */
  readonly dependencies: ReadonlyMap<string, ReadonlySet<string>>;
  readonly remarks: readonly Remark[];
}

/**
 * Names are written in full and always quoted, so that a statement means the same on a server of
 * another version, with other keywords and another search path.
 */
const SETTINGS = `SELECT set_config('search_path', '', true),
  set_config('quote_all_identifiers', 'on', true), set_config('extra_float_digits', '3', true),
  set_config('DateStyle', 'ISO, YMD', true), set_config('IntervalStyle', 'postgres', true),
  set_config('TimeZone', 'UTC', true), set_config('bytea_output', 'hex', true)`;

/**
 * Reads the catalogue in one read-only transaction of its own. `include` says which tables take
 * part. The client must be idle.
 */
export async function introspect(
  client: ClientBase,
  include: (table: TableId) => boolean,
): Promise<Introspection> {
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  try {
    await client.query(SETTINGS);
    const found = await readAll(client, include);
    const members = await extensionMembers(client);
    const own = (key: string | undefined): boolean => key === undefined || !members.has(key);
    const objects = found
      .flatMap((findings) => findings.objects)
      .filter((object) => own(object.key) && own(object.partOf));
    const aliases = new Map([...members, ...found.flatMap((findings) => findings.aliases ?? [])]);
    const rows = await readDependencyRows(client);
    const resolve = resolver(objects, aliases, rows);
    return {
      objects: objects.map((object) => withWhole(object, resolve)),
      dependencies: dependenciesOf(objects, rows, resolve),
      remarks: found.flatMap((findings) => findings.remarks),
    };
  } finally {
    await client.query('ROLLBACK');
  }
}

async function readAll(
  client: ClientBase,
  include: (table: TableId) => boolean,
): Promise<readonly Findings[]> {
  const sequences = await readSequences(client);
  return [
    await readBase(client),
    await readTypes(client),
    sequences,
    await readTables(client, include, sequences.identities),
    await readOwnership(client),
    await readConstraints(client),
    await readIndexes(client),
    await readRoutines(client),
    await readViews(client),
    await readTriggers(client),
    await readStatistics(client),
    await readComments(client),
    await readLeftOut(client),
  ];
}

/** Objects that come with an extension, by that extension's key. */
async function extensionMembers(client: ClientBase): Promise<Map<string, string>> {
  const rows = await read<DependencyRow>(
    client,
    `SELECT classid AS class, objid AS oid, refclassid AS "toClass", refobjid AS "toOid",
       deptype::text AS form FROM pg_depend WHERE deptype = 'e'`,
  );
  return new Map(
    rows.map((row) => [objectKey(row.class, row.oid), objectKey(row.toClass, row.toOid)]),
  );
}

interface DependencyRow {
  readonly class: number;
  readonly oid: number;
  readonly toClass: number;
  readonly toOid: number;
  readonly form: string;
}

/** Entries among the server's own objects are not needed, so OIDs below 16384 stay out. */
function readDependencyRows(client: ClientBase): Promise<readonly DependencyRow[]> {
  return read<DependencyRow>(
    client,
    `SELECT DISTINCT classid AS class, objid AS oid, refclassid AS "toClass",
       refobjid AS "toOid", deptype::text AS form
     FROM pg_depend WHERE objid >= 16384 AND refobjid >= 16384 AND deptype <> 'e'`,
  );
}

/** Finds the object that a catalogue entry belongs to; null if we do not know of any. */
type Resolve = (key: string) => string | null;

/** A row type, an array type, a view's rule, a key's index: each stands for its whole. */
function resolver(
  objects: readonly CatalogueObject[],
  aliases: ReadonlyMap<string, string>,
  rows: readonly DependencyRow[],
): Resolve {
  const known = new Set(objects.map((object) => object.key));
  const internal = new Map<string, string>();
  for (const row of rows) {
    if (row.form === 'i') {
      internal.set(objectKey(row.class, row.oid), objectKey(row.toClass, row.toOid));
    }
  }
  return (key) => {
    let at: string | undefined = key;
    for (const seen = new Set<string>(); at !== undefined && !seen.has(at);) {
      if (known.has(at)) return at;
      seen.add(at);
      at = aliases.get(at) ?? internal.get(at);
    }
    return null;
  };
}

function withWhole(object: CatalogueObject, resolve: Resolve): CatalogueObject {
  if (object.partOf === undefined) return object;
  return { ...object, partOf: resolve(object.partOf) ?? object.partOf };
}

function dependenciesOf(
  objects: readonly CatalogueObject[],
  rows: readonly DependencyRow[],
  resolve: Resolve,
): Map<string, Set<string>> {
  const known = new Map(objects.map((object) => [object.key, object]));
  const dependencies = new Map<string, Set<string>>();
  for (const object of objects) {
    const needs = (object.needs ?? []).map((need) => resolve(need) ?? need);
    dependencies.set(object.key, new Set(needs));
  }
  for (const row of rows) {
    const from = resolve(objectKey(row.class, row.oid));
    const to = resolve(objectKey(row.toClass, row.toOid));
    if (from === null || to === null || from === to || isLoose(known, from, to)) continue;
    dependencies.get(from)?.add(to);
  }
  return dependencies;
}

/**
 * Dependencies that do not bind us: a table on the tables it inherits from (it stands alone, and
 * a partition names its parent itself), a sequence on the table that owns it (it comes first).
 */
function isLoose(known: ReadonlyMap<string, CatalogueObject>, from: string, to: string): boolean {
  const prefix = objectKey(CATALOGUE.class, 0).slice(0, -1);
  const isTable = (key: string): boolean =>
    key.startsWith(prefix) && known.get(key)?.what.startsWith('table ') === true;
  const isSequence = known.get(from)?.what.startsWith('sequence ') === true;
  return isTable(to) && (isTable(from) || isSequence);
}
