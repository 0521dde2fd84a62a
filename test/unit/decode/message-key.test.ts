import { expect, test } from 'vitest';
import type { LogRecord } from '../../../src/change/record.ts';
import { RecordOpener } from '../../../src/decode/envelope/opener.ts';
import { MessageKeys } from '../../../src/decode/message-key.ts';

const record = (key: string | null, topic = 'p.s.t'): LogRecord => ({
  ...{ topic, partition: 0, offset: 0n, timestampMs: 0, headers: [], value: null },
  key: key === null ? null : Buffer.from(key),
});

const withSchema = (...names: readonly string[]): string => {
  const fields = names.map((field) => ({ type: 'int32', optional: false, field }));
  const payload = Object.fromEntries(names.map((name) => [name, 1]));
  return JSON.stringify({ schema: { type: 'struct', fields, optional: false }, payload });
};

test.each([
  ['with schemas', withSchema],
  ['without', (...names: readonly string[]) => `{${names.map((name) => `"${name}":1`).join(',')}}`],
])('the fields of keys %s are those of each record', (_, key) => {
  const keys = new MessageKeys(new RecordOpener(null));
  const sent = [['id'], ['id'], ['id', 'batch'], ['id', 'batch'], ['id'], ['idx'], ['id']];
  const seen = sent.map((names) => keys.fields(record(key(...names))));
  expect(seen).toEqual(sent);
  // The same list for the same fields.
  expect(seen[1]).toBe(seen[0]);
  expect(seen[3]).toBe(seen[2]);
  expect(seen[6]).toBe(seen[0]);
});

test('texts with commas and numbers that JSON rounds mislead nobody', () => {
  const keys = new MessageKeys(new RecordOpener(null));
  const of = (key: string): readonly string[] | null => keys.fields(record(key));
  expect(of('{"id":"a"}')).toEqual(['id']);
  expect(of('{"id":"a,b"}')).toEqual(['id']);
  expect(of('{"id":"a","more":1}')).toEqual(['id', 'more']);
  expect(of('{"id":9007199254740993}')).toEqual(['id']);
});

test('a record without a key, or with one that is damaged, has none', () => {
  const keys = new MessageKeys(new RecordOpener(null));
  expect(keys.fields(record(null))).toBeNull();
  expect(keys.fields(record('{"id":'))).toBeNull();
});
