import { open, type FileHandle } from 'node:fs/promises';
import { createZstdDecompress, type ZstdDecompress } from 'node:zlib';
import {
  BLOCK_HEADER_BYTES,
  blockIsIntact,
  DECOMPRESSION,
  END_FIXED_BYTES,
  footerLength,
  invalid,
  PREAMBLE_FIXED_BYTES,
  preambleLength,
  readFooter,
  readPreamble,
  type RecordingFooter,
  type RecordingHeader,
} from './format.ts';

/** A recording opened for reading: its header and index, and its blocks in order. */
export class RecordingFile {
  readonly path: string;
  readonly header: RecordingHeader;
  readonly footer: RecordingFooter;
  readonly #blocksAt: number;
  readonly #blocksEnd: number;

  private constructor(
    path: string,
    header: RecordingHeader,
    footer: RecordingFooter,
    [blocksAt, blocksEnd]: readonly [number, number],
  ) {
    this.path = path;
    this.header = header;
    this.footer = footer;
    this.#blocksAt = blocksAt;
    this.#blocksEnd = blocksEnd;
  }

  /** Reads header and index. RECORDING_INVALID if either is missing or damaged. */
  static async open(path: string): Promise<RecordingFile> {
    const file = await openForReading(path);
    try {
      const { size } = await file.stat();
      const shortest = PREAMBLE_FIXED_BYTES + 4 + END_FIXED_BYTES;
      if (size < shortest) throw invalid(path, `it has only ${size} bytes: most of it is missing`);
      const fixed = await readAt(path, file, 0, PREAMBLE_FIXED_BYTES);
      const blocksAt = PREAMBLE_FIXED_BYTES + preambleLength(path, fixed) + 4;
      if (blocksAt > size) throw invalid(path, 'its header is cut off: all records are missing');
      const header = readPreamble(path, await readAt(path, file, 0, blocksAt));
      const tail = await readAt(path, file, size - END_FIXED_BYTES, END_FIXED_BYTES);
      const indexBytes = footerLength(path, tail, size);
      const footerAt = size - (END_FIXED_BYTES - 4) - indexBytes;
      if (footerAt < blocksAt)
        throw invalid(path, 'its index is damaged: its length is impossible');
      const footer = readFooter(path, await readAt(path, file, footerAt, indexBytes));
      return new RecordingFile(path, header, footer, [blocksAt, footerAt]);
    } finally {
      await file.close();
    }
  }

  /**
   * The raw blocks in order. RECORDING_INVALID at the first one that is damaged, before anything
   * of it is handed out, and if blocks are missing.
   */
  async *blocks(): AsyncGenerator<Buffer> {
    const { path } = this;
    const file = await openForReading(path);
    const zstd = createZstdDecompress(DECOMPRESSION);
    try {
      let at = this.#blocksAt;
      for (let block = 0; block < this.footer.blocks; block += 1) {
        const where = `block ${block + 1} of ${this.footer.blocks}`;
        const damaged = (cause?: unknown): Error =>
          invalid(path, `${where} is damaged: it is not what was written`, cause);
        if (at + BLOCK_HEADER_BYTES > this.#blocksEnd) throw invalid(path, `${where} is missing`);
        const header = await readAt(path, file, at, BLOCK_HEADER_BYTES);
        at += BLOCK_HEADER_BYTES;
        const length = header.readUInt32BE(0);
        if (length === 0 || at + length > this.#blocksEnd) throw damaged();
        const compressed = await readAt(path, file, at, length);
        at += length;
        if (!blockIsIntact(header, compressed)) throw damaged();
        const raw = await inflate(zstd, compressed).catch((error: unknown) => {
          throw damaged(error);
        });
        if (raw.length !== header.readUInt32BE(4)) throw damaged();
        yield raw;
      }
      const mark = await readAt(path, file, at, Math.min(4, this.#blocksEnd - at));
      if (at + 4 !== this.#blocksEnd || mark.readUInt32BE(0) !== 0) {
        throw invalid(path, 'the mark after its last block is damaged');
      }
    } finally {
      zstd.destroy();
      await file.close();
    }
  }
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    throw invalid(path, error instanceof Error ? error.message : String(error), error);
  }
}

async function readAt(
  path: string,
  file: FileHandle,
  position: number,
  length: number,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  if (bytesRead !== length) throw invalid(path, 'it became shorter while it was read');
  return buffer;
}

/** What the stream gives for one flushed block: all of it, since the flush ends a zstd block. */
function inflate(zstd: ZstdDecompress, compressed: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const collect = (part: Buffer): void => {
      parts.push(part);
    };
    const done = (error?: Error | null): void => {
      zstd.off('data', collect);
      zstd.off('error', done);
      if (error instanceof Error) reject(error);
      else resolve(parts.length === 1 ? (parts[0] ?? compressed) : Buffer.concat(parts));
    };
    zstd.on('data', collect);
    zstd.once('error', done);
    zstd.write(compressed, (error) => {
      done(error);
    });
  });
}
