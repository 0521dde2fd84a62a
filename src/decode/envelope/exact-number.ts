/**
 * Numbers of JSON text without loss. JSON.parse is fast but rounds integers beyond 2^53 and
 * forgets how a decimal was written. So records are parsed natively first; whoever needs a number
 * that did not survive throws NeedExact, and the record is parsed once more with every such
 * number kept as text.
 */
import { Problem, unreadable } from '../problem.ts';

/** A number that a JavaScript number cannot show as it was written. */
export class ExactNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Thrown (not an error of the record): parse again with parseExact. */
export class NeedExact extends Error {
  override readonly name = 'NeedExact';
}
const NEED_EXACT = new NeedExact();

/** True while the values come from parseExact. Passed along with the values. */
export type Exactness = 'native' | 'exact';

/** Only so can JSON write the character that marks; texts of most databases cannot have it. */
const WRITTEN_NUL = String.raw`\u0000`;

/** JSON.parse in which a number stays a number only if it prints as it was written. */
export function parseExact(text: string): unknown {
  if (text.includes(WRITTEN_NUL)) return JSON.parse(text, keepText);
  const marked = markNumbers(text);
  const json: unknown = JSON.parse(marked);
  return marked === text ? json : unmarked(json);
}

/** The slow way, which calls back for every value. */
function keepText(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number') return value;
  const source = context?.source;
  return source === undefined || survives(source) ? value : new ExactNumber(source);
}

function survives(source: string): boolean {
  const value = Number(source);
  // An integer beyond 2^53 may print as it was written by chance; it is kept as text all the same.
  return (Number.isSafeInteger(value) || !Number.isInteger(value)) && String(value) === source;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
/** Every integer of as many digits is exact. */
const SAFE_DIGITS = 15;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/**
 * The JSON text with every number that does not survive as a string that begins with NUL. What is
 * no number of JSON is left as it is, for the parser to refuse.
 */
function markNumbers(text: string): string {
  let marked = '';
  let copied = 0;
  let i = 0;
  while (i < text.length) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      i = stringEnd(text, i);
      continue;
    }
    const start = i;
    i += 1;
    if (!startsNumber(code)) continue;
    while (isDigit(text.charCodeAt(i))) i += 1;
    // The usual case: a short integer. Zeros before it are not JSON, and `-0` does not survive.
    const plain = !continuesNumber(text.charCodeAt(i)) && i - start <= SAFE_DIGITS;
    if (plain && code > ZERO) continue;
    NUMBER.lastIndex = start;
    const source = NUMBER.exec(text)?.[0] ?? '';
    if (source === '') continue;
    i = start + source.length;
    if (continuesNumber(text.charCodeAt(i)) || survives(source)) continue;
    marked += `${text.slice(copied, start)}"${WRITTEN_NUL}${source}"`;
    copied = i;
  }
  return copied === 0 ? text : marked + text.slice(copied);
}

/** Behind the string that starts at `start`. */
function stringEnd(text: string, start: number): number {
  let end = start;
  for (;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) return text.length;
    let escapes = end;
    while (text.charCodeAt(escapes - 1) === BACKSLASH) escapes -= 1;
    if ((end - escapes) % 2 === 0) return end + 1;
  }
}

function isDigit(code: number): boolean {
  return code >= ZERO && code <= 0x39;
}

function startsNumber(code: number): boolean {
  return isDigit(code) || code === 0x2d;
}

/** A character that may stand in a number: beside one that was read, it is another or none. */
function continuesNumber(code: number): boolean {
  return isDigit(code) || code === 0x2e || code === 0x2b || code === 0x2d || (code | 0x20) === 0x65;
}

/** Changes objects and arrays in place. */
function unmarked(json: unknown): unknown {
  if (typeof json === 'string') {
    return json.charCodeAt(0) === 0 ? new ExactNumber(json.slice(1)) : json;
  }
  if (typeof json !== 'object' || json === null) return json;
  if (Array.isArray(json)) {
    const items = json as unknown[];
    for (let i = 0; i < items.length; i += 1) {
      const item = items[i];
      if (typeof item === 'string' || typeof item === 'object') items[i] = unmarked(item);
    }
    return items;
  }
  const object = json as Record<string, unknown>;
  for (const name of Object.keys(object)) {
    // A number where a name belongs.
    if (name.charCodeAt(0) === 0) throw new SyntaxError('the text is not JSON');
    const item = object[name];
    if (typeof item === 'string') {
      if (item.charCodeAt(0) === 0) object[name] = new ExactNumber(item.slice(1));
    } else if (typeof item === 'object') unmarked(item);
  }
  return object;
}

/** An integer's digits, exactly. Throws NeedExact where the native parse may have rounded it. */
export function integerText(value: unknown): string {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return String(value);
    throw NEED_EXACT;
  }
  if (typeof value === 'bigint') return String(value);
  if (value instanceof ExactNumber) {
    // As the native parse has it, so that it does not matter which of the two a record came by.
    const number = Number(value.text);
    if (Number.isSafeInteger(number)) return String(number);
    if (/^-?\d+$/.test(value.text)) return value.text;
    throw unreadable('expected an integer');
  }
  throw unreadable(`expected an integer, found ${jsonType(value)}`);
}

/** An integer as a bigint, exactly. */
export function integer(value: unknown): bigint {
  return Number.isSafeInteger(value) ? BigInt(value as number) : BigInt(integerText(value));
}

/** A bigint, or null for null and for a field that is not there. */
export function optionalInteger(value: unknown): bigint | null {
  return value === null || value === undefined ? null : integer(value);
}

/** A decimal number's text as it was written. Needs values of parseExact. */
export function decimalText(value: number | ExactNumber, exactness: Exactness): string {
  if (exactness === 'native') {
    throw NEED_EXACT;
  }
  return value instanceof ExactNumber ? value.text : String(value);
}

/** A floating point value: the shortest text that reads back as the same value. */
export function floatText(value: unknown): string {
  if (value instanceof ExactNumber) return floatText(Number(value.text));
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return value;
  throw unreadable(`expected a floating point number, found ${jsonType(value)}`);
}

/** The same of a 32-bit value: its shortest text is another than that of the same 64-bit value. */
export function float32Text(value: unknown): string {
  const number = value instanceof ExactNumber ? Number(value.text) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) return floatText(number);
  const single = Math.fround(number);
  if (single === 0) return floatText(single);
  for (let digits = 1; digits < MAX_FLOAT32_DIGITS; digits += 1) {
    const short = Number(single.toPrecision(digits));
    if (Math.fround(short) === single) return floatText(short);
  }
  return floatText(Number(single.toPrecision(MAX_FLOAT32_DIGITS)));
}

/** Decimal digits that tell every 32-bit value from all others. */
const MAX_FLOAT32_DIGITS = 9;

/** For messages: what kind of JSON value it is, never the value. */
export function jsonType(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (value instanceof ExactNumber) return 'a number';
  if (value instanceof Uint8Array) return 'bytes';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** The value as an object of JSON, or a problem that says what was expected. */
export function asObject(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (isObject(value)) return value;
  throw new Problem('RECORD_CORRUPT', `${what} is ${jsonType(value)}, not an object`);
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  // What JSON.parse makes, which nearly all of them are; other classes are looked at one by one.
  if (Object.getPrototypeOf(value) === Object.prototype) return true;
  return !Array.isArray(value) && !(value instanceof ExactNumber) && !(value instanceof Uint8Array);
}
