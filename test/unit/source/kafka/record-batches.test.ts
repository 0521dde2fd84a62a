import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { isUnderstudyError } from '../../../../src/errors/understudy-error.ts';
import { readBatches } from '../../../../src/source/kafka/record-batches.ts';
import { Tail } from '../../../../src/source/kafka/tail.ts';

const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
const GZIP = 1;

interface TestBatch {
  readonly firstOffset: bigint;
  /** Value per offset delta; null for one that compaction took away. */
  readonly values: readonly (string | null)[];
  readonly attributes?: number;
  readonly producerId?: bigint;
  readonly epoch?: number;
  readonly magic?: number;
  readonly body?: Buffer;
}

/** A record whose lengths and deltas all fit in one byte. */
function recordBytes(
  delta: number,
  key: Buffer,
  value: Buffer,
  headers: readonly (readonly [string, string])[] = [],
): Buffer {
  const sized = (text: string): Buffer => Buffer.from([text.length * 2, ...Buffer.from(text)]);
  const rest = Buffer.concat([
    Buffer.from([0, 0, delta * 2, key.length * 2]),
    key,
    Buffer.from([value.length * 2]),
    value,
    Buffer.from([headers.length * 2]),
    ...headers.flat().map(sized),
  ]);
  return Buffer.concat([Buffer.from([rest.length * 2]), rest]);
}

function batchBytes(batch: TestBatch): Buffer {
  const control = ((batch.attributes ?? 0) & CONTROL) !== 0;
  const records = batch.values.flatMap((value, delta) => {
    if (value === null) return [];
    const key = control ? Buffer.from([0, 0, 0, value === 'commit' ? 1 : 0]) : Buffer.from('k');
    return [recordBytes(delta, key, Buffer.from(value))];
  });
  const body = batch.body ?? Buffer.concat(records);
  const header = Buffer.alloc(61);
  header.writeBigInt64BE(batch.firstOffset, 0);
  header.writeInt32BE(49 + body.length, 8);
  header.writeInt32BE(batch.epoch ?? 0, 12);
  header.writeInt8(batch.magic ?? 2, 16);
  header.writeInt16BE(batch.attributes ?? 0, 21);
  header.writeInt32BE(batch.values.length - 1, 23);
  header.writeBigInt64BE(1_700_000_000_000n, 27);
  header.writeBigInt64BE(1_700_000_000_000n, 35);
  header.writeBigInt64BE(batch.producerId ?? -1n, 43);
  header.writeInt32BE(batch.body === undefined ? records.length : batch.values.length, 57);
  return Buffer.concat([header, body]);
}

function read(
  batches: readonly TestBatch[],
  from = 0n,
  aborted: readonly { producerId: bigint; firstOffset: bigint }[] = [],
) {
  return readBatches('t', 0, from, Buffer.concat(batches.map(batchBytes)), aborted);
}

async function failure(act: Promise<unknown>): Promise<unknown> {
  return act.then(
    () => 'no error',
    (error: unknown) => (isUnderstudyError(error) ? { code: error.code, ...error.context } : error),
  );
}

