import { partitionKey, type LogOffset } from './position.ts';

/** Records of one partition that follow each other, `next` excluded. */
export interface OffsetRange {
  readonly topic: string;
  readonly partition: number;
  readonly first: bigint;
  readonly next: bigint;
}

/** The fewest ranges that hold exactly these records, partition by partition, in their order. */
export function rangesOf(places: Iterable<LogOffset>): readonly OffsetRange[] {
  const byPartition = new Map<string, LogOffset[]>();
  for (const at of places) {
    const key = partitionKey(at.topic, at.partition);
    const known = byPartition.get(key);
    if (known === undefined) byPartition.set(key, [at]);
    else known.push(at);
  }
  return [...byPartition.values()].flatMap(rangesOfPartition);
}

function rangesOfPartition(places: readonly LogOffset[]): readonly OffsetRange[] {
  const ranges: OffsetRange[] = [];
  for (const { topic, partition, offset } of places.toSorted((a, b) =>
    compare(a.offset, b.offset),
  )) {
    const last = ranges.at(-1);
    if (last === undefined || offset > last.next) {
      ranges.push({ topic, partition, first: offset, next: offset + 1n });
    } else if (offset === last.next) {
      ranges[ranges.length - 1] = { ...last, next: offset + 1n };
    }
  }
  return ranges;
}

/** Records by place. */
export class OffsetSet {
  /** By partition, in the order of the log. */
  readonly #ranges = new Map<string, OffsetRange[]>();

  /** The ranges must not overlap. */
  constructor(ranges: readonly OffsetRange[]) {
    for (const range of ranges.toSorted((a, b) => compare(a.first, b.first))) {
      const key = partitionKey(range.topic, range.partition);
      const known = this.#ranges.get(key);
      if (known === undefined) this.#ranges.set(key, [range]);
      else known.push(range);
    }
  }

  has({ topic, partition, offset }: LogOffset): boolean {
    const ranges = this.#ranges.get(partitionKey(topic, partition)) ?? [];
    let [low, high] = [0, ranges.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = ranges[middle];
      if (range === undefined || offset < range.first) high = middle;
      else if (offset >= range.next) low = middle + 1;
      else return true;
    }
    return false;
  }
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
