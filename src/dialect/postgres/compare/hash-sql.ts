/**
 * The checksum of a row as SQL, strict: two rows hash alike only if they are stored alike
 * (pin-proofs 5.1: -0 and 0, 1.0 and 1.00, array bounds and shape, trailing spaces all differ).
 *
 * hash_record_extended over ROW(…) is several times faster than hashing the row's text, but it
 * follows each type's own equality, hashes enum labels by their id (which differs between
 * clusters) and fails for types without a hash function. So each column goes in one of three
 * forms: as it is, by its type's send function (exact bytes), or as text. The finaliser
 * hashint8extended breaks the linearity of the record hash, so that a sum cannot cancel out.
 */
import { escapeIdentifier } from 'pg';

/** A column's type with domains resolved. */
export interface HashedType {
  /** pg_type.typname. */
  readonly name: string;
  /** In pg_catalog, so that the name can be trusted. */
  readonly builtIn: boolean;
  /** Declared through a domain. */
  readonly domain: boolean;
}

/** Types whose equality is identity of storage: hashed natively. Value: the form's name. */
const NATIVE: ReadonlyMap<string, string> = new Map([
  ['int2', 'integer'],
  ['int4', 'integer'],
  ['int8', 'integer'],
  ['text', 'text'],
  ['varchar', 'text'],
  ...[
    ...['bool', 'oid', 'uuid', 'bytea', 'date', 'time', 'timetz', 'timestamp', 'timestamptz'],
    ...['inet', 'cidr', 'macaddr', 'macaddr8', 'xid8', 'pg_lsn', 'char'],
  ].map((name) => [name, name] as const),
]);

/** Types whose equality is coarser than storage, or which cannot be hashed, by their bytes. */
const SEND: ReadonlyMap<string, string> = new Map([
  ['numeric', 'numeric_send'],
  ['float4', 'float4send'],
  ['float8', 'float8send'],
  ['interval', 'interval_send'],
  ['json', 'json_send'],
  ['jsonb', 'jsonb_send'],
  ['bpchar', 'bpcharsend'],
  ['bit', 'bit_send'],
  ['varbit', 'varbit_send'],
  ['money', 'cash_send'],
  ['point', 'point_send'],
  ['lseg', 'lseg_send'],
  ['box', 'box_send'],
  ['path', 'path_send'],
  ['polygon', 'poly_send'],
  ['circle', 'circle_send'],
  ['line', 'line_send'],
  ['tsvector', 'tsvectorsend'],
  ['tsquery', 'tsquerysend'],
]);

/** Key types whose own order is the same everywhere and can use the key's index. */
const ORDERED: ReadonlySet<string> = new Set([
  ...['int2', 'int4', 'int8', 'oid', 'uuid', 'bytea', 'bool', 'numeric', 'float4', 'float8'],
  ...['date', 'time', 'timestamp', 'timestamptz', 'inet', 'macaddr', 'macaddr8', 'xid8', 'pg_lsn'],
]);

/** How one column enters the hash: SQL over `operand`, and a name to compare with the other side. */
export interface HashForm {
  readonly form: string;
  readonly sql: string;
}

export function hashForm(type: HashedType, operand: string): HashForm {
  const native = type.builtIn ? NATIVE.get(type.name) : undefined;
  const base = type.domain ? `${operand}::pg_catalog.${escapeIdentifier(type.name)}` : operand;
  // Collation "C": a nondeterministic collation would hash 'Word' and 'word' alike.
  if (native === 'text') return { form: native, sql: `${base} COLLATE "C"` };
  if (native !== undefined) return { form: native, sql: base };
  const send = type.builtIn ? SEND.get(type.name) : undefined;
  if (send !== undefined) return { form: type.name, sql: `pg_catalog.${send}(${base})` };
  return { form: 'as-text', sql: `${operand}::text COLLATE "C"` };
}

/** How a key column is ordered and compared with a bound. */
export interface KeyForm {
  readonly form: string;
  /** Expression over the column. */
  readonly sql: string;
  /** Type a bound given as text is cast to. */
  readonly boundType: string;
  /** The key's own index gives this order. */
  readonly indexed: boolean;
  /** What the key's index can find a value by; null if there is nothing. */
  readonly lookup: Pick<KeyForm, 'sql' | 'boundType'> | null;
}

/** Key types in an order of their own, whose equality is no finer than that of their text. */
const TEXTS: ReadonlyMap<string, string> = new Map([
  ['text', 'pg_catalog.text'],
  ['varchar', 'pg_catalog.text'],
  ['bpchar', 'pg_catalog.bpchar'],
]);

