import { describe, expect, it } from 'vitest';
import type { LogRecord } from '../../../src/change/record.ts';
import { OriginReader } from '../../../src/decode/origin.ts';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';
import { diagnoseSample, readOrigins, takeSample } from '../../../src/doctor/sample.ts';
import { capturedRecords, capturedRegistry } from '../../support/debezium-records.ts';
import { MemoryLog } from '../../support/memory-log.ts';

const reader = new OriginReader('postgresql', null);
const EXPECTED = {
  ...{ topicPrefix: 'p', connector: 'postgresql', database: 'shop', registry: false },
  compare: reader.compare.bind(reader),
};
type Source = Readonly<Record<string, unknown>>;

function record(source: Source = {}, context: Readonly<Record<string, string>> = {}): LogRecord {
  const usual = {
    name: 'p',
    connector: 'postgresql',
    db: 'shop',
    schema: 'public',
    table: 't',
    snapshot: 'false',
  };
  return {
    ...{ topic: 'p.public.t', partition: 0, offset: 0n, timestampMs: 0, key: null },
    headers: Object.entries(context).map(([name, value]) => [
      `__debezium.context.${name}`,
      Buffer.from(value),
    ]),
    value: Buffer.from(JSON.stringify({ op: 'c', source: { ...usual, ...source } })),
  };
}

async function found(first: LogRecord, last: LogRecord = record(), expected = EXPECTED) {
  const at = (one: LogRecord) => new Map([['p.public.t/0', one]]);
  const sample = { first: at(first), last: at(last), unread: [] };
  const { origins } = await readOrigins(sample, reader, () => null);
  return diagnoseSample(sample, origins, expected).map(({ id, level }) => `${level} ${id}`);
}

const FOREIGN = ['error log.foreign-records'];

describe('the ends of a topic', () => {
  it('may be a snapshot and changes behind it', async () => {
    expect(await found(record({ snapshot: 'first' }))).toEqual([]);
    expect(await found(record(), record({ snapshot: 'incremental' }))).toEqual([]);
  });

  it.each([
    [record({ name: 'other' })],
    [record({ connector: 'mysql' })],
    [record({ db: 'older' })],
    [record({}, { connectorLogicalName: 'other' })],
    [record({}, { connectorName: 'mysql' })],
  ])('show records that are not the connector’s', async (foreign) => {
    expect(await found(foreign)).toEqual(FOREIGN);
    expect(await found(record(), foreign)).toEqual(FOREIGN);
  });

  it('say nothing of databases where a connector reads several', async () => {
    expect(
      await found(record({ db: 'b' }), record(), { ...EXPECTED, database: null as never }),
    ).toEqual([]);
  });

  it('show a second run that took its snapshot again', async () => {
    expect(await found(record(), record({ snapshot: 'last' }))).toEqual([
      'warning log.snapshot-after-changes',
    ]);
  });

  it('show a log that went back', async () => {
    const at = (commit: number) =>
      record({ lsn: commit + 8, sequence: `["${commit}","${commit + 8}"]` });
    expect(await found(at(200), at(100))).toEqual(['error log.history-restarted']);
    expect(await found(at(100), at(200))).toEqual([]);
  });

  it('show a log that went back behind a snapshot, and none of what it began in', async () => {
    const snapshot = record({ snapshot: 'first', lsn: 900, ts_ms: 50 });
    const at = (commit: number, time: number) =>
      record({ lsn: commit + 8, sequence: `["${commit}","${commit + 8}"]`, ts_ms: time });
    expect(await found(snapshot, at(100, 60))).toEqual(['error log.history-restarted']);
    expect(await found(snapshot, at(880, 40))).toEqual([]);
    expect(await found(snapshot, at(1000, 60))).toEqual([]);
    // The first after it, behind a commit that the snapshot saw.
    const next = record({ lsn: 950, sequence: '["880","950"]', ts_ms: 60 });
    expect(await found(snapshot, next)).toEqual([]);
  });

  it('show two snapshots without changes between', async () => {
    const snapshot = (lsn: number) => record({ snapshot: 'true', lsn });
    expect(await found(snapshot(900), snapshot(900))).toEqual([]);
    for (const other of [100, 2000]) {
      expect(await found(snapshot(900), snapshot(other))).toEqual([
        'warning log.snapshot-after-changes',
      ]);
    }
  });

  it('say nothing of a connector that starts anew and has seen no commit yet', async () => {
    const first = record({ lsn: 108, sequence: '["100","108"]' });
    expect(await found(first, record({ lsn: 900, sequence: '[null,"900"]' }))).toEqual([]);
  });

  it('name a foreign record whose source block cannot be read whole', async () => {
    expect(await found(record({ name: 'other', sequence: 'odd' }))).toEqual(FOREIGN);
  });

  it('show an encoding that nothing is configured for', async () => {
    const avro = { ...record(), value: Buffer.from([0, 0, 0, 0, 1]) };
    expect(await found(avro)).toEqual(['error log.encoding']);
    expect(await found(avro, avro, { ...EXPECTED, registry: true })).toEqual([]);
  });
});

