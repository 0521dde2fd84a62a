/**
 * Kafka's ids of topics, by Metadata version 10 (kafka.apache.org/protocol), which kafkajs does not
 * speak: requests and answers of it are written and read here. Brokers know it since Kafka 2.8.
 */
export const METADATA_API = 3;
export const METADATA_VERSION = 10;

/** Kafka's for no id: a topic of before there were ids. */
const NO_ID = '0'.repeat(32);

/** What comes behind the header's client id. */
export function writeTopicIdsRequest(topics: readonly string[]): Buffer {
  const none = Buffer.from([0]);
  return Buffer.concat([
    none, // the header's tagged fields
    uvarint(topics.length + 1),
    ...topics.flatMap((topic) => {
      const name = Buffer.from(topic);
      return [Buffer.alloc(16), uvarint(name.length + 1), name, none];
    }),
    // No topic is to be made, no rights are asked for, no tagged fields.
    Buffer.from([0, 0, 0, 0]),
  ]);
}

/** Ids by topic, of those that exist and have one; what comes behind the correlation id. */
export function readTopicIds(payload: Buffer): ReadonlyMap<string, string> {
  const cursor = new Cursor(payload);
  cursor.tags(); // of the header
  cursor.skip(4); // throttle time
  for (let brokers = cursor.count(); brokers > 0; brokers -= 1) {
    cursor.skip(4); // node id
    cursor.string(); // host
    cursor.skip(4); // port
    cursor.string(); // rack
    cursor.tags();
  }
  cursor.string(); // cluster id
  cursor.skip(4); // controller
  const ids = new Map<string, string>();
  for (let topics = cursor.count(); topics > 0; topics -= 1) {
    const errorCode = cursor.int16();
    const name = cursor.string();
    const id = cursor.bytes(16).toString('hex');
    cursor.skip(1); // whether it is internal
    for (let partitions = cursor.count(); partitions > 0; partitions -= 1) {
      cursor.skip(14); // error, index, leader, leader epoch
      for (let lists = 3; lists > 0; lists -= 1) cursor.skip(4 * cursor.count()); // replicas
      cursor.tags();
    }
    cursor.skip(4); // rights
    cursor.tags();
    // Of a topic in trouble the id may be missing, and the next look tells it.
    if (name !== null && errorCode === 0 && id !== NO_ID) ids.set(name, id);
  }
  return ids;
}

function uvarint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}

class Cursor {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  bytes(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#buffer.length) throw new RangeError('the answer is cut off');
    const bytes = this.#buffer.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }

  skip(length: number): void {
    this.bytes(length);
  }

  int16(): number {
    return this.bytes(2).readInt16BE(0);
  }

  uvarint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.bytes(1)[0] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError('the answer has an impossible length');
  }

  /** Of a compact array: none for null. */
  count(): number {
    return Math.max(0, this.uvarint() - 1);
  }

  string(): string | null {
    const length = this.uvarint();
    return length === 0 ? null : this.bytes(length - 1).toString('utf8');
  }

  tags(): void {
    for (let tags = this.uvarint(); tags > 0; tags -= 1) {
      this.uvarint();
      this.skip(this.uvarint());
    }
  }
}
