/**
 * A partition that is far behind the others, and whose truncate or transactions they wait for: it is read
 * on alone, and nothing goes before its turn, or in parts, for lack of memory.
 */
import { expect, it } from 'vitest';
import { Follower } from '../../../src/apply/follower.ts';
import { partitionKey, START, type OffsetMap } from '../../../src/change/position.ts';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../../../src/change/record.ts';
import { connectorNamed } from '../../../src/decode/connectors/connectors.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { TransactionAssembler, type AssemblerOptions } from '../../../src/order/assembler.ts';
import { imageText } from '../../../src/order/key-text.ts';
import type { SourceOrderOptions } from '../../../src/order/source-order.ts';
import { BatchBuilder } from '../../../src/order/batch-builder.ts';
import type { ChangeStream, LogChunk, StreamOptions } from '../../../src/source/change-source.ts';
import { ByteBudget } from '../../../src/source/byte-budget.ts';
import { boundary, changeEvent, image, textTable } from '../../support/change-events.ts';
import { MemoryShadow } from '../../support/memory-log.ts';

const TABLE = 'p.public.t';
const CATALOGUE = new Map([['public.t', textTable('t', ['id', 'v'])]]);
const { compare } = connectorNamed('postgresql');
/** As recordBytes counts it. */
const RECORD_BYTES = 1000;
const BUDGET = 20 * RECORD_BYTES;

/** One record at a time from each partition in turn, as far as there is room. */
class TurnLog {
  readonly #partitions: readonly (readonly DecodedRecord[])[];
  readonly #heeds: boolean;

  constructor(partitions: readonly (readonly DecodedRecord[])[], { heeds = true } = {}) {
    this.#partitions = partitions;
    this.#heeds = heeds;
  }

  decode({ partition, offset }: LogRecord): DecodedRecord {
    const decoded = this.#partitions[partition]?.[Number(offset)];
    if (decoded === undefined) throw new Error('no such record');
    return decoded.kind === 'change' ? { ...decoded, bytes: RECORD_BYTES } : decoded;
  }

  ends(): Promise<OffsetMap> {
    const ends = this.#partitions.map((all, i) => [partitionKey(TABLE, i), BigInt(all.length)]);
    return Promise.resolve(new Map(ends as [string, bigint][]));
  }

