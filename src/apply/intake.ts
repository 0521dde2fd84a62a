import { setImmediate } from 'node:timers/promises';
import { partitionKey, type OffsetMap } from '../change/position.ts';
import { recordBytes, type DecodedRecord, type LogRecord } from '../change/record.ts';
import type { ChangeStream } from '../source/change-source.ts';
import type { MemoryCredit } from './memory-credit.ts';

/** Decoding lets others have their turn so often: whoever writes waits for the shadow's answers. */
const TURN_MS = 1;

/** What the intake feeds: order/assembler. */
export interface RecordSink {
  push(record: DecodedRecord): void;
  /** Everything of this partition before `next` has been pushed. */
  advance(topic: string, partition: number, next: bigint): void;
}

/**
 * Reads the log, decodes, and feeds the assembler; keeps how far each partition was read.
 * Returns when the log ends or the stream is disposed; rejects with the first record that cannot
 * be decoded. Nothing after that record is pushed, and its position is not passed.
 */
export class Intake {
  readonly #consumed = new Map<string, bigint>();
  readonly #stream: ChangeStream;
  readonly #prepare: (record: LogRecord) => Promise<void> | null;
  readonly #decode: (record: LogRecord) => DecodedRecord;
  readonly #sink: RecordSink;
  readonly #credit: MemoryCredit;
  readonly #onRecord: (record: DecodedRecord) => void;
  readonly #onChunk: () => void;

  constructor(parts: {
    readonly stream: ChangeStream;
    /** Fetches what decoding this record needs; null, mostly, where nothing is lacking. */
    readonly prepare?: (record: LogRecord) => Promise<void> | null;
    readonly decode: (record: LogRecord) => DecodedRecord;
    readonly sink: RecordSink;
    readonly credit: MemoryCredit;
    readonly onRecord?: (record: DecodedRecord) => void;
    readonly onChunk: () => void;
  }) {
    this.#stream = parts.stream;
    this.#prepare = parts.prepare ?? (() => null);
    this.#decode = parts.decode;
    this.#sink = parts.sink;
    this.#credit = parts.credit;
    this.#onRecord = parts.onRecord ?? (() => undefined);
    this.#onChunk = parts.onChunk;
  }

  /** The next offset to read, for every partition seen so far. */
  get consumed(): OffsetMap {
    return this.#consumed;
  }

  async run(): Promise<void> {
    let since = performance.now();
    for await (const chunk of this.#stream.chunks) {
      for (const record of chunk.records) {
        if (performance.now() - since > TURN_MS) {
          await setImmediate();
          since = performance.now();
        }
        const bytes = recordBytes(record);
        this.#credit.hold(bytes);
        const lacking = this.#prepare(record);
        if (lacking !== null) await lacking;
        const decoded = this.#decode(record);
        // Only changes stay on the heap until they are applied.
        if (decoded.kind !== 'change') this.#credit.free(bytes);
        this.#onRecord(decoded);
        this.#sink.push(decoded);
      }
      this.#sink.advance(chunk.topic, chunk.partition, chunk.next);
      this.#consumed.set(partitionKey(chunk.topic, chunk.partition), chunk.next);
      this.#onChunk();
    }
  }
}
