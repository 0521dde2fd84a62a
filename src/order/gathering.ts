import { tableName } from '../change/table-id.ts';
import type { ChangeEvent, TransactionBoundary } from '../change/record.ts';
import { keyText } from './key-text.ts';
import type { Lane } from './lane.ts';

const NOTHING: ReadonlyMap<string, bigint> = new Map();

/** A source transaction of which events are held. */
export class Gathering {
  /** Where its events are. */
  readonly lanes = new Set<Lane<ChangeEvent>>();
  /** When the last of them came, epoch milliseconds. */
  lastMs: number;
  /** Events added, second deliveries included. */
  size = 0;
  readonly #orders = new Set<bigint>();
  readonly #counts = new Map<string, bigint>();

  constructor(nowMs: number) {
    this.lastMs = nowMs;
  }

  /** Notes an event. One that was delivered twice counts once. */
  add(event: ChangeEvent, totalOrder: bigint, lane: Lane<ChangeEvent>, nowMs: number): void {
    this.lanes.add(lane);
    this.lastMs = nowMs;
    this.size += 1;
    if (this.#orders.has(totalOrder)) return;
    this.#orders.add(totalOrder);
    const collection = collectionOf(event);
    this.#counts.set(collection, (this.#counts.get(collection) ?? 0n) + 1n);
  }

  /** The events of it, as it is named, that its partitions still hold. */
  left(id: string): Gathering {
    const left = new Gathering(this.lastMs);
    for (const lane of this.lanes) {
      for (const event of lane.records()) {
        const mark = event.transaction;
        if (mark?.id === id) left.add(event, mark.totalOrder, lane, this.lastMs);
      }
    }
    return left;
  }

  /** How many fewer events are here than its END says, of the collections that we read. */
  lacking(
    counts: TransactionBoundary['counts'],
    isSubscribed: (collection: string) => boolean,
  ): ReadonlyMap<string, bigint> {
    let lacking = NOTHING;
    for (const [collection, count] of counts ?? []) {
      if (count === 0n || !isSubscribed(collection)) continue;
      const here = this.#counts.get(collection) ?? 0n;
      if (here < count) lacking = new Map(lacking).set(collection, count - here);
    }
    return lacking;
  }
}

/** Debezium's spelling in data_collections: nothing is quoted. */
export function collectionOf(event: ChangeEvent): string {
  return `${event.table.schema}.${event.table.name}`;
}

/**
 * The events in production's order, each once. Within a transaction `total_order` says it all.
 * If its connector was restarted within the transaction, numbers start anew: then the place in
 * production's log and the row tell duplicates, and the log's order counts where it is known.
 */
export function inSourceOrder(
  events: readonly ChangeEvent[],
  restarted: boolean,
): readonly ChangeEvent[] {
  const seen = new Set<string>();
  const once = events.filter((event) => {
    const identity = restarted ? placeOf(event) : String(event.transaction?.totalOrder);
    if (seen.has(identity)) return false;
    seen.add(identity);
    return true;
  });
  return once.sort(restarted ? byPlace : byTotalOrder);
}

function byTotalOrder(a: ChangeEvent, b: ChangeEvent): number {
  return compare(a.transaction?.totalOrder ?? 0n, b.transaction?.totalOrder ?? 0n);
}

function byPlace(a: ChangeEvent, b: ChangeEvent): number {
  const placeA = 'lsn' in a.source ? a.source.lsn : a.source.pos;
  const placeB = 'lsn' in b.source ? b.source.lsn : b.source.pos;
  if (placeA === null || placeB === null || placeA === placeB) return byHalf(a) - byHalf(b);
  return compare(placeA, placeB);
}

/** The halves of a key change share a place: the delete goes first. */
function byHalf(event: ChangeEvent): number {
  return event.newKey !== null ? 0 : 1;
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What two deliveries of one event have in common. Rows without key cannot be told apart. */
function placeOf(event: ChangeEvent): string {
  const { source } = event;
  const place =
    'lsn' in source ? `${source.lsn}` : `${source.gtid}/${source.file}/${source.pos}/${source.row}`;
  const row =
    event.key === null
      ? `#${event.transaction?.totalOrder}`
      : keyText(event.key.values.filter((value) => typeof value !== 'symbol'));
  return `${place}|${tableName(event.table)}|${event.op}|${row}`;
}