  open(_from: OffsetMap, { budgetBytes, signal }: StreamOptions): Promise<ChangeStream> {
    const budget = new ByteBudget(budgetBytes);
    let paused: ReadonlySet<string> = new Set();
    return Promise.resolve({
      chunks: this.#play(budget, () => paused, signal),
      released: (bytes) => {
        budget.release(bytes);
      },
      pause: (partitions) => {
        paused = partitions;
      },
      commit: () => Promise.resolve(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }

  async *#play(
    budget: ByteBudget,
    paused: () => ReadonlySet<string>,
    signal: AbortSignal,
  ): AsyncGenerator<LogChunk> {
    const read = this.#partitions.map(() => 0);
    for (let turn = 0; !signal.aborted; turn += 1) {
      await budget.whenFree(signal);
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#partitions.every((all, i) => read[i] === all.length)) return;
      const partition = turn % this.#partitions.length;
      const all = this.#partitions[partition] ?? [];
      const offset = read[partition] ?? 0;
      if (this.#heeds && paused().has(partitionKey(TABLE, partition))) continue;
      if (offset === all.length) continue;
      read[partition] = offset + 1;
      budget.take(RECORD_BYTES);
      const record = {
        ...{ topic: TABLE, partition, offset: BigInt(offset), timestampMs: 0, key: null },
        ...{ headers: [], value: Buffer.alloc(RECORD_BYTES - 128) },
      };
      yield {
        ...{ topic: TABLE, partition, records: [record] },
        ...{ next: BigInt(offset + 1), end: BigInt(all.length) },
      };
    }
  }
}

/** Rows a0 … of before the truncate in one partition, with it; rows b0 … of after it in the other. */
function behind(before: number, after: number): readonly (readonly ChangeEvent[])[] {
  const row = (id: string, lsn: number, partition: number, offset: number): ChangeEvent =>
    changeEvent({
      ...{ op: 'create', topic: TABLE, partition, offset, lsn: BigInt(lsn) },
      ...{ key: image({ id }), after: image({ id, v: 'x' }) },
    });
  return [
    [
      ...Array.from({ length: before }, (_, i) => row(`a${i}`, i + 1, 0, i)),
      changeEvent({
        ...{ op: 'truncate', topic: TABLE, partition: 0, offset: before, key: null },
        lsn: BigInt(before + 1),
      }),
    ],
    Array.from({ length: after }, (_, i) => row(`b${i}`, before + 2 + i, 1, i)),
  ];
}

const orderOf = (log: TurnLog): SourceOrderOptions => ({
  isBefore: (a, b) => compare(a, b) === 'before',
  ...{ ends: () => log.ends(), from: new Map(), transactionsToo: false },
});

async function follow(
  log: TurnLog,
  how: Partial<AssemblerOptions> = { mode: 'key', sourceOrder: orderOf(log) },
): Promise<{ rows: ReadonlySet<string>; degraded: number; inParts: number }> {
  const shadow = new MemoryShadow();
  let inParts = 0;
  const follower = new Follower(
    {
      ...{ database: shadow, fence: { generation: 1n, holder: 'test' } },
      source: {
        ...{ description: 'turns', endless: true, ends: () => log.ends() },
        starts: () => Promise.resolve(new Map<string, bigint>()),
        open: (from, options) => log.open(from, options),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      },
      decode: (record) => log.decode(record),
      mask: (event) => event,
      assembler: new TransactionAssembler({
        mode: 'transaction',
        isSubscribed: () => true,
        ...how,
      }),
      builder: (position) => new BatchBuilder({ catalogue: CATALOGUE, position }),
      limits: { batchEvents: 5, batchBytes: 1e9, budgetBytes: BUDGET, giveUpAfterMs: 60_000 },
      logger: {
        ...silentLogger,
        info: (message) => {
          if (message.includes('too large to be held')) inParts += 1;
        },
      },
    },
    START,
  );
  await follower.run();
  const rows = new Set<string>();
  for (const act of shadow.acts) {
    for (const step of act.kind === 'base' ? [] : act.batch.steps) {
      if (step.kind === 'truncate') rows.clear();
      if (step.kind === 'rows') for (const { key } of step.changes) rows.add(String(key[0]));
    }
  }
  return { rows, degraded: follower.totals.degraded, inParts };
}

it('is waited for as long as it is read on, and the stall limit after that', async () => {
  let now = 0;
  const [slow = [], fast = []] = behind(10, 1);
  const log = new TurnLog([slow, fast]);
  const assembler = new TransactionAssembler({
    ...{ mode: 'key', isSubscribed: () => true, stallLimitMs: 60_000, now: () => now },
    sourceOrder: orderOf(log),
  });
  const went = (): readonly (string | null)[] => {
    const changes: (string | null)[] = [];
    for (let all = assembler.take(); all !== undefined; all = assembler.take()) {
      for (const { key } of all.changes) changes.push(key === null ? null : imageText(key));
    }
    return changes;
  };
  // One that is not asked for long was held up itself: that is no stall.
  const pass = (ms: number): readonly (string | null)[] => {
    const changes: (string | null)[] = [];
    for (const end = now + ms; now < end; now += 4_000) changes.push(...went());
    return changes;
  };
  for (const event of fast) assembler.push(event);
  expect(went()).toEqual([]);
  await new Promise((resolve) => setImmediate(resolve));
  for (const event of slow.slice(0, 4)) {
    assembler.push(event);
    expect(pass(52_000)).toEqual([imageText(event.key ?? image({}))]);
  }
  expect([...assembler.ahead('of all')]).toEqual([partitionKey(TABLE, 1)]);
  expect(pass(16_000)).toEqual([imageText(fast[0]?.key ?? image({}))]);
});

const AFTER = 500;
const afterIds = new Set(Array.from({ length: AFTER }, (_, i) => `b${i}`));

it('is read on alone while the others wait for its truncate', async () => {
  expect(await follow(new TurnLog(behind(2000, AFTER)))).toMatchObject({
    ...{ rows: afterIds, degraded: 0 },
  });
});

it('would else let rows go before it when memory is full: they are emptied with the table', async () => {
  const { rows, degraded } = await follow(new TurnLog(behind(2000, AFTER), { heeds: false }));
  expect(degraded).toBeGreaterThan(0);
  expect(rows.size).toBeLessThan(AFTER);
});

/**
 * Transactions of three rows in one partition, those from `wide` on with one more in another; `deliveries`
 * are what the connector sent, [from, to), and what of it did not get to the other partition.
 */
function transactions(
  wide: number,
  ...deliveries: readonly (readonly [from: number, to: number, lostFrom?: number])[]
): readonly (readonly DecodedRecord[])[] {
  const [first, second, boundaries]: [ChangeEvent[], ChangeEvent[], DecodedRecord[]] = [[], [], []];
  const mark = (record: ReturnType<typeof boundary>): void => {
    const at = { topic: TABLE, partition: 2, offset: BigInt(boundaries.length) };
    boundaries.push({ ...record, at });
  };
  for (const [from, to, lostFrom = to] of deliveries) {
    for (let n = from; n < to; n += 1) {
      const tx = String(n);
      // More rows than boundaries: the slowest is the partition that all wait for.
      const both = [first, first, first, ...(n < wide ? [] : [second])];
      mark(boundary('begin', tx, 0));
      for (const [i, lane] of both.entries()) {
        if (lane === second && n >= lostFrom) continue;
        const [partition, offset, id] = [lane === first ? 0 : 1, lane.length, `${tx}-${String(i)}`];
        const row = { key: image({ id }), after: image({ id, v: 'x' }) };
        lane.push(
          changeEvent({
            ...{ op: 'create', topic: TABLE, partition, offset, lsn: BigInt(n * 10 + i), ...row },
            tx: { id: tx, totalOrder: i + 1 },
          }),
        );
      }
      mark(boundary('end', tx, 0, { 'public.t': both.length }));
    }
  }
  return [first, second, boundaries];
}

it('is read on alone while the others wait for its transactions, and none goes in parts', async () => {
  const { rows, ...how } = await follow(new TurnLog(transactions(500, [0, 700])), {});
  expect(rows.size).toBe(2300);
  expect(how).toEqual({ degraded: 0, inParts: 0 });
});

it('would else hold what is ahead, until that is given up for lack of memory', async () => {
  const log = new TurnLog(transactions(500, [0, 700]), { heeds: false });
  expect((await follow(log, {})).degraded).toBeGreaterThan(0);
});

it('is read on where what is in turn comes only with what a killed connector sent again', async () => {
  const log = new TurnLog(transactions(0, [0, 300, 290], [100, 700]));
  const { rows, inParts } = await follow(log, { stallLimitMs: 30_000 });
  expect(rows.size).toBe(2800);
  expect(inParts).toBe(0);
  // Not only when it was paused in vain for long.
}, 10_000);
