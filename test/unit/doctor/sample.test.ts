import { describe, expect, it } from 'vitest';
import type { LogRecord } from '../../../src/change/record.ts';
import { diagnoseSample, takeSample } from '../../../src/doctor/sample.ts';
import { MemoryLog } from '../../support/memory-log.ts';

const EXPECTED = { topicPrefix: 'p', connector: 'postgresql', database: 'shop', registry: false };
type Source = Readonly<Record<string, unknown>>;

function record(source: Source = {}, context: Readonly<Record<string, string>> = {}): LogRecord {
  const usual = { name: 'p', connector: 'postgresql', db: 'shop', snapshot: 'false' };
  return {
    ...{ topic: 'p.public.t', partition: 0, offset: 0n, timestampMs: 0, key: null },
    headers: Object.entries(context).map(([name, value]) => [
      `__debezium.context.${name}`,
      Buffer.from(value),
    ]),
    value: Buffer.from(JSON.stringify({ payload: { op: 'c', source: { ...usual, ...source } } })),
  };
}

function found(first: LogRecord, last: LogRecord = record(), expected = EXPECTED) {
  const at = (one: LogRecord) => new Map([['p.public.t/0', one]]);
  return diagnoseSample({ first: at(first), last: at(last), unread: [] }, expected).map(
    ({ id, level }) => `${level} ${id}`,
  );
}

const FOREIGN = ['error log.foreign-records'];

describe('the ends of a topic', () => {
  it('may be a snapshot and changes behind it', () => {
    expect(found(record({ snapshot: 'first' }))).toEqual([]);
    expect(found(record(), record({ snapshot: 'incremental' }))).toEqual([]);
  });

  it.each([
    [record({ name: 'other' })],
    [record({ connector: 'mysql' })],
    [record({ db: 'older' })],
    [record({}, { connectorLogicalName: 'other' })],
    [record({}, { connectorName: 'mysql' })],
  ])('show records that are not the connector’s', (foreign) => {
    expect(found(foreign)).toEqual(FOREIGN);
    expect(found(record(), foreign)).toEqual(FOREIGN);
  });

  it('say nothing of databases where a connector reads several', () => {
    expect(found(record({ db: 'b' }), record(), { ...EXPECTED, database: null as never })).toEqual(
      [],
    );
  });

  it('show a second run that took its snapshot again', () => {
    expect(found(record(), record({ snapshot: 'last' }))).toEqual([
      'warning log.snapshot-after-changes',
    ]);
  });

  it('show a log that went back', () => {
    const at = (commit: number) => record({ sequence: `["${commit}","${commit + 8}"]` });
    expect(found(at(200), at(100))).toEqual(['error log.history-restarted']);
    expect(found(at(100), at(200))).toEqual([]);
  });

  it('show an encoding that nothing is configured for', () => {
    const avro = { ...record(), value: Buffer.from([0, 0, 0, 0, 1]) };
    expect(found(avro)).toEqual(['error log.encoding']);
    expect(found(avro, avro, { ...EXPECTED, registry: true })).toEqual([]);
  });
});

describe('the reading of the ends', () => {
  it('tells of what did not come in time', async () => {
    // Both ends are read, and the log gives its chunk once.
    const log = new MemoryLog();
    log.append('p.public.t', 0, 'corrupt');
    const sample = await takeSample(log, await log.starts(), await log.ends(), 50);
    expect([sample.first.size, sample.last.size, sample.unread]).toEqual([1, 0, ['p.public.t/0']]);
    const found = diagnoseSample(sample, EXPECTED);
    expect(found.map(({ id, level }) => `${level} ${id}`)).toEqual([
      'warning log.sample-incomplete',
    ]);
    expect(found[0]?.message).toContain('1 partitions');
  });

  it('has nothing to tell of where all came', async () => {
    const log = new MemoryLog();
    for (let end = 0; end < 2; end += 1) log.append('p.public.t', 0, 'corrupt');
    const sample = await takeSample(log, await log.starts(), await log.ends(), 10_000);
    expect(sample.unread).toEqual([]);
  });
});
