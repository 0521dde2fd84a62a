import { jsonType } from '../envelope/exact-number.ts';
import { unreadable } from '../problem.ts';

/** How the connector's binary.handling.mode writes bytes. */
export type BinaryMode = 'bytes' | 'base64' | 'base64-url-safe' | 'hex';

/** As Java writes them: padded in both alphabets, the bits behind the last byte zero. */
const BASE64 = /^[A-Za-z0-9+/]*(?:[AQgw]==|[AEIMQUYcgkosw048]=)?$/;
const BASE64_URL = /^[A-Za-z0-9_-]*(?:[AQgw]==|[AEIMQUYcgkosw048]=)?$/;
const HEX = /^[0-9a-fA-F]*$/;

/** Bytes from their text. Text that is not in the form is an error, never a shorter value. */
export function bytesFromText(text: string, mode: BinaryMode): Buffer {
  const form = mode === 'hex' ? HEX : mode === 'base64-url-safe' ? BASE64_URL : BASE64;
  const group = mode === 'hex' ? 2 : 4;
  if (text.length % group !== 0 || !form.test(text))
    throw unreadable(`expected ${mode === 'bytes' ? 'base64' : mode}`);
  if (mode === 'hex') return Buffer.from(text, 'hex');
  return Buffer.from(text, mode === 'base64-url-safe' ? 'base64url' : 'base64');
}

/** Bytes as Connect's BYTES arrive: themselves (Avro), or as standard base64 (JSON). */
export function sentBytes(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (typeof value === 'string') return bytesFromText(value, 'base64');
  throw unreadable(`expected bytes, found ${jsonType(value)}`);
}

/**
 * `io.debezium.data.Bits`: little-endian bytes whose high zero bytes may be cut. The
 * bits, most significant first, padded to the column's length.
 */
export function bitsText(bytes: Buffer, length: number): string {
  let bits = '';
  for (const byte of bytes) bits = byte.toString(2).padStart(8, '0') + bits;
  if (bits.length > length) {
    const excess = bits.slice(0, bits.length - length);
    if (excess.includes('1')) throw unreadable('more bits than the column has');
    return bits.slice(bits.length - length);
  }
  return bits.padStart(length, '0');
}