describe('the reading of the ends', () => {
  it('tells of what did not come in time', async () => {
    // Both ends are read, and the log gives its chunk once.
    const log = new MemoryLog();
    log.append('p.public.t', 0, 'corrupt');
    const sample = await takeSample(log, await log.starts(), await log.ends(), 50);
    expect([sample.first.size, sample.last.size, sample.unread]).toEqual([1, 0, ['p.public.t/0']]);
    const found = diagnoseSample(sample, new Map(), EXPECTED);
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

/** A log whose record at that offset is a tombstone. */
class BuriedLog extends MemoryLog {
  readonly #tombstone: bigint;

  constructor(tombstone: bigint) {
    super();
    this.#tombstone = tombstone;
  }

  override async open(...of: Parameters<MemoryLog['open']>): ReturnType<MemoryLog['open']> {
    const stream = await super.open(...of);
    const bury = (one: LogRecord): LogRecord =>
      one.offset === this.#tombstone ? { ...one, value: null } : one;
    const chunks = async function* (): typeof stream.chunks {
      for await (const chunk of stream.chunks) {
        yield { ...chunk, records: chunk.records.map(bury) };
      }
    };
    return {
      ...stream,
      chunks: chunks(),
      [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
    };
  }
}

it('looks behind a tombstone for the last record that says something', async () => {
  const log = new BuriedLog(2n);
  log.append('p.public.t', 0, 'corrupt');
  log.append('p.public.t', 0, 'corrupt', 'corrupt');
  const sample = await takeSample(log, await log.starts(), await log.ends(), 10_000);
  expect(sample.last.get('p.public.t/0')?.offset).toBe(1n);
  expect(sample.unread).toEqual([]);
});

describe('a registry that lacks a schema', () => {
  it.each([
    ['SCHEMA_UNKNOWN', 2],
    ['REGISTRY_UNREACHABLE', 1],
  ] as const)('is told of as %s beside what the other records say', async (code, asked) => {
    const sample = {
      first: new Map([['p.public.t/0', record()]]),
      last: new Map([['p.public.t/0', record({ db: 'older' })]]),
      unread: [],
    };
    let times = 0;
    const prepare = (): Promise<void> => {
      times += 1;
      return Promise.reject(new UnderstudyError(code, 'not to be had'));
    };
    const { origins, failure } = await readOrigins(sample, reader, prepare);
    expect([failure?.code, times]).toEqual([code, asked]);
    const foreign = record({}, { connectorLogicalName: 'other' });
    const told = { ...sample, last: new Map([['p.public.t/0', foreign]]) };
    expect(diagnoseSample(told, origins, EXPECTED).map(({ id }) => id)).toEqual([
      'log.foreign-records',
    ]);
  });
});

describe.each([
  ['pg.behaviour', 'postgresql'],
  ['mysql.behaviour', 'mysql'],
  ['mariadb.behaviour', 'mariadb'],
] as const)('the records of %s', (capture, connector) => {
  it.each(['json', 'avro'] as const)('tell a log that went back, in %s', async (encoding) => {
    const name = encoding === 'json' ? `${capture}.default` : capture;
    const registry = encoding === 'json' ? null : capturedRegistry();
    const origins = new OriginReader(connector, registry);
    const changes = [...capturedRecords(name, encoding)].filter(
      (one) => origins.read(one)?.own?.snapshot === 'no',
    );
    const byPartition = Map.groupBy(changes, (one) => `${one.topic}/${one.partition}`);
    const same = [...byPartition.values()].toSorted((a, b) => b.length - a.length)[0] ?? [];
    const [first, last] = [same[0], same.at(-1)];
    const topic = first?.topic ?? '';
    expect(same.length).toBeGreaterThan(1);
    if (first === undefined || last === undefined) throw new Error('there are records');
    const expected = {
      ...{ topicPrefix: topic.split('.')[0] ?? '', connector, database: null, registry: true },
      compare: origins.compare.bind(origins),
    };
    const told = async (a: LogRecord, b: LogRecord): Promise<readonly string[]> => {
      const at = (one: LogRecord) => new Map([[`${topic}/0`, one]]);
      const sample = { first: at(a), last: at(b), unread: [] };
      const { origins: read } = await readOrigins(sample, origins, () => null);
      return diagnoseSample(sample, read, expected).map(({ id }) => id);
    };
    expect(await told(first, last)).toEqual([]);
    expect(await told(last, first)).toEqual(['log.history-restarted']);
    const other = { ...expected, topicPrefix: 'else' };
    const sample = {
      first: new Map(),
      last: new Map([[`${topic}/0`, { ...last, headers: [] }]]),
      unread: [],
    };
    const { origins: read } = await readOrigins(sample, origins, () => null);
    expect(diagnoseSample(sample, read, other).map(({ id }) => id)).toEqual([
      'log.foreign-records',
    ]);
  });
});
