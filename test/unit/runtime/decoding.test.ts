/** Which records are set aside instead of stopping who follows, and what is asked for their sake. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { LogRecord } from '../../../src/change/record.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { openDecoding, type Decoding } from '../../../src/runtime/decoding.ts';
import { textTable } from '../../support/change-events.ts';

const CATALOGUE = new Map([['public.t', textTable('t', ['id', 'v'])]]);
const MAX = 2_000;

function open(setsAside: boolean, folder = '.', source: object = {}): Decoding {
  const kafka = { brokers: ['b:9092'] };
  const text = JSON.stringify({
    source: { topicPrefix: 'p', kafka, ...source },
    ...{ shadow: 'embedded', apply: { maxRecordBytes: MAX } },
  });
  const config = parseConfig(text, { file: path.join(folder, 'understudy.yaml'), env: {} });
  return openDecoding({
    ...{ config, catalogue: CATALOGUE, setsAside, logger: silentLogger },
    includes: () => true,
  });
}

function record(value: string | Buffer, key: string | Buffer | null = '{"id":"7"}'): LogRecord {
  return {
    ...{ topic: 'p.public.t', partition: 2, offset: 5n, timestampMs: 0, headers: [] },
    ...{ key: key === null ? null : Buffer.from(key), value: Buffer.from(value) },
  };
}

const change = (after: object): string =>
  JSON.stringify({
    ...{ op: 'c', before: null, after, transaction: null },
    source: { connector: 'postgresql', name: 'p', schema: 'public', table: 't', lsn: 1, txId: 5 },
  });

const LARGE = record(change({ id: '7', v: 'x'.repeat(MAX) }));
const DAMAGED = record('{"op":"c","after":{"id"');

test('a record that is larger than it may be is not parsed, and one that is not is', () => {
  expect(open(true).decode(LARGE)).toMatchObject({
    ...{ op: 'unread', key: { values: ['7'] } },
    cause: { code: 'RECORD_TOO_LARGE', message: expect.stringContaining('2000') as string },
  });
  // Not even looked at.
  const garbage = record('x'.repeat(MAX));
  expect(open(true).decode(garbage)).toMatchObject({ cause: { code: 'RECORD_TOO_LARGE' } });
  const fits = record(change({ id: '7', v: 'x' }));
  expect(open(true).decode(fits)).toMatchObject({ op: 'create' });
});

test('a damaged record is set aside by its key', () => {
  expect(open(true).decode(DAMAGED)).toMatchObject({
    ...{ op: 'unread', table: { schema: 'public', name: 't' }, at: { partition: 2, offset: 5n } },
    cause: { code: 'RECORD_CORRUPT' },
  });
});

test.for([
  ['of a large record', LARGE, 'RECORD_TOO_LARGE'],
  ['of a damaged record', DAMAGED, 'RECORD_CORRUPT'],
] as const)('where nothing is set aside, the error %s is thrown', ([, given, code]) => {
  expect(() => open(false).decode(given)).toThrow(expect.objectContaining({ code }));
});

test('without a key the error says that it could not be set aside', () => {
  expect(() => open(true).decode({ ...DAMAGED, key: null })).toThrow(
    expect.objectContaining({
      code: 'RECORD_CORRUPT',
      context: expect.objectContaining({
        ...{ topic: 'p.public.t', partition: 2, offset: 5n },
        detail: expect.stringContaining('set aside') as string,
      }) as object,
    }),
  );
});

test.for([
  ['a column that is not known', change({ id: '7', v: 'x', more: 'y' }), 'COLUMN_UNKNOWN'],
  ['a record of somebody else', '{"hello":"world"}', 'RECORD_UNKNOWN'],
] as const)('%s stops: the next record will be no better', ([, value, code]) => {
  expect(() => open(true).decode(record(value))).toThrow(expect.objectContaining({ code }));
});

test('of a record in Avro that is not to be parsed only the key’s schema is fetched', async () => {
  const asked: string[] = [];
  const schema = JSON.stringify({
    ...{ type: 'record', name: 'Key', namespace: 'p.public.t' },
    fields: [{ name: 'id', type: 'string' }],
  });
  const server = createServer(({ url = '' }, response) => {
    asked.push(url);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ schema }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const folder = await mkdtemp(path.join(tmpdir(), 'understudy-decoding-'));
  onTestFinished(async () => {
    server.close();
    await rm(folder, { recursive: true });
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const framed = (id: number, body: Buffer): Buffer =>
    Buffer.concat([Buffer.from([0, 0, 0, 0, id]), body]);
  const key = (id: number): Buffer => framed(id, Buffer.from([2, 0x37]));
  const decoding = open(true, folder, { schemaRegistry: { url } });
  const options = { signal: new AbortController().signal, onState: () => undefined };

  const large = record(framed(9, Buffer.alloc(MAX)), key(3));
  await decoding.prepare?.(large, options);
  expect(decoding.decode(large)).toMatchObject({ op: 'unread', key: { values: ['7'] } });
  // Its frame is cut off, which shows before any schema can be asked for.
  const cut = record(Buffer.from([0, 0]), key(4));
  await decoding.prepare?.(cut, options);
  expect(decoding.decode(cut)).toMatchObject({ cause: { code: 'RECORD_CORRUPT' } });
  expect(asked.map((one) => /\/ids\/(\d+)/.exec(one)?.[1])).toEqual(['3', '4']);
});
