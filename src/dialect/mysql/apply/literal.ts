/**
 * Values as SQL literals, for sessions with NO_BACKSLASH_ESCAPES and a utf8mb4 connection. What
 * the server would round or cut with no more than a note is refused here.
 */
import type { KnownValue } from '../../../change/value.ts';
import type { ColumnType } from '../../../schema/table-schema.ts';
import { unreachable } from '../../../util/assert.ts';
import { literal } from '../session/names.ts';

/** A value that the column's type cannot hold exactly. Says why; holds no value. */
export class Misfit extends Error {
  constructor(why: string) {
    super(why);
    this.name = 'Misfit';
  }
}

/** What a literal cannot say: the value of an enum that stands for no label (index 0). */
export const NO_LABEL: unique symbol = Symbol('no label');

/** How a session takes texts, and moments in UTC that are written without their zone. */
interface Texts {
  text(text: string): string;
  instant(text: string): string;
}

const OURS: Texts = { text: literal, instant: literal };

/** The literal, or NO_LABEL; as `texts` has it, for sessions that are not ours. Throws Misfit. */
export function renderLiteral(
  value: KnownValue,
  type: ColumnType,
  texts = OURS,
): string | typeof NO_LABEL {
  if (value === null) return 'NULL';
  if (value instanceof Uint8Array) return bytesLiteral(value);
  if (typeof value === 'boolean') return booleanLiteral(value, type);
  if (typeof value !== 'string') throw new Misfit('no type of this engine is an array');
  switch (type.kind) {
    case 'bits':
      return bitsLiteral(value);
    case 'numeric':
      assertFraction(value, type.scale ?? 0);
      return texts.text(value);
    case 'float32':
      return floatLiteral(value);
    case 'time':
    case 'timestamp':
      assertFraction(value, type.precision ?? 0);
      return texts.text(value);
    case 'timestamptz':
      return texts.instant(bareInstant(value, type));
    case 'enum':
      return value === '' && type.labels?.includes('') !== true ? NO_LABEL : texts.text(value);
    case 'bytes':
    case 'geometry':
    case 'vector':
      return hexLiteral(value);
    case 'boolean':
    case 'int16':
    case 'int32':
    case 'int64':
    case 'float64':
    case 'money':
    case 'text':
    case 'char':
    case 'date':
    case 'timetz':
    case 'interval':
    case 'uuid':
    case 'json':
    case 'jsonb':
    case 'xml':
    case 'set':
    case 'year':
    case 'composite':
    case 'range':
    case 'hstore':
    case 'point':
    case 'array':
    case 'other':
      return texts.text(value);
    default:
      return unreachable(type.kind);
  }
}

/** A value as people read it; the engine's input text. Null stays null. */
export function renderText(value: KnownValue): string | null {
  if (value === null || typeof value === 'string') return value;
  if (typeof value === 'boolean') return value ? '1' : '0';
  if (value instanceof Uint8Array) return `0x${hex(value)}`;
  return JSON.stringify(value.map((item) => renderText(item)));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** Bytes as `renderText` writes them. */
function hexLiteral(text: string): string {
  const digits = /^0x((?:[0-9a-f]{2})*)$/.exec(text)?.[1];
  if (digits === undefined) throw new Misfit('the value is no string of bytes');
  return `X'${digits}'`;
}

function bytesLiteral(bytes: Uint8Array): string {
  return `X'${hex(bytes)}'`;
}

function booleanLiteral(value: boolean, type: ColumnType): string {
  const digit = value ? '1' : '0';
  return type.kind === 'bits' ? `b'${digit}'` : `'${digit}'`;
}

function bitsLiteral(text: string): string {
  if (!/^[01]+$/.test(text)) throw new Misfit('the value is no string of bits');
  return `b'${text}'`;
}

/**
 * The server reads a text as a double and then rounds to a float, and finds the shortest text of
 * the greatest float too great; so the float's own exact value is written.
 */
function floatLiteral(text: string): string {
  const value = Math.fround(Number(text));
  if (!Number.isFinite(value)) throw new Misfit('the value is no finite float');
  return Object.is(value, -0) ? `'-0'` : `'${String(value)}'`;
}

/** In UTC, without saying so: not all of the servers' literals can. */
function bareInstant(text: string, type: ColumnType): string {
  if (!text.endsWith('+00')) throw new Misfit('the value is not in UTC');
  const bare = text.slice(0, -3);
  assertFraction(bare, type.precision ?? 0);
  return bare;
}

/** The server rounds surplus digits without an error. */
function assertFraction(text: string, digits: number): void {
  const fraction = /\.(\d*)$/.exec(text)?.[1]?.replace(/0+$/, '') ?? '';
  if (fraction.length > digits)
    throw new Misfit(`the value has more than ${digits} fraction digits`);
}
