/**
 * What is in a block: entries one after the other, each with a kind. Numbers are varints (seven
 * bits per byte, low ones first), bytes have their length before them.
 *
 *   0 define   topic, partition, first offset: gets the next number, from 0 on
 *   1 record   partition's number, offsets skipped, time since the record before (zigzag),
 *              headers (count, each name and value), key, value (length + 1; 0 is null)
 *   2 move     partition's number, offsets skipped: nothing is there up to the new position
 *
 * Numbers, offsets and times go on from block to block.
 */
import type { LogRecord } from '../../change/record.ts';
import { VarintReader, VarintWriter } from './varint.ts';

const DEFINE = 0;
const RECORD = 1;
const MOVE = 2;

export type Entry =
  | { readonly kind: 'record'; readonly record: LogRecord }
  | {
      readonly kind: 'move';
      readonly topic: string;
      readonly partition: number;
      readonly next: bigint;
    };

interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly number: number;
  next: bigint;
}

/** Writes entries into a buffer that is taken out block by block. */
export class EntryWriter {
  readonly #out = new VarintWriter();
  readonly #places = new Map<string, Place>();
  #time = 0;

  get bytes(): number {
    return this.#out.length;
  }

  /** The bytes written since the last call. */
  take(): Buffer {
    return this.#out.take();
  }

  /** Must come before the first entry of the partition. */
  define(key: string, topic: string, partition: number, start: bigint): void {
    const place = { topic, partition, number: this.#places.size, next: start };
    this.#places.set(key, place);
    this.#out.number(DEFINE);
    this.#out.bytes(Buffer.from(topic));
    this.#out.number(partition);
    this.#out.bigint(start);
  }

  record(key: string, record: LogRecord): void {
    const place = this.#place(key);
    const out = this.#out;
    out.number(RECORD);
    out.number(place.number);
    out.bigint(record.offset - place.next);
    place.next = record.offset + 1n;
    out.signed(record.timestampMs - this.#time);
    this.#time = record.timestampMs;
    out.number(record.headers.length);
    for (const [name, value] of record.headers) {
      out.bytes(Buffer.from(name));
      out.bytes(value);
    }
    out.nullableBytes(record.key);
    out.nullableBytes(record.value);
  }

  /** Does nothing if the partition is there already. */
  move(key: string, next: bigint): void {
    const place = this.#place(key);
    if (next === place.next) return;
    this.#out.number(MOVE);
    this.#out.number(place.number);
    this.#out.bigint(next - place.next);
    place.next = next;
  }

  #place(key: string): Place {
    const place = this.#places.get(key);
    if (place === undefined) throw new RangeError(`partition ${key} was not defined`);
    return place;
  }
}

/** Reads the entries of one block after the other. Throws a RangeError for impossible bytes. */
export class EntryReader {
  readonly #places: Place[] = [];
  #time = 0;

  *entries(block: Buffer): Generator<Entry> {
    const input = new VarintReader(block);
    while (!input.done) {
      const kind = input.number();
      switch (kind) {
        case DEFINE: {
          const topic = input.bytes().toString('utf8');
          const partition = input.number();
          const next = input.bigint();
          this.#places.push({ topic, partition, number: this.#places.length, next });
          break;
        }
        case RECORD:
          yield { kind: 'record', record: this.#record(input) };
          break;
        case MOVE: {
          const place = this.#place(input);
          place.next += input.bigint();
          const { topic, partition, next } = place;
          yield { kind: 'move', topic, partition, next };
          break;
        }
        default:
          throw new RangeError(`entries of kind ${kind} are not known`);
      }
    }
  }

  #record(input: VarintReader): LogRecord {
    const place = this.#place(input);
    const offset = place.next + input.bigint();
    place.next = offset + 1n;
    this.#time += input.signed();
    const headers: [string, Buffer][] = [];
    for (let count = input.number(); count > 0; count -= 1) {
      const name = input.bytes().toString('utf8');
      headers.push([name, input.bytes()]);
    }
    return {
      topic: place.topic,
      partition: place.partition,
      offset,
      timestampMs: this.#time,
      headers,
      key: input.nullableBytes(),
      value: input.nullableBytes(),
    };
  }

  #place(input: VarintReader): Place {
    const number = input.number();
    const place = this.#places[number];
    if (place === undefined) throw new RangeError(`partition number ${number} was not defined`);
    return place;
  }
}
