/**
 * The recording file, format 1. All integers are big-endian.
 *
 *   preamble  magic "UNDRSTDY", version u16, length u32, header (JSON), CRC-32 of all before
 *   blocks    length u32 of the compressed bytes, length u32 of the raw ones, CRC-32 of both
 *             lengths and the compressed bytes, compressed bytes
 *   end       u32 zero, footer (JSON), CRC-32 of it, its length u32, magic "YDTSRDNU"
 *
 * The blocks' compressed bytes together are one zstd stream that was flushed after each block:
 * a block is checked before anything of it is handed out, and yet repetition over the whole file
 * (the JSON schema in every Debezium event) costs next to nothing. What is in a block is in
 * entries.ts. A file without its end is one that was cut off or never finished.
 */
import { constants, crc32 } from 'node:zlib';
import { z } from 'zod';
import { UnderstudyError } from '../../errors/understudy-error.ts';

const FORMAT_VERSION = 1;
const MAGIC = Buffer.from('UNDRSTDY', 'latin1');
const END_MAGIC = Buffer.from('YDTSRDNU', 'latin1');
export const PREAMBLE_FIXED_BYTES = MAGIC.length + 2 + 4;
export const BLOCK_HEADER_BYTES = 12;
export const END_FIXED_BYTES = 4 + 4 + END_MAGIC.length;

/** Repetition is found over this distance; reading back takes as much memory. */
const WINDOW_LOG = 24;
const LEVEL = 12;

export const COMPRESSION = {
  params: {
    [constants.ZSTD_c_compressionLevel]: LEVEL,
    [constants.ZSTD_c_windowLog]: WINDOW_LOG,
  },
};
export const DECOMPRESSION = {
  params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG },
};

const headerSchema = z.object({
  madeAt: z.iso.datetime(),
  from: z.string(),
  topicPrefix: z.string(),
  connector: z.string(),
  understudy: z.string(),
});

/** When and from what a recording was made. */
export interface RecordingHeader {
  /** ISO 8601, UTC. */
  readonly madeAt: string;
  /** The source's description. */
  readonly from: string;
  /** topic.prefix of the Debezium connector. */
  readonly topicPrefix: string;
  /** Kind of the Debezium connector. */
  readonly connector: string;
  /** Version of understudy that wrote the file. */
  readonly understudy: string;
}

const offset = z.string().regex(/^\d+$/).transform(BigInt);
const footerSchema = z.object({
  blocks: z.int().min(0),
  records: z.int().min(0),
  partitions: z.array(
    z.object({ topic: z.string(), partition: z.int().min(0), start: offset, end: offset }),
  ),
});

/** What the file holds; written last. */
export interface RecordingFooter {
  readonly blocks: number;
  readonly records: number;
  /** Every partition covered, also those without a record: offsets from start up to end. */
  readonly partitions: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly start: bigint;
    readonly end: bigint;
  }[];
}

export function writePreamble(header: RecordingHeader): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const fixed = Buffer.alloc(6);
  fixed.writeUInt16BE(FORMAT_VERSION, 0);
  fixed.writeUInt32BE(json.length, 2);
  return withChecksum(Buffer.concat([MAGIC, fixed, json]));
}

/** Length of the header's JSON, from the first PREAMBLE_FIXED_BYTES of a file. */
export function preambleLength(path: string, fixed: Buffer): number {
  if (!fixed.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw invalid(path, 'it does not begin as a recording does');
  }
  const version = fixed.readUInt16BE(MAGIC.length);
  if (version !== FORMAT_VERSION) {
    throw invalid(path, `its format is ${version}, this program reads ${FORMAT_VERSION}`);
  }
  return fixed.readUInt32BE(MAGIC.length + 2);
}

/** The header, from a whole preamble. */
export function readPreamble(path: string, preamble: Buffer): RecordingHeader {
  const json = checked(path, 'header', preamble).subarray(PREAMBLE_FIXED_BYTES);
  return parsed(path, 'header', headerSchema, json);
}

export function writeBlockHeader(compressed: Buffer, rawLength: number): Buffer {
  const header = Buffer.alloc(BLOCK_HEADER_BYTES);
  header.writeUInt32BE(compressed.length, 0);
  header.writeUInt32BE(rawLength, 4);
  header.writeUInt32BE(crc32(compressed, crc32(header.subarray(0, 8))), 8);
  return header;
}

/** True if a block's checksum, in its header, is that of the bytes. */
export function blockIsIntact(header: Buffer, compressed: Buffer): boolean {
  return header.readUInt32BE(8) === crc32(compressed, crc32(header.subarray(0, 8)));
}

export function writeEnd(footer: RecordingFooter): Buffer {
  const partitions = footer.partitions.map(({ topic, partition, start, end }) => ({
    topic,
    partition,
    start: start.toString(),
    end: end.toString(),
  }));
  const json = Buffer.from(JSON.stringify({ ...footer, partitions }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(json.length);
  return Buffer.concat([Buffer.alloc(4), withChecksum(json), length, END_MAGIC]);
}

/** Length of the footer with its checksum, from the last bytes of a file. */
export function footerLength(path: string, tail: Buffer, fileBytes: number): number {
  if (!tail.subarray(-END_MAGIC.length).equals(END_MAGIC)) {
    throw invalid(
      path,
      `it stops after ${fileBytes} bytes without its end: it was cut off, or recording it was ` +
        'interrupted; the last records, the index and the end mark are missing',
    );
  }
  return tail.readUInt32BE(tail.length - END_MAGIC.length - 4) + 4;
}

export function readFooter(path: string, footer: Buffer): RecordingFooter {
  return parsed(path, 'index', footerSchema, checked(path, 'index', footer));
}

export function invalid(path: string, detail: string, cause?: unknown): UnderstudyError {
  const what = `the recording ${path} cannot be read`;
  return new UnderstudyError('RECORDING_INVALID', what, { detail }, cause);
}

function withChecksum(bytes: Buffer): Buffer {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(bytes));
  return Buffer.concat([bytes, sum]);
}

function checked(path: string, part: string, bytes: Buffer): Buffer {
  const body = bytes.subarray(0, -4);
  if (bytes.length < 4 || bytes.readUInt32BE(bytes.length - 4) !== crc32(body)) {
    throw invalid(path, `its ${part} is damaged: the checksum does not fit`);
  }
  return body;
}

function parsed<T>(path: string, part: string, schema: z.ZodType<T>, json: Buffer): T {
  try {
    return schema.parse(JSON.parse(json.toString('utf8')));
  } catch (error) {
    throw invalid(path, `its ${part} is not what this program writes`, error);
  }
}
