/**
 * What introspection yields: production's objects as statements that make them, and who needs
 * whom. Each reader (introspect-*.ts) contributes some kinds; introspect.ts joins them, plan-order.ts
 * puts them in an order that works.
 */
import type { ClientBase, QueryResultRow } from 'pg';
import pg from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';

/**
 * Preferred order of statements; a dependency always goes first. Smaller is earlier.
 */
export const RANK = {
  schema: 0,
  extension: 1,
  collation: 2,
  type: 3,
  sequence: 4,
  routine: 5,
  table: 6,
  ownership: 7,
  columnDefault: 8,
  key: 9,
  check: 10,
  index: 11,
  foreignKey: 12,
  view: 13,
  viewIndex: 14,
  trigger: 15,
  statistics: 16,
  sequenceValue: 17,
  comment: 18,
  leftOut: 19,
} as const;

export interface CatalogueObject {
  /** See objectKey; means something on one server only. */
  readonly key: string;
  /** For messages and for a stable order: `table public.orders`. Unique. */
  readonly what: string;
  readonly rank: number;
  /** Empty for what cannot be carried over; then `reason` is set. */
  readonly sql: readonly string[];
  /** Failure on the shadow server is reported instead of fatal. */
  readonly optional: boolean;
  /** Objects needed beyond those the catalogue's dependencies name. */
  readonly needs?: readonly string[];
  /** The object it is a part of: without it, it is left out without a word. */
  readonly partOf?: string;
  /** Set if this object is a table. */
  readonly table?: TableId;
  /** Why it is not carried over. */
  readonly reason?: string;
}

/** The reason of what the caller's filter leaves out, which needs no report. */
export const EXCLUDED = 'excluded';

export interface Remark {
  readonly what: string;
  readonly why: string;
}

/** What one reader found. */
export interface Findings {
  readonly objects: readonly CatalogueObject[];
  /** Carried with a difference, or not carried and nobody can depend on it. */
  readonly remarks: readonly Remark[];
  /** Catalogue entries that are a part of another object for the purpose of order. */
  readonly aliases?: readonly (readonly [part: string, whole: string])[];
}

/** Catalogue (its own OID, the same everywhere) and OID within it. */
export function objectKey(catalogue: number, oid: number): string {
  return `${catalogue}:${oid}`;
}

/** OIDs of system catalogues: fixed by PostgreSQL's sources (src/include/catalog/*.h). */
export const CATALOGUE = {
  class: 1259,
  type: 1247,
  proc: 1255,
  constraint: 2606,
  attrdef: 2604,
  trigger: 2620,
  rewrite: 2618,
  namespace: 2615,
} as const;

export function quote(...parts: readonly string[]): string {
  return parts.map((part) => pg.escapeIdentifier(part)).join('.');
}

export function literal(text: string): string {
  return pg.escapeLiteral(text).trimStart();
}

/** `schema.name` for messages, without quotes where they are not needed. */
export function plainName(schema: string, name: string): string {
  return tableName({ schema, name });
}

/** Runs one query of the catalogue. */
export async function read<T extends QueryResultRow>(
  client: ClientBase,
  sql: string,
  params: readonly unknown[] = [],
): Promise<readonly T[]> {
  const result = await client.query<T>(sql, [...params]);
  return result.rows;
}

/**
 * True for a schema (alias `n` of pg_namespace) whose objects belong to the user: not the
 * server's, not those that understudy makes in a shadow.
 */
export const USER_SCHEMA = `n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND n.nspname <> 'understudy' AND n.nspname !~ '__(production|difference)$'`;
