import { rename, rm, open, type FileHandle } from 'node:fs/promises';
import { constants, createZstdCompress, type ZstdCompress } from 'node:zlib';
import { parsePartitionKey, partitionKey, type OffsetMap } from '../../change/position.ts';
import type { LogChunk } from '../change-source.ts';
import { EntryWriter } from './entries.ts';
import {
  COMPRESSION,
  invalid,
  writeBlockHeader,
  writeEnd,
  writePreamble,
  type RecordingFooter,
  type RecordingHeader,
} from './format.ts';

/** Raw bytes after which a block is closed: what one checksum covers and one read decompresses. */
const BLOCK_BYTES = 256 * 1024;

/**
 * Creates a recording. It is written to `<path>.part` and gets its name when it is closed, so
 * that no half recording ever lies at `path`; a recording that is there already is replaced.
 */
export async function createRecording(
  path: string,
  header: RecordingHeader,
): Promise<RecordingWriter> {
  const file = await open(`${path}.part`, 'w');
  try {
    await file.write(writePreamble(header));
    return new RecordingWriter(path, file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Appends chunks to a recording. One call at a time. Disposed without `close`: discarded. */
export class RecordingWriter implements AsyncDisposable {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #entries = new EntryWriter();
  readonly #zstd: ZstdCompress = createZstdCompress(COMPRESSION);
  readonly #covered = new Map<string, { readonly start: bigint; end: bigint }>();
  #compressed: Buffer[] = [];
  #blocks = 0;
  #records = 0;
  #open = true;

  constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
    this.#zstd.on('data', (bytes: Buffer) => this.#compressed.push(bytes));
  }

  /** Records appended so far. */
  get records(): number {
    return this.#records;
  }

  /**
   * Declares from where partitions are covered, also those of which no record will come.
   * Otherwise a partition is covered from its first record on.
   */
  cover(starts: OffsetMap): void {
    for (const [key, start] of starts) if (!this.#covered.has(key)) this.#define(key, start);
  }

  async append(chunk: LogChunk): Promise<void> {
    const { topic, partition, records, next } = chunk;
    const key = partitionKey(topic, partition);
    const covered = this.#covered.get(key) ?? this.#define(key, records[0]?.offset ?? next);
    for (const record of records) {
      if (record.offset < covered.end) {
        throw invalid(this.#path, `offset ${record.offset} of ${key} was appended twice`);
      }
      this.#entries.record(key, record);
      covered.end = record.offset + 1n;
      this.#records += 1;
      if (this.#entries.bytes >= BLOCK_BYTES) await this.#writeBlock();
    }
    this.#entries.move(key, next);
    covered.end = next;
  }

  /** Writes the index and the end, and gives the file its name. */
  async close(): Promise<RecordingFooter> {
    if (this.#entries.bytes > 0) await this.#writeBlock();
    const partitions = [...this.#covered].map(([key, { start, end }]) => ({
      ...parsePartitionKey(key),
      start,
      end,
    }));
    const footer = { blocks: this.#blocks, records: this.#records, partitions };
    await this.#file.writeFile(writeEnd(footer));
    await this.#file.sync();
    await this.#release();
    await rename(`${this.#path}.part`, this.#path);
    return footer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#open) return;
    await this.#release();
    await rm(`${this.#path}.part`, { force: true });
  }

  async #release(): Promise<void> {
    this.#open = false;
    this.#zstd.destroy();
    await this.#file.close();
  }

  #define(key: string, start: bigint): { readonly start: bigint; end: bigint } {
    const { topic, partition } = parsePartitionKey(key);
    const covered = { start, end: start };
    this.#covered.set(key, covered);
    this.#entries.define(key, topic, partition, start);
    return covered;
  }

  async #writeBlock(): Promise<void> {
    const raw = this.#entries.take();
    await new Promise<void>((resolve, reject) => {
      this.#zstd.once('error', reject);
      this.#zstd.write(raw);
      this.#zstd.flush(constants.ZSTD_e_flush, () => {
        this.#zstd.off('error', reject);
        resolve();
      });
    });
    const compressed = Buffer.concat(this.#compressed);
    this.#compressed = [];
    await this.#file.writeFile(
      Buffer.concat([writeBlockHeader(compressed, raw.length), compressed]),
    );
    this.#blocks += 1;
  }
}
