import { createHash } from 'node:crypto';
import type { ChangeEvent } from '../change/record.ts';
import type { RowImage } from '../change/value.ts';

/** It is asked as a change comes, and again as it goes. */
const known = new WeakMap<ChangeEvent, string>();

/** A text that two deliveries of one change share, and hardly any other change has: a digest of all it says. */
export function fingerprint(event: ChangeEvent): string {
  const found = known.get(event);
  if (found !== undefined) return found;
  const { op, key, before, after } = event;
  const said = JSON.stringify([op, ...[key, before, after].map(contentOf)], asText);
  const print = createHash('sha256').update(said).digest('base64url').slice(0, 22);
  known.set(event, print);
  return print;
}

function contentOf(image: RowImage | null): unknown {
  return image === null ? null : [image.shape.columns, image.values];
}

function asText(_key: string, value: unknown): unknown {
  if (typeof value === 'symbol') return { absent: String(value.description) };
  if (typeof value === 'bigint') return String(value);
  return value instanceof Uint8Array ? { bytes: Buffer.from(value).toString('base64') } : value;
}
