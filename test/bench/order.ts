/**
 * `npm run bench:order`: what production's order between the partitions costs, where truncates
 * carry no transaction (src/order/source-order.ts).
 *
 * `bulk …`: 200,000 changes of one topic put together into batches with that order and without, in
 * milliseconds of processor time, nothing decoded and nothing written; read in chunks of 500 of one partition after the
 * other, one in a thousand is a truncate (none in `bulk rows`). `added …`: changes come one by one,
 * 500 a second, as they would from a log that answers in 2 ms; how long the slowest hundredth waits
 * for its place, in milliseconds. One partition of theirs brings nothing (`idle`).
 */
import type { RowChange, DecodedRecord } from '../../src/change/record.ts';
import {
  partitionKey,
  START,
  type OffsetMap,
  type SourcePosition,
} from '../../src/change/position.ts';
import { connectorNamed } from '../../src/decode/connectors/connectors.ts';
import { TransactionAssembler } from '../../src/order/assembler.ts';
import { BatchBuilder } from '../../src/order/batch-builder.ts';
import { sleep } from '../../src/util/wait.ts';
import { boundary, changeEvent, image, textTable } from '../support/change-events.ts';
import { benchMain, type BenchCase } from './frame.ts';

const TOPIC = 'p.shop.t';
const BULK = 200_000;
const CHUNK = 500;
const A_SECOND = 500;
const SECONDS = 4;
const ANSWER_MS = 2;
const SERVER = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const CATALOGUE = new Map([['public.t', textTable('t', ['id', 'v'])]]);
const { compare } = connectorNamed('mysql');

interface Load {
  readonly partitions: number;
  readonly truncateEvery: number;
  /** Changes of a transaction; 0 for a log without transactions. */
  readonly perTransaction: number;
}

/** The nth change of production. Its partition is as good as any: keys are spread by a hash. */
function change(n: number, load: Load, offset: number, partition: number): RowChange {
  const isTruncate = load.truncateEvery > 0 && n % load.truncateEvery === 0;
  const group = load.perTransaction > 0 && !isTruncate ? Math.floor(n / load.perTransaction) : n;
  const source: SourcePosition = {
    connector: 'mysql',
    file: 'binlog.000042',
    pos: BigInt(1000 + n),
    row: 0,
    gtid: `${SERVER}:${(isTruncate || load.perTransaction === 0 ? n : group * load.perTransaction) + 1}`,
  };
  const id = String(n);
  const event = changeEvent({
    op: isTruncate ? 'truncate' : 'create',
    topic: TOPIC,
    partition,
    offset,
    key: isTruncate ? null : image({ id }),
    after: isTruncate ? null : image({ id, v: 'x' }),
    tx: null,
  });
  if (load.perTransaction === 0 || isTruncate) return { ...event, source };
  const totalOrder = BigInt((n % load.perTransaction) + 1);
  return { ...event, source, transaction: { id: String(group), totalOrder } };
}

function partitionOf(n: number, partitions: number): number {
  return (Math.imul(n, 0x9e3779b1) >>> 8) % partitions;
}

/** The log in the order in which it is read: chunk by chunk, one partition after the other. */
function bulk(load: Load): {
  readonly chunks: readonly (readonly DecodedRecord[])[];
  ends: OffsetMap;
} {
  const lanes = Array.from({ length: load.partitions }, () => [] as DecodedRecord[]);
  const boundaries: DecodedRecord[] = [];
  let rows = 0;
  for (let n = 0; n < BULK; n += 1) {
    const partition = partitionOf(n, load.partitions);
    const lane = lanes[partition];
    const event = change(n, load, lane?.length ?? 0, partition);
    lane?.push(event);
    if (load.perTransaction === 0) continue;
    if (event.transaction !== null) rows += 1;
    if ((n + 1) % load.perTransaction !== 0) continue;
    const id = String(Math.floor(n / load.perTransaction));
    boundaries.push(boundary('begin', id, boundaries.length));
    boundaries.push(boundary('end', id, boundaries.length, { 'public.t': rows }));
    rows = 0;
  }
  const all = boundaries.length > 0 ? [...lanes, boundaries] : lanes;
  const chunks: DecodedRecord[][] = [];
  for (let from = 0; all.some(({ length }) => from < length); from += CHUNK) {
    for (const lane of all) if (from < lane.length) chunks.push(lane.slice(from, from + CHUNK));
  }
  const ends = lanes.map(({ length }, p) => [partitionKey(TOPIC, p), BigInt(length)] as const);
  return { chunks, ends: new Map(ends) };
}

