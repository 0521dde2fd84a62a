import { createHash } from 'node:crypto';
import type { KnownValue, RowImage } from '../change/value.ts';

/** A text that is equal for equal keys only. */
export function keyText(key: readonly KnownValue[]): string {
  const [only] = key;
  if (key.length === 1 && typeof only === 'string') return only;
  return key.map(part).join('');
}

/** A text that is equal for equal images only, of tables of one shape. What is not known is one value. */
export function imageText(image: RowImage | null): string {
  if (image === null) return '';
  return keyText(image.values.map((value): KnownValue => (typeof value === 'symbol' ? [] : value)));
}

function part(value: KnownValue): string {
  if (value === null) return 'n;';
  if (typeof value === 'boolean') return value ? 't;' : 'f;';
  if (typeof value === 'string') return `s${value.length}:${value};`;
  if (value instanceof Uint8Array) return `b${Buffer.from(value).toString('hex')};`;
  return `[${value.map(part).join('')}];`;
}

/** A short name of a key: equal for equal keys only. */
export function keyId(key: readonly KnownValue[]): string {
  return createHash('sha256').update(keyText(key)).digest('hex');
}
