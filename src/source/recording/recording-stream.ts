import { partitionKey, type OffsetMap } from '../../change/position.ts';
import { recordBytes, type LogRecord } from '../../change/record.ts';
import { sleep } from '../../util/wait.ts';
import { ByteBudget } from '../byte-budget.ts';
import type { ChangeStream, LogChunk, StreamOptions } from '../change-source.ts';
import { StateReporter } from '../state-reporter.ts';
import { EntryReader, type Entry } from './entries.ts';
import { invalid } from './format.ts';
import { Pacer } from './pacer.ts';
import type { PlaybackGate } from './playback-gate.ts';
import type { RecordingFile } from './recording-file.ts';

/** How a recording is played back. */
export interface Playback {
  /**
   * 'full': as fast as it is read (the default). 'recorded': with the pauses between the records'
   * own times. A number: that many times as fast as recorded.
   */
  readonly pace?: 'full' | 'recorded' | number;
  readonly gate?: PlaybackGate;
}

export interface RecordingStreamParts extends Playback {
  readonly from: OffsetMap;
  readonly ends: OffsetMap;
  readonly options: StreamOptions;
}

/** Records of one partition that follow each other go into one chunk, up to so many. */
const CHUNK_RECORDS = 500;

/** The records of a recording in recorded order, from given positions on. */
export class RecordingStream implements ChangeStream {
  readonly chunks: AsyncGenerator<LogChunk>;
  readonly #file: RecordingFile;
  readonly #parts: RecordingStreamParts;
  readonly #budget: ByteBudget;
  readonly #state: StateReporter;
  readonly #pacer: Pacer;
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;

  constructor(file: RecordingFile, parts: RecordingStreamParts) {
    this.#file = file;
    this.#parts = parts;
    this.#budget = new ByteBudget(parts.options.budgetBytes);
    this.#state = new StateReporter(parts.options.onState);
    this.#pacer = new Pacer(parts.pace ?? 'full');
    this.#signal = AbortSignal.any([this.#closing.signal, parts.options.signal]);
    this.chunks = this.#play();
    this.#state.report('starting');
  }

  get closed(): boolean {
    return this.#signal.aborted;
  }

  released(bytes: number): void {
    this.#budget.release(bytes);
  }

  /** A recording is played in its own order. */
  pause(): void {
    return;
  }

  /** Nobody keeps offsets for a file. */
  commit(): Promise<void> {
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#state.report('ended');
    // Closes the file, also where nobody reads on.
    await this.chunks.return(undefined);
  }

  async *#play(): AsyncGenerator<LogChunk> {
    this.#state.report('reading');
    const reader = new EntryReader();
    const run = new Run(this.#parts.ends);
    let index = 0;
    for await (const block of this.#file.blocks()) {
      for (const entry of this.#entries(reader, block)) {
        if (this.closed) return;
        const at = entry.kind === 'record' ? index++ : -1;
        if (this.#passed(entry)) continue;
        if (!run.continues(entry)) yield* this.#handOut(run);
        if (entry.kind === 'record') {
          const wait = this.#wait(at, entry.record);
          if (wait !== undefined) {
            yield* this.#handOut(run);
            await wait;
            if (this.closed) return;
          }
        }
        run.add(entry);
      }
    }
    yield* this.#handOut(run);
    this.#closing.abort();
    this.#state.report('ended');
  }

  *#entries(reader: EntryReader, block: Buffer): Generator<Entry> {
    try {
      yield* reader.entries(block);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw invalid(this.#file.path, `a block cannot be read: ${error.message}`, error);
    }
  }

  /** True for what lies before the position that is read on from. */
  #passed(entry: Entry): boolean {
    const place = entry.kind === 'record' ? entry.record : entry;
    const from = this.#parts.from.get(partitionKey(place.topic, place.partition));
    if (from === undefined) return false;
    return entry.kind === 'record' ? entry.record.offset < from : entry.next <= from;
  }

  /** What a record has to wait for; undefined for nothing. */
  #wait(index: number, record: LogRecord): Promise<void> | undefined {
    const gate = this.#parts.gate?.pass(index, record);
    const pause = this.#pacer.pauseBefore(record.timestampMs);
    if (gate === undefined && pause === 0) return undefined;
    return this.#bothOrClosed(gate, pause);
  }

  async #bothOrClosed(gate: Promise<void> | undefined, pause: number): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      if (this.closed) resolve();
      this.#signal.addEventListener(
        'abort',
        () => {
          resolve();
        },
        { once: true },
      );
    });
    // Closing ends both waits; the caller looks whether it did.
    await Promise.race([gate, closed]);
    await sleep(pause, this.#signal).catch(() => undefined);
  }

  async *#handOut(run: Run): AsyncGenerator<LogChunk> {
    if (run.empty) return;
    if (this.#budget.full) {
      this.#state.report('paused', 'waiting for the applier');
      await this.#budget.whenFree(this.#signal);
      if (this.closed) return;
      this.#state.report('reading');
    }
    const chunk = run.take();
    if (chunk === null) return;
    for (const record of chunk.records) this.#budget.take(recordBytes(record));
    yield chunk;
  }
}

/** Records of one partition that follow each other in the file. */
class Run {
  readonly #ends: OffsetMap;
  #records: LogRecord[] = [];
  #place: { readonly topic: string; readonly partition: number } | null = null;
  #next = 0n;

  constructor(ends: OffsetMap) {
    this.#ends = ends;
  }

  get empty(): boolean {
    return this.#place === null;
  }

  continues(entry: Entry): boolean {
    const place = entry.kind === 'record' ? entry.record : entry;
    return (
      this.#place !== null &&
      this.#place.topic === place.topic &&
      this.#place.partition === place.partition &&
      this.#records.length < CHUNK_RECORDS
    );
  }

  add(entry: Entry): void {
    if (entry.kind === 'record') {
      this.#place = entry.record;
      this.#records.push(entry.record);
      this.#next = entry.record.offset + 1n;
    } else {
      this.#place = entry;
      this.#next = entry.next;
    }
  }

  take(): LogChunk | null {
    const place = this.#place;
    if (place === null) return null;
    const { topic, partition } = place;
    const next = this.#next;
    const records = this.#records;
    this.#records = [];
    this.#place = null;
    const end = this.#ends.get(partitionKey(topic, partition)) ?? next;
    return { topic, partition, records, next, end };
  }
}
