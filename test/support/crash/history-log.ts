import { parsePartitionKey, type OffsetMap } from '../../../src/change/position.ts';
import type { DecodedRecord, LogRecord } from '../../../src/change/record.ts';
import { partitionKey } from '../../../src/change/position.ts';
import type {
  ChangeSource,
  ChangeStream,
  LogChunk,
  StreamOptions,
} from '../../../src/source/change-source.ts';
import { sleep } from '../../../src/util/wait.ts';
import type { Random } from '../random.ts';
import type { History } from './history.ts';

/** A history as a log that ends: in small chunks, the partitions in a random order. */
export class HistoryLog implements ChangeSource {
  readonly description = 'history';
  readonly endless = false;
  readonly #history: History;
  readonly #random: Random;

  constructor(history: History, random: Random) {
    this.#history = history;
    this.#random = random;
  }

  decode(record: LogRecord): DecodedRecord {
    const lane = this.#history.partitions.get(partitionKey(record.topic, record.partition));
    const entry = lane?.[Number(record.offset)];
    if (entry === undefined) throw new RangeError('there is no such record');
    return entry.record;
  }

  ends(): Promise<OffsetMap> {
    return Promise.resolve(this.#history.ends());
  }

  starts(): Promise<OffsetMap> {
    return Promise.resolve(new Map([...this.#history.partitions.keys()].map((key) => [key, 0n])));
  }

  open(from: OffsetMap, options: StreamOptions): Promise<ChangeStream> {
    return Promise.resolve({
      chunks: this.#read(from, options.signal),
      pause: () => undefined,
      released: () => undefined,
      commit: () => Promise.resolve(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }

  async *#read(from: OffsetMap, signal: AbortSignal): AsyncIterable<LogChunk> {
    const random = this.#random;
    const at = new Map(
      [...this.#history.partitions.keys()].map((key) => [key, from.get(key) ?? 0n]),
    );
    while (!signal.aborted) {
      const open = [...this.#history.ends()].filter(([key, end]) => (at.get(key) ?? 0n) < end);
      if (open.length === 0) return;
      const [key, end] = random.pick(open);
      const start = at.get(key) ?? 0n;
      const wanted = start + BigInt(random.integer(1, 8));
      const next = wanted < end ? wanted : end;
      at.set(key, next);
      yield { ...parsePartitionKey(key), records: recordsOf(key, start, next), next, end };
      // So that batches are made of whatever has come meanwhile.
      if (random.chance(0.3)) await sleep(random.integer(0, 3));
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function recordsOf(key: string, start: bigint, next: bigint): readonly LogRecord[] {
  return Array.from({ length: Number(next - start) }, (_, i) => ({
    ...parsePartitionKey(key),
    offset: start + BigInt(i),
    ...{ timestampMs: 0, key: null, value: null, headers: [] },
  }));
}