describe('record batches', () => {
  it('end after their last offset, also where compaction took the last records or all', async () => {
    const kept = await read([{ firstOffset: 10n, values: ['a', null, 'c', null, null] }], 10n);
    expect(kept.records.map(({ offset }) => offset)).toEqual([10n, 12n]);
    expect(kept.next).toBe(15n);
    const emptied = await read([{ firstOffset: 10n, values: [null, null, null] }], 11n);
    expect(emptied).toEqual({ records: [], next: 13n, epochs: [0, 0] });
  });

  it('give each record its own headers, also where neighbours have equal ones or none', async () => {
    const headers = [
      [['a', '1']],
      [['a', '1']],
      [['a', '2']],
      [],
      [],
      [['b', '2']],
      [
        ['b', '2'],
        ['c', ''],
      ],
    ] as const;
    const records = headers.map((own, i) =>
      recordBytes(i, Buffer.from('k'), Buffer.from('v'), own),
    );
    const values = headers.map(() => 'v');
    const found = await read([{ firstOffset: 0n, values, body: Buffer.concat(records) }]);
    const texts = found.records.map((record) =>
      record.headers.map(([name, value]) => [name, value.toString()]),
    );
    expect(texts).toEqual(headers);
  });

  it('are read only as far as they came whole', async () => {
    const whole = batchBytes({ firstOffset: 0n, values: ['a', 'b'] });
    const cut = batchBytes({ firstOffset: 2n, values: ['c'] });
    for (let length = 0; length < cut.length; length += 1) {
      const bytes = Buffer.concat([whole, cut.subarray(0, length)]);
      expect((await readBatches('t', 0, 0n, bytes, [])).next).toBe(2n);
    }
  });

  it('of an aborted transaction are left out up to its marker, by producer', async () => {
    const data = (firstOffset: bigint, producerId: bigint, value: string): TestBatch => ({
      firstOffset,
      producerId,
      values: [value],
      attributes: TRANSACTIONAL,
    });
    const marker = (firstOffset: bigint, producerId: bigint, what: string): TestBatch => ({
      ...data(firstOffset, producerId, what),
      attributes: TRANSACTIONAL | CONTROL,
    });
    const log = [
      data(0n, 1n, 'aborted'),
      data(1n, 2n, 'aborted'),
      data(2n, 3n, 'kept'),
      marker(3n, 2n, 'abort'),
      data(4n, 1n, 'aborted'),
      data(5n, 2n, 'kept'),
      marker(6n, 1n, 'abort'),
      marker(7n, 2n, 'commit'),
      data(8n, 1n, 'kept'),
      { firstOffset: 9n, values: ['kept'] },
    ];
    // The broker lists them by their ends: producer 2 ended first, and began later.
    const aborted = [
      { producerId: 2n, firstOffset: 1n, lastOffset: 3 },
      { producerId: 1n, firstOffset: 0n, lastOffset: 6 },
    ];
    for (let from = 0; from < log.length; from += 1) {
      const listed = aborted.filter(({ lastOffset }) => lastOffset >= from);
      const { records, next } = await read(log.slice(from), BigInt(from), listed);
      expect(records.map(({ offset }) => Number(offset))).toEqual(
        [2, 5, 8, 9].filter((offset) => offset >= from),
      );
      expect(next).toBe(10n);
    }
  });

  it('that cannot be read are RECORD_CORRUPT with their place', async () => {
    const place = { code: 'RECORD_CORRUPT', topic: 't', partition: 0, offset: 7n };
    const bad: Partial<TestBatch>[] = [
      { magic: 1 },
      { attributes: GZIP, body: Buffer.from('not gzip') },
      { attributes: 6, body: Buffer.from('no such codec') },
      { attributes: 2, body: Buffer.from('not snappy either') },
      { attributes: 3, body: Buffer.from('nor lz4') },
      { attributes: 4, body: Buffer.from('nor zstd') },
      { attributes: GZIP, body: gzipSync(Buffer.from([200, 1, 0])) },
      { body: Buffer.from([2, 0]) },
      { body: Buffer.alloc(0) },
    ];
    for (const change of bad) {
      const act = read([{ firstOffset: 7n, values: ['a'], ...change }], 7n);
      expect(await failure(act), JSON.stringify(change)).toMatchObject(place);
    }
  });

  it('with a leader epoch from before are those of another log', async () => {
    const tail = new Tail('t', 0, 0n);
    const answer = (batch: TestBatch) => ({
      topic: 't',
      partition: 0,
      errorCode: 0,
      highWatermark: 100n,
      lastStableOffset: 100n,
      aborted: [],
      records: batchBytes(batch),
    });
    const chunk = await tail.read(answer({ firstOffset: 0n, values: ['a'], epoch: 4 }));
    expect(chunk?.next).toBe(1n);
    if (chunk !== null) tail.pass(chunk);
    const again = tail.read(answer({ firstOffset: 1n, values: ['b'], epoch: 0 }));
    expect(await failure(again)).toMatchObject({ code: 'LOG_GAP', topic: 't', offset: 1n });
  });
});
