import type { BinlogKind } from '../../../decode/types/binlog.ts';
import type { ColumnType, TypeKind } from '../../../schema/table-schema.ts';
import { unescaped } from '../session/names.ts';

/** What information_schema.COLUMNS says of a column's type. */
export interface ColumnFacts {
  /** `int`, `varchar` … */
  readonly dataType: string;
  /** `int unsigned`, `varchar(20)`, `enum('a','b')` … */
  readonly columnType: string;
  readonly length: number | null;
  readonly precision: number | null;
  readonly scale: number | null;
  readonly fraction: number | null;
  /** Of texts. */
  readonly charset: string | null;
}

/** By data type. A kind that the decode room has no entry for does not compile. */
const KINDS: Readonly<Record<string, BinlogKind>> = {
  tinyint: 'int16',
  smallint: 'int16',
  mediumint: 'int32',
  int: 'int32',
  bigint: 'int64',
  decimal: 'numeric',
  float: 'float32',
  double: 'float64',
  bit: 'bits',
  char: 'char',
  varchar: 'text',
  tinytext: 'text',
  text: 'text',
  mediumtext: 'text',
  longtext: 'text',
  binary: 'bytes',
  varbinary: 'bytes',
  tinyblob: 'bytes',
  blob: 'bytes',
  mediumblob: 'bytes',
  longblob: 'bytes',
  date: 'date',
  time: 'time',
  datetime: 'timestamp',
  timestamp: 'timestamptz',
  year: 'year',
  enum: 'enum',
  set: 'set',
  json: 'json',
  uuid: 'uuid',
  vector: 'vector',
  geometry: 'geometry',
  point: 'geometry',
  linestring: 'geometry',
  polygon: 'geometry',
  multipoint: 'geometry',
  multilinestring: 'geometry',
  multipolygon: 'geometry',
  geometrycollection: 'geometry',
  geomcollection: 'geometry',
};

/** Kinds whose length counts: characters, or bytes, or bits. */
const SIZED = new Set<TypeKind>(['char', 'text', 'bytes']);

/** A column's type in the terms that all engines share. `sql` is without comments and hints. */
export function columnType(facts: ColumnFacts): ColumnType {
  const sql = bareType(facts.columnType);
  const kind = KINDS[facts.dataType.toLowerCase()] ?? 'other';
  const { length, precision, scale, fraction, charset } = facts;
  return {
    sql,
    kind,
    ...(SIZED.has(kind) && length !== null && { length }),
    ...(kind === 'bits' && precision !== null && { length: precision }),
    ...(kind === 'vector' && vectorLength(sql)),
    ...(kind === 'numeric' && precision !== null && { precision }),
    ...(kind === 'numeric' && scale !== null && { scale }),
    ...(fraction !== null && { precision: fraction }),
    ...(/\bunsigned\b/.test(sql) && { unsigned: true as const }),
    ...((kind === 'char' || kind === 'text') && isOwn(charset) && { charset }),
    ...((kind === 'enum' || kind === 'set') && { labels: parseLabels(sql) }),
  };
}

function isOwn(charset: string | null): charset is string {
  return charset !== null && !/^utf8/i.test(charset);
}

/** MariaDB hides attributes that other servers do not know, such as COMPRESSED, in comments. */
function bareType(columnTypeText: string): string {
  return columnTypeText.replace(/\s*\/\*.*?\*\//g, '');
}

function vectorLength(sql: string): { readonly length?: number } {
  const found = /^vector\((\d+)\)/.exec(sql)?.[1];
  return found === undefined ? {} : { length: Number(found) };
}

/** The labels of `enum('a','it''s')`. */
function parseLabels(sql: string): readonly string[] {
  return Array.from(sql.matchAll(/'((?:[^'\\]|''|\\.)*)'/gs), ([, label = '']) => unescaped(label));
}
