/**
 * Which of the log's changes the copy holds already: see the invariant in bootstrap.ts. Needed
 * while the log is read between H and E; behind E nothing is ever passed over, so that it does no
 * harm to keep it longer.
 *
 * A transaction that every snapshot sees is taken out before transactions are put together: some
 * of its records may lie before H, and nobody must wait for those. One that only some snapshots
 * see lies behind H as a whole; it is put together first, and then loses the changes of the tables
 * whose snapshots saw it.
 *
 * Where the copy is of some tables only (refill.ts), what every snapshot sees loses the changes of these
 * tables, and their counts, and goes on as a whole of the others.
 */
import { errorOf } from '../change/dead-cause.ts';
import { logPosition, partitionKey, type OffsetMap } from '../change/position.ts';
import type { ChangeEvent, DecodedRecord, TransactionBoundary } from '../change/record.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { BootstrapState } from '../dialect/copying.ts';
import type { SnapshotView } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { Release } from '../order/release.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { unreachable } from '../util/assert.ts';

/** A snapshot that tables were copied from, and the position behind all that it sees. */
interface Source {
  readonly view: SnapshotView;
  readonly marker: bigint;
}

export class HandOver {
  readonly #ends: OffsetMap;
  readonly #catalogue: SchemaCatalogue;
  readonly #sources: readonly Source[];
  readonly #sourceOf: ReadonlyMap<string, Source>;
  /** Copied tables as the ends of transactions name them; null: all tables are copied. */
  readonly #collections: ReadonlySet<string> | null;

  constructor(parts: {
    readonly ends: OffsetMap;
    readonly tables: BootstrapState['tables'];
    readonly catalogue: SchemaCatalogue;
    readonly snapshotView: (snapshot: string) => SnapshotView;
  }) {
    const sources = new Map<string, Source>();
    const sourceOf = new Map<string, Source>();
    for (const { table, snapshot, marker } of parts.tables) {
      const source = sources.get(snapshot) ?? { view: parts.snapshotView(snapshot), marker };
      sources.set(snapshot, source);
      sourceOf.set(tableName(table), source);
    }
    this.#ends = parts.ends;
    this.#catalogue = parts.catalogue;
    this.#sources = [...sources.values()];
    this.#sourceOf = sourceOf;
    const tables = [...parts.catalogue.values()].map(({ id }) => id);
    const copied = tables.filter((id) => this.#sourceAt(id) !== undefined);
    // Nothing is quoted there.
    const names = copied.map(({ schema, name }) => `${schema}.${name}`);
    this.#collections = copied.length === tables.length ? null : new Set(names);
  }

  /** Is all behind E that is read from here on? */
  isDone(position: OffsetMap): boolean {
    return isHandedOver(this.#ends, position);
  }

  /**
   * Before transactions are put together: the record, or a mere move over it. Throws the cause of a
   * change that could not be read, where the copy may have it or not.
   */
  screen(record: DecodedRecord): DecodedRecord {
    switch (record.kind) {
      case 'change':
        if (record.op === 'unread' && this.#isCopied(record) && this.#before(record)) {
          throw errorOf(record.cause, { ...record.at, table: tableName(record.table) });
        }
        return this.#passesOver(record) ? passedOver(record) : record;
      case 'begin':
      case 'end':
        return this.#boundarySeen(record) ? this.#withoutCopied(record) : record;
      case 'tombstone':
      case 'heartbeat':
      case 'message':
      case 'schema-change':
      case 'ignored':
      case 'gap':
        return record;
      default:
        return unreachable(record);
    }
  }

  /** After that: what is left of it. */
  trim(release: Release): Release {
    const changes = release.changes.filter((change) => !this.#copied(change));
    return changes.length === release.changes.length ? release : { ...release, changes };
  }

  #passesOver(change: ChangeEvent): boolean {
    if (!this.#before(change) || !this.#isCopied(change)) return false;
    if (change.snapshot !== 'no') return this.#readBefore(change);
    return this.#sources.length > 0 && this.#sources.every((source) => sees(source, change));
  }

  /** A boundary carries no position, but like a change it lies before E. */
  #boundarySeen(boundary: TransactionBoundary): boolean {
    if (!this.#before(boundary)) return false;
    const { id } = boundary;
    return (
      this.#sources.length > 0 &&
      this.#sources.every(({ view }) => view.seesTransaction(id) === true)
    );
  }

  #withoutCopied(boundary: TransactionBoundary): DecodedRecord {
    const copied = this.#collections;
    if (copied === null) return passedOver(boundary);
    if (boundary.counts === null) return boundary;
    const others = [...boundary.counts].filter(([collection]) => !copied.has(collection));
    return { ...boundary, counts: new Map(others) };
  }

  #isCopied(change: ChangeEvent): boolean {
    return this.#collections === null || this.#tableSource(change) !== undefined;
  }

  #copied(change: ChangeEvent): boolean {
    if (!this.#before(change)) return false;
    if (change.snapshot !== 'no') return this.#readBefore(change);
    const source = this.#tableSource(change);
    return source !== undefined && sees(source, change);
  }

  /**
   * A row read by a snapshot of Debezium's. An incremental one does not say when it was read; the
   * stream between H and E makes up for all of its rows.
   */
  #readBefore(change: ChangeEvent): boolean {
    const source = this.#tableSource(change);
    if (source === undefined) return false;
    const place = logPosition(change.source);
    return change.snapshot === 'incremental' || place === null || place < source.marker;
  }

  #tableSource(change: ChangeEvent): Source | undefined {
    return this.#sourceAt(change.table);
  }

  /** A partition's rows are copied with its root. */
  #sourceAt(table: TableId): Source | undefined {
    const root = this.#catalogue.get(tableName(table))?.partitionOf ?? table;
    return this.#sourceOf.get(tableName(root));
  }

  #before({ at }: ChangeEvent | TransactionBoundary): boolean {
    return at.offset < (this.#ends.get(partitionKey(at.topic, at.partition)) ?? 0n);
  }
}

/**
 * Of numbered transactions by their position too: of ids alone, those of two billion transactions later
 * may look the same.
 */
function sees(source: Source, change: ChangeEvent): boolean {
  const seen = source.view.sees(change.source);
  if (seen === null) {
    const what = 'the record does not say its transaction: the copy may have it, or not';
    throw new UnderstudyError('UNSUPPORTED', what, {
      ...{ ...change.at, table: tableName(change.table) },
      detail: 'a trunk that is filled from production needs the fields of `source`',
    });
  }
  // Another server's place, after a failover, says nothing of what its GTIDs say.
  if (!('lsn' in change.source)) return seen;
  const place = logPosition(change.source);
  return (place === null || place < source.marker) && seen;
}

function passedOver(record: ChangeEvent | TransactionBoundary): DecodedRecord {
  return { kind: 'ignored', at: record.at, eventTimeMs: record.eventTimeMs };
}

/** Whether a database that stands at `position` has left the hand-over behind. */
export function isHandedOver(ends: OffsetMap, position: OffsetMap): boolean {
  return [...ends].every(([partition, end]) => (position.get(partition) ?? 0n) >= end);
}