export function keyForm(type: HashedType, operand: string): KeyForm {
  if (type.builtIn && ORDERED.has(type.name)) {
    const name = `pg_catalog.${escapeIdentifier(type.name)}`;
    const sql = type.domain ? `${operand}::${name}` : operand;
    const form = NATIVE.get(type.name) ?? type.name;
    const bound = { sql, boundType: name };
    return { form: `key ${form}`, ...bound, indexed: true, lookup: bound };
  }
  // Both sides may have other collation versions, or other enum orders: bytes are bytes.
  const sql = `${exactTextSql(type, operand)} COLLATE "C"`;
  const boundType = type.builtIn ? TEXTS.get(type.name) : undefined;
  const lookup = boundType === undefined ? null : { sql: operand, boundType };
  return { form: 'key as-text', sql, boundType: 'pg_catalog.text', indexed: false, lookup };
}

/** The 64-bit checksum of a row made of these expressions. */
export function rowHashSql(expressions: readonly string[]): string {
  return `hashint8extended(hash_record_extended(ROW(${expressions.join(', ')}), 0), 1)`;
}

/**
 * A column as text that shows every difference the hash sees. A plain cast would
 * drop the trailing spaces of char(n).
 */
export function exactTextSql(type: HashedType, operand: string): string {
  if (type.builtIn && type.name === 'bpchar') {
    return `pg_catalog.textin(pg_catalog.bpcharout(${operand}))`;
  }
  return `${operand}::text`;
}

/**
 * Rows of known values, hashed by the same forms as tables are. Two servers that answer alike
 * hash alike (byte order, hash functions, encodings). The query also proves that the pairs whose
 * members must differ do.
 */
export function selfTestSql(): string {
  const builtIn = (name: string, literal: string): string =>
    hashForm({ name, builtIn: true, domain: false }, literal).sql;
  const other = (literal: string): string =>
    hashForm({ name: '', builtIn: false, domain: false }, literal).sql;
  const values = [
    builtIn('int8', `'-9223372036854775808'::int8`),
    builtIn('text', `'Zürich ✓ '::text`),
    builtIn('varchar', `''::varchar`),
    builtIn('numeric', `'12345678901234567890.1234500'::numeric`),
    builtIn('float8', `'1e-300'::float8`),
    builtIn('float4', `'0.1'::float4`),
    builtIn('timestamptz', `'2024-02-29 23:59:59.999999+00'::timestamptz`),
    builtIn('interval', `'1 mon 2 days 00:00:00.000001'::interval`),
    builtIn('uuid', `'c0ffee00-1234-4000-8000-000000000001'::uuid`),
    builtIn('bytea', `'\\x00ff'::bytea`),
    builtIn('jsonb', `'{"b": 1.00, "a": ["ü"]}'::jsonb`),
    builtIn('bpchar', `'ab'::char(4)`),
    builtIn('inet', `'2001:db8::1/64'::inet`),
    builtIn('bool', `NULL::bool`),
    other(`'{{1,NULL},{3,4}}'::int4[]`),
    other(`'[1,5)'::int4range`),
  ];
  const pairs: readonly (readonly [string, string])[] = [
    [builtIn('float8', `'-0'::float8`), builtIn('float8', `'0'::float8`)],
    [builtIn('numeric', `'1.0'::numeric`), builtIn('numeric', `'1.00'::numeric`)],
    [builtIn('text', `''::text`), builtIn('text', `NULL::text`)],
    [builtIn('text', `'a '::text`), builtIn('text', `'a'::text`)],
    [builtIn('interval', `'1 mon'::interval`), builtIn('interval', `'30 days'::interval`)],
    [other(`'[0:1]={1,2}'::int4[]`), other(`'{1,2}'::int4[]`)],
    [other(`'{{1,2},{3,4}}'::int4[]`), other(`'{1,2,3,4}'::int4[]`)],
  ];
  const differ = pairs.map(([a, b]) => `${rowHashSql([a])} <> ${rowHashSql([b])}`);
  const sums = pairs.flat().map((expression) => rowHashSql([expression]));
  const swapped = `${rowHashSql(['1', '2'])} <> ${rowHashSql(['2', '1'])}`;
  // Without the finaliser two rows that exchange a column keep their sum.
  const pairSum = (a: readonly string[], b: readonly string[]): string =>
    `${rowHashSql(a)}::numeric + ${rowHashSql(b)}`;
  const exchanged = `${pairSum(['1', '2'], ['3', '4'])} <> ${pairSum(['1', '4'], ['3', '2'])}`;
  return `SELECT concat_ws(' ', ${rowHashSql(values)}, ${sums.join(', ')}) AS digest,
    ${[...differ, swapped, exchanged].join(' AND ')} AS sound`;
}
