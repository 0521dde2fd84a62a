import { createHash } from 'node:crypto';
import type { ChangeEvent } from '../change/record.ts';
import type { RowImage } from '../change/value.ts';

/** A text that two deliveries of one change share, and hardly any other change has: a digest of all it says. */
export function fingerprint({ op, key, before, after }: ChangeEvent): string {
  const said = [op, ...[key, before, after].map(contentOf)];
  return createHash('sha256').update(JSON.stringify(said, asText)).digest('base64url').slice(0, 22);
}

function contentOf(image: RowImage | null): unknown {
  return image === null ? null : [image.shape.columns, image.values];
}

function asText(_key: string, value: unknown): unknown {
  if (typeof value === 'symbol') return { absent: String(value.description) };
  if (typeof value === 'bigint') return String(value);
  return value instanceof Uint8Array ? { bytes: Buffer.from(value).toString('base64') } : value;
}
