import { createHash } from 'node:crypto';
import type { KnownValue } from '../change/value.ts';

/** A text that is equal for equal keys only. */
export function keyText(key: readonly KnownValue[]): string {
  const [only] = key;
  if (key.length === 1 && typeof only === 'string') return only;
  return key.map(part).join('');
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
