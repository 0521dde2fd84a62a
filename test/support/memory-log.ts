/**
 * The ports around the follower, in memory: an event log and a shadow that keep what they were
 * given. For tests of the follower's own order of acts, where no server is involved.
 */
import { partitionKey, type LogOffset, type OffsetMap } from '../../src/change/position.ts';
import type { DecodedRecord, LogRecord } from '../../src/change/record.ts';
import { START } from '../../src/change/position.ts';
import type { ApplyOutcome, Fence, ShadowDatabase, BaseReader } from '../../src/dialect/dialect.ts';
import { UnderstudyError } from '../../src/errors/understudy-error.ts';
import type { ChangeBatch } from '../../src/order/change-batch.ts';
import type {
  ChangeSource,
  ChangeStream,
  LogChunk,
  StreamOptions,
} from '../../src/source/change-source.ts';

/** What stands at an offset: a record as it decodes, or one that cannot be decoded. */
export type Entry = ((at: LogOffset) => DecodedRecord) | 'corrupt';

export class MemoryLog implements ChangeSource {
  readonly description = 'memory';
  readonly endless = true;
  /** Every number of bytes handed back, in order. */
  readonly released: number[] = [];
  readonly commits: OffsetMap[] = [];
  readonly #entries = new Map<string, Entry[]>();
  readonly #chunks: LogChunk[] = [];
  #waiters: (() => void)[] = [];
  readonly #given = { next: 0 };
  readonly #rereads: boolean;
  #ended = false;
  #failure: Error | null = null;

  /** Each stream is given all from where it begins; by default a chunk is given once. */
  constructor({ rereads = false } = {}) {
    this.#rereads = rereads;
  }

  /** Appends records to a partition; they arrive as one chunk. */
  append(topic: string, partition: number, ...entries: readonly Entry[]): void {
    const key = partitionKey(topic, partition);
    const all = this.#entries.get(key) ?? [];
    const from = all.length;
    all.push(...entries);
    this.#entries.set(key, all);
    const records = entries.map((_, i) => ({
      ...{ topic, partition, offset: BigInt(from + i), timestampMs: 0, key: null, headers: [] },
      value: Buffer.alloc(0),
    }));
    const next = BigInt(all.length);
    this.#chunks.push({ topic, partition, records, next, end: next });
    this.#wake();
  }

  /** The log ends here, as a recording does. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** The log cannot be read on. */
  fail(error: Error): void {
    this.#failure = error;
    this.#wake();
  }

  decode(record: LogRecord): DecodedRecord {
    const { topic, partition, offset } = record;
    const entry = this.#entries.get(partitionKey(topic, partition))?.[Number(offset)];
    if (entry === undefined || entry === 'corrupt') {
      throw new UnderstudyError('RECORD_CORRUPT', 'the record is not JSON', {
        ...{ topic, partition, offset },
      });
    }
    return entry({ topic, partition, offset });
  }

  ends(): Promise<OffsetMap> {
    return Promise.resolve(
      new Map([...this.#entries].map(([key, all]) => [key, BigInt(all.length)])),
    );
  }

  starts(): Promise<OffsetMap> {
    return Promise.resolve(new Map([...this.#entries].map(([key]) => [key, 0n])));
  }

  open(from: OffsetMap, options: StreamOptions): Promise<ChangeStream> {
    options.signal.addEventListener('abort', () => this.#wake());
    return Promise.resolve({
      chunks: this.#read(from, options.signal),
      released: (bytes) => {
        this.released.push(bytes);
      },
      pause: () => undefined,
      commit: (offsets) => {
        this.commits.push(offsets);
        return Promise.resolve();
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }

  async *#read(from: OffsetMap, signal: AbortSignal): AsyncIterable<LogChunk> {
    // Of a stream, or of all together.
    const own = { next: 0 };
    while (!signal.aborted) {
      const at = this.#rereads ? own : this.#given;
      const chunk = this.#chunks[at.next];
      if (chunk !== undefined) {
        at.next += 1;
        const start = from.get(partitionKey(chunk.topic, chunk.partition)) ?? 0n;
        const records = chunk.records.filter(({ offset }) => offset >= start);
        if (records.length > 0) yield { ...chunk, records };
        continue;
      }
      if (this.#failure !== null) throw this.#failure;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

export type MemoryAct =
  { readonly kind: 'apply'; readonly batch: ChangeBatch } | { readonly kind: 'base' };

export class MemoryShadow implements Pick<
  ShadowDatabase,
  'name' | 'apply' | 'applyTogether' | 'openBaseSnapshot'
> {
  readonly name = 'shop';
  /** What was done, in order. */
  readonly acts: MemoryAct[] = [];
  /** Thrown by the next applies, one after another. */
  readonly failures: Error[] = [];
  /** While set, an apply does not get on. */
  gate: Promise<void> = Promise.resolve();
  /** How many applies were begun. */
  begun = 0;
  position = START;

  async apply(_fence: Fence, batch: ChangeBatch): Promise<ApplyOutcome> {
    this.begun += 1;
    await this.gate;
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    this.acts.push({ kind: 'apply', batch });
    this.position = batch.position;
    const rows = batch.steps.reduce(
      (sum, step) => sum + (step.kind === 'truncate' ? 0 : step.changes.length),
      0,
    );
    return { rows, owned: 0, repairs: 0 };
  }

  async applyTogether(_fence: Fence, batches: AsyncIterable<ChangeBatch>): Promise<ApplyOutcome> {
    const parts: ChangeBatch[] = [];
    for await (const batch of batches) {
      const failure = this.failures.shift();
      if (failure !== undefined) throw failure;
      parts.push(batch);
    }
    for (const batch of parts) this.acts.push({ kind: 'apply', batch });
    this.position = parts.at(-1)?.position ?? this.position;
    return { rows: parts.length, owned: 0, repairs: 0 };
  }

  openBaseSnapshot(): Promise<BaseReader> {
    this.acts.push({ kind: 'base' });
    return Promise.resolve(READER);
  }
}

const unused = (): never => {
  throw new Error('nothing is compared here');
};

const READER: BaseReader = {
  gaps: unused,
  notCaptured: unused,
  tables: unused,
  selfTest: unused,
  forms: unused,
  cutLeaves: unused,
  hashLeaves: unused,
  rowHashes: unused,
  rows: unused,
  spellKey: unused,
  aboutRows: unused,
  [Symbol.asyncDispose]: () => Promise.resolve(),
};
