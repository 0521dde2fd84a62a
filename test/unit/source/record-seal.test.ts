import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { LogRecord } from '../../../src/change/record.ts';
import { dataKey } from '../../../src/config/data-key.ts';
import { RecordSeal, withoutKey } from '../../../src/source/record-seal.ts';

const at = { topic: 'shop.public.orders', partition: 2, offset: 77n };
const record: LogRecord = {
  ...at,
  timestampMs: 1_700_000_000_123,
  key: Buffer.from('{"id":7}'),
  value: Buffer.from('{"after":{"id":7,"name":"Ann"}}'),
  headers: [['trace', Buffer.from([0, 255])]],
};
const seal = new RecordSeal(Buffer.alloc(32, 1));
const refused = expect.objectContaining({ code: 'SEAL_REFUSED' }) as Error;

test('gives back what it sealed, to the last byte', () => {
  expect(seal.open(at, seal.seal(record))).toEqual(record);
  const bare: LogRecord = { ...at, timestampMs: 0, key: null, value: null, headers: [] };
  expect(seal.open(at, seal.seal(bare))).toEqual(bare);
});

test('shows nothing of what it sealed, and never the same twice', () => {
  const [one, other] = [seal.seal(record).bytes, seal.seal(record).bytes];
  expect(one.includes('Ann')).toBe(false);
  expect(one.equals(other)).toBe(false);
});

test('opens nothing with another key, and says which key it was', () => {
  const other = new RecordSeal(Buffer.alloc(32, 2));
  const sealed = seal.seal(record);
  expect(() => other.open(at, sealed)).toThrow(refused);
  expect(() => other.open(at, sealed)).toThrow(
    expect.objectContaining({
      context: expect.objectContaining({
        detail: expect.stringContaining(seal.keyId) as string,
      }) as object,
    }) as Error,
  );
  // Not even if the id is forged.
  expect(() => other.open(at, { ...sealed, keyId: other.keyId })).toThrow(refused);
  expect(withoutKey(at, sealed).code).toBe('SEAL_REFUSED');
});

test('opens nothing at another place, and nothing that was changed or cut', () => {
  const { keyId, bytes } = seal.seal(record);
  expect(() => seal.open({ ...at, offset: 78n }, { keyId, bytes })).toThrow(refused);
  expect(() => seal.open({ ...at, topic: 'x' }, { keyId, bytes })).toThrow(refused);
  for (let i = 0; i < bytes.length; i += 1) {
    const changed = Buffer.from(bytes);
    changed[i] = (changed[i] ?? 0) ^ 1;
    expect(() => seal.open(at, { keyId, bytes: changed })).toThrow(refused);
  }
  for (const end of [0, 5, 27, bytes.length - 1]) {
    expect(() => seal.open(at, { keyId, bytes: bytes.subarray(0, end) })).toThrow(refused);
  }
});

test('takes a key of 32 bytes in hexadecimal or base64, and nothing else', () => {
  const key = randomBytes(32);
  expect(dataKey(key.toString('hex'))).toEqual(key);
  expect(dataKey(key.toString('base64'))).toEqual(key);
  for (const text of [
    '',
    'secret',
    key.toString('hex').slice(2),
    randomBytes(31).toString('base64'),
  ]) {
    expect(dataKey(text)).toBeNull();
  }
});