function assemblerOf(load: Load, ends: (() => Promise<OffsetMap>) | null): TransactionAssembler {
  return new TransactionAssembler({
    mode: load.perTransaction > 0 ? 'transaction' : 'key',
    isSubscribed: () => true,
    ...(ends !== null && {
      sourceOrder: {
        isBefore: (a: SourcePosition, b: SourcePosition) => compare(a, b) === 'before',
        ends,
        from: new Map(),
        transactionsToo: load.perTransaction > 0,
      },
    }),
  });
}

async function assemble(load: Load, ordered: boolean): Promise<number> {
  const { chunks, ends } = bulk(load);
  const start = process.cpuUsage();
  const assembler = assemblerOf(load, ordered ? () => Promise.resolve(ends) : null);
  let taken = 0;
  const take = (): void => {
    // As the follower does: batches of what is ready.
    let builder: BatchBuilder | null = null;
    for (let next = assembler.take(); next !== undefined; next = assembler.take()) {
      builder ??= new BatchBuilder({ catalogue: CATALOGUE, position: START });
      builder.add(next);
      taken += next.changes.length;
    }
    builder?.build();
  };
  for (const chunk of chunks) {
    for (const record of chunk) assembler.push(record);
    take();
    await Promise.resolve();
  }
  for (let turn = 0; turn < 200 && taken < BULK; turn += 1) {
    await sleep(1);
    take();
  }
  if (taken !== BULK) throw new Error(`${taken} of ${BULK} changes came out`);
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

/** The wait of the slowest hundredth of changes that come one by one. */
async function slowest(load: Load): Promise<number> {
  const lengths = new Map<string, bigint>();
  for (let p = 0; p < load.partitions; p += 1) lengths.set(partitionKey(TOPIC, p), 0n);
  const assembler = assemblerOf(load, async () => {
    await sleep(ANSWER_MS / 2);
    const ends = new Map(lengths);
    await sleep(ANSWER_MS / 2);
    return ends;
  });
  const came = new Map<string, number>();
  const waits: number[] = [];
  const take = (): void => {
    for (let next = assembler.take(); next !== undefined; next = assembler.take()) {
      for (const { at } of next.changes) {
        const since = came.get(`${at.partition}/${at.offset}`) ?? 0;
        waits.push(performance.now() - since);
      }
    }
  };
  assembler.onNews(take);
  const begun = performance.now();
  for (let n = 0; n < A_SECOND * SECONDS; n += 1) {
    const dueMs = (n * 1000) / A_SECOND - (performance.now() - begun);
    if (dueMs > 0) await sleep(dueMs);
    // The last partition is idle.
    const partition = partitionOf(n, load.partitions - 1);
    const key = partitionKey(TOPIC, partition);
    const offset = lengths.get(key) ?? 0n;
    lengths.set(key, offset + 1n);
    came.set(`${partition}/${offset}`, performance.now());
    assembler.push(change(n, load, Number(offset), partition));
    take();
  }
  while (waits.length < A_SECOND * SECONDS) await sleep(5);
  waits.sort((a, b) => a - b);
  const at = (share: number): number => waits[Math.floor(waits.length * share)] ?? 0;
  console.error(`p50 ${at(0.5).toFixed(1)} ms, p99 ${at(0.99).toFixed(1)} ms`);
  return at(0.99);
}

function bulkCase(name: string, load: Load): BenchCase {
  return {
    ...{ name, against: 'no order between partitions', unit: 'ms', better: 'lower', goal: 1.3 },
    open: () =>
      Promise.resolve({
        ours: () => assemble(load, true),
        theirs: () => assemble(load, false),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  };
}

function addedCase(name: string, load: Load): BenchCase {
  return {
    ...{ name, against: 'limit 100 ms', unit: 'ms', better: 'lower', goal: 0.5 },
    open: () =>
      Promise.resolve({
        ours: () => slowest(load),
        theirs: 100,
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  };
}

const KEYS = { perTransaction: 0, truncateEvery: 1000 };

process.exitCode = await benchMain(
  {
    name: 'order',
    runs: 3,
    warmups: 1,
    cases: [
      bulkCase('bulk rows, 12 partitions', { partitions: 12, perTransaction: 0, truncateEvery: 0 }),
      bulkCase('bulk, 4 partitions', { ...KEYS, partitions: 4 }),
      bulkCase('bulk, 12 partitions', { ...KEYS, partitions: 12 }),
      bulkCase('bulk transactions, 12 partitions', {
        ...{ partitions: 12, perTransaction: 4, truncateEvery: 1000 },
      }),
      addedCase('added, 4 partitions', { ...KEYS, partitions: 4 }),
      addedCase('added, 12 partitions', { ...KEYS, partitions: 12 }),
    ],
  },
  process.argv.slice(2),
);
