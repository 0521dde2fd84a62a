/** Decompression of Kafka record batches, by the codec number in a batch's attributes. */
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import snappy from 'snappyjs';

const gunzip = promisify<Buffer, Buffer>(zlib.gunzip);
const unzstd = promisify<Buffer, Buffer>(zlib.zstdDecompress);

/** snappy-java's stream header: magic, then version and lowest compatible version (int32 each). */
const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const XERIAL_HEADER_BYTES = 16;

/** Rejects for a codec that does not exist, and for data that the codec cannot read. */
export async function decompress(codec: number, compressed: Buffer): Promise<Buffer> {
  switch (codec) {
    case 0:
      return compressed;
    case 1:
      return gunzip(compressed);
    case 2:
      return unsnappy(compressed);
    case 3:
      return unlz4(compressed);
    case 4:
      return unzstd(compressed);
    default:
      throw new Error(`compression codec ${codec} is not known`);
  }
}

/** Raw snappy (librdkafka) or snappy-java's framing: length-prefixed blocks after a header. */
function unsnappy(compressed: Buffer): Buffer {
  if (!compressed.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC)) {
    return snappy.uncompress(compressed);
  }
  const blocks: Buffer[] = [];
  let at = XERIAL_HEADER_BYTES;
  while (at < compressed.length) {
    const length = compressed.readUInt32BE(at);
    const end = at + 4 + length;
    if (end > compressed.length) throw new Error('a snappy block is cut off');
    blocks.push(snappy.uncompress(compressed.subarray(at + 4, end)));
    at = end;
  }
  return Buffer.concat(blocks);
}

/** LZ4 frames. The native module is loaded at the first such batch only. */
async function unlz4(compressed: Buffer): Promise<Buffer> {
  const { default: lz4 } = await import('lz4-napi');
  return lz4.decompressFrame(compressed);
}
