/**
 * A recording as event log: the same port as Kafka, with an end.
 */
import { basename } from 'node:path';
import { parsePartitionKey, partitionKey, type OffsetMap } from '../../change/position.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { ChangeSource, ChangeStream, StreamOptions } from '../change-source.ts';
import type { RecordingHeader } from './format.ts';
import { RecordingFile } from './recording-file.ts';
import { RecordingStream, type Playback } from './recording-stream.ts';

export interface RecordingSource extends ChangeSource {
  readonly header: RecordingHeader;
  /** How many records the file holds. */
  readonly records: number;
}

/** Reads header and index; RECORDING_INVALID if they are missing or damaged. */
export async function openRecording(
  path: string,
  playback: Playback = {},
): Promise<RecordingSource> {
  return new OpenRecording(await RecordingFile.open(path), playback);
}

class OpenRecording implements RecordingSource {
  readonly description: string;
  readonly endless = false;
  readonly #file: RecordingFile;
  readonly #playback: Playback;
  #stream: RecordingStream | null = null;

  constructor(file: RecordingFile, playback: Playback) {
    this.#file = file;
    this.#playback = playback;
    this.description = `recording ${basename(file.path)}`;
  }

  get header(): RecordingHeader {
    return this.#file.header;
  }

  get records(): number {
    return this.#file.footer.records;
  }

  ends(): Promise<OffsetMap> {
    return Promise.resolve(this.#offsets('end'));
  }

  starts(): Promise<OffsetMap> {
    return Promise.resolve(this.#offsets('start'));
  }

  /** LOG_GAP if a position lies outside what was recorded. */
  async open(from: OffsetMap, options: StreamOptions): Promise<ChangeStream> {
    if (this.#stream !== null && !this.#stream.closed) {
      throw new UnderstudyError('INTERNAL', 'a stream of this source is already open');
    }
    options.signal.throwIfAborted();
    const starts = this.#offsets('start');
    const ends = this.#offsets('end');
    for (const [key, offset] of from) {
      const start = starts.get(key);
      const end = ends.get(key);
      if (start === undefined || end === undefined) {
        if (offset > 0n) throw gap(key, offset, 'the recording does not hold this partition');
      } else if (offset < start) {
        throw gap(key, offset, `the recording begins at ${start}`);
      } else if (offset > end) {
        throw gap(key, offset, `the recording ends at ${end}`);
      }
    }
    const stream = new RecordingStream(this.#file, { from, ends, options, ...this.#playback });
    this.#stream = stream;
    return Promise.resolve(stream);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream?.[Symbol.asyncDispose]();
  }

  #offsets(which: 'start' | 'end'): OffsetMap {
    return new Map(
      this.#file.footer.partitions.map((covered) => [
        partitionKey(covered.topic, covered.partition),
        covered[which],
      ]),
    );
  }
}

function gap(key: string, offset: bigint, detail: string): UnderstudyError {
  return new UnderstudyError('LOG_GAP', 'the recording does not go on where we stopped', {
    ...parsePartitionKey(key),
    offset,
    detail,
  });
}
