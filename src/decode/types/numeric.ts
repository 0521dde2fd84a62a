/** Decimal numbers: Connect's Decimal and Debezium's VariableScaleDecimal, to plain text. */
import { unreadable } from '../problem.ts';

/**
 * The decimal text of a big-endian two's-complement integer, divided by 10^scale. The scale is
 * kept: `1.10` stays `1.10`.
 */
export function decimalFromBytes(bytes: Buffer, scale: number): string {
  if (bytes.length === 0) throw unreadable('a decimal without bytes');
  if (bytes.length <= 6) return scaled(String(bytes.readIntBE(0, bytes.length)), scale);
  const value = unscaledInteger(bytes);
  if (scale > MAX_SCALE && scale <= MASKED) {
    // Thousands of zeros behind the point: to divide them away is cheaper than to print them.
    const power = powerOfTen(scale);
    const whole = value / power;
    if (whole * power === value) return String(whole);
  }
  return scaled(String(value), scale);
}

function unscaledInteger(bytes: Buffer): bigint {
  if (bytes.length === 8) return bytes.readBigInt64BE(0);
  const value = BigInt(`0x${bytes.toString('hex')}`);
  // Long ones are copied for a sign only where they have one.
  return (bytes[0] ?? 0) < 0x80 ? value : BigInt.asIntN(bytes.length * 8, value);
}

/** Largest scale a column can declare; more means that a negative one was masked to 11 bits. */
const MAX_SCALE = 1000;
/** The largest number of 11 bits. */
const MASKED = 2047;
const POWERS = new Map<number, bigint>();

function powerOfTen(exponent: number): bigint {
  const known = POWERS.get(exponent);
  if (known !== undefined) return known;
  const power = 10n ** BigInt(exponent);
  POWERS.set(exponent, power);
  return power;
}

/** More digits before and behind the point than any engine's decimal has. */
const MOST_WHOLE = 131_072;
const MOST_FRACTION = 16_383;

/** Without it, a few bytes would make a text of any length. */
function checkScale(scale: number): void {
  if (scale < -MOST_WHOLE || scale > MOST_FRACTION) {
    throw unreadable('a decimal of more digits than a column can hold');
  }
}

function scaled(integer: string, scale: number): string {
  if (scale === 0) return integer;
  checkScale(scale);
  const negative = integer.startsWith('-');
  const digits = negative ? integer.slice(1) : integer;
  const sign = negative ? '-' : '';
  if (scale < 0) return digits === '0' ? '0' : sign + digits + '0'.repeat(-scale);
  const padded = digits.padStart(scale + 1, '0');
  const whole = padded.slice(0, -scale);
  const fraction = padded.slice(-scale);
  if (scale > MAX_SCALE && /^0*$/.test(fraction)) return sign + whole;
  return `${sign}${whole}.${fraction}`;
}

const DECIMAL = /^-?\d+(\.\d*)?([eE][+-]?\d+)?$/;

/** decimal.handling.mode=string: plain text, with words for what is not a number. */
export function decimalFromText(text: string): string {
  switch (text) {
    case 'NAN':
      return 'NaN';
    case 'POSITIVE_INFINITY':
      return 'Infinity';
    case 'NEGATIVE_INFINITY':
      return '-Infinity';
    default:
      if (!DECIMAL.test(text)) throw unreadable('expected a decimal number');
      checkScale(-Number(/[eE](.+)$/.exec(text)?.[1] ?? 0));
      // A negative scale was read as a huge one: thousands of zeros that mean nothing.
      return text.length > MAX_SCALE ? text.replace(/\.0*$/, '') : text;
  }
}

/** The same number without an exponent. */
export function plainDecimal(text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d*))?[eE]([+-]?\d+)$/.exec(text);
  if (match === null) return text;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  return scaled(`${sign}${BigInt(whole + fraction)}`, fraction.length - Number(exponent));
}

/** The same number with at least `scale` digits after its point, as a column of that scale has it. */
export function padScale(text: string, scale: number | undefined): string {
  if (scale === undefined || scale <= 0 || !/^-?\d/.test(text)) return text;
  const [whole = text, digits = ''] = text.split('.');
  return `${whole}.${digits.padEnd(scale, '0')}`;
}
