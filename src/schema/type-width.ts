/** Which of two column types holds every value of the other, in the same words. */
import { unreachable } from '../util/assert.ts';
import type { ColumnType, TypeKind } from './table-schema.ts';

/** The same type for a column: as the engine writes it. */
export function sameType(a: ColumnType, b: ColumnType): boolean {
  return a.sql === b.sql;
}

/** Whole numbers by their bytes. */
const INTEGERS: Partial<Record<TypeKind, number>> = { int16: 2, int32: 4, int64: 8 };
/** Digits that a whole number of so many bytes may have. */
const DIGITS: Readonly<Record<number, number>> = { 2: 5, 4: 10, 8: 20 };

/**
 * Does every value of `from` fit into `to`, so that the same text means the same value? Not from
 * float32 to float64, whose texts of one value differ, nor where blanks or a time zone begin to
 * count. A domain is as wide as itself only: it may check what it likes.
 */
export function isWiderType(from: ColumnType, to: ColumnType): boolean {
  if (from.domainOf !== undefined || to.domainOf !== undefined) return false;
  if (from.charset !== to.charset) return false;
  const bytes = INTEGERS[from.kind];
  if (bytes !== undefined) return isWiderInteger(bytes, from, to);
  if (from.kind !== to.kind) return false;
  switch (from.kind) {
    case 'numeric':
      return isWiderNumeric(from, to);
    case 'text':
      return isWiderText(from, to);
    case 'bits':
      return isVarying(from) && isVarying(to) && isLonger(from.length, to.length);
    case 'bytes':
      // `binary(n)` fills up with zeros.
      return (
        !/^binary/i.test(from.sql) && !/^binary/i.test(to.sql) && isLonger(from.length, to.length)
      );
    case 'time':
    case 'timetz':
    case 'timestamp':
    case 'timestamptz':
      return isLonger(from.precision, to.precision);
    case 'array':
      return (
        from.element !== undefined &&
        to.element !== undefined &&
        (sameType(from.element, to.element) || isWiderType(from.element, to.element))
      );
    case 'boolean':
    case 'char':
    case 'composite':
    case 'date':
    case 'enum':
    case 'float32':
    case 'float64':
    case 'geometry':
    case 'hstore':
    case 'int16':
    case 'int32':
    case 'int64':
    case 'interval':
    case 'json':
    case 'jsonb':
    case 'money':
    case 'other':
    case 'point':
    case 'range':
    case 'set':
    case 'uuid':
    case 'vector':
    case 'xml':
    case 'year':
      return false;
    default:
      return unreachable(from.kind);
  }
}

function isWiderInteger(bytes: number, from: ColumnType, to: ColumnType): boolean {
  const more = INTEGERS[to.kind];
  if (more !== undefined) {
    if (from.unsigned === to.unsigned) return more > bytes || isWiderMedium(from, to);
    return from.unsigned === true && more > bytes;
  }
  if (to.kind !== 'numeric' || (to.unsigned === true && from.unsigned !== true)) return false;
  return to.precision === undefined || to.precision - (to.scale ?? 0) >= (DIGITS[bytes] ?? 0);
}

/** Types of three bytes and one byte are of the kind of the next larger one. */
function isWiderMedium(from: ColumnType, to: ColumnType): boolean {
  const narrow = (type: ColumnType): boolean => /^(tiny|medium)int/i.test(type.sql);
  return from.kind === to.kind && narrow(from) && !narrow(to);
}

/** Not only as many digits on both sides: values are filled up with zeros to the scale. */
function isWiderNumeric(from: ColumnType, to: ColumnType): boolean {
  if (to.unsigned === true && from.unsigned !== true) return false;
  if (to.precision === undefined) return true;
  if (from.precision === undefined) return false;
  const [before, after] = [from.scale ?? 0, to.scale ?? 0];
  return after >= before && to.precision - after >= from.precision - before;
}

/** Text types of one engine that no value tells apart; others (names without case) compare anew. */
const PLAIN_TEXT = /^(character varying|varchar|text|tinytext|mediumtext|longtext)\b/i;
const TEXT_BYTES = ['tinytext', 'text', 'mediumtext', 'longtext'];

function isWiderText(from: ColumnType, to: ColumnType): boolean {
  if (!PLAIN_TEXT.test(from.sql) || !PLAIN_TEXT.test(to.sql)) return false;
  const [before, after] = [from, to].map(({ sql }) => TEXT_BYTES.indexOf(sql.toLowerCase()));
  if (before !== undefined && before >= 0) return after !== undefined && after > before;
  // A text of the smallest kind has 255 bytes, which need not be as many characters.
  return to.sql.toLowerCase() !== 'tinytext' && isLonger(from.length, to.length);
}

function isVarying({ sql }: ColumnType): boolean {
  return /^bit varying/i.test(sql);
}

/** Undefined: without limit. */
function isLonger(from: number | undefined, to: number | undefined): boolean {
  return to === undefined || (from !== undefined && to >= from);
}
