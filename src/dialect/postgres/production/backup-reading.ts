/**
 * Which transactions of the event log a backup holds, by its LSN.
 *
 * A backup that was recovered to an LSN holds a transaction if and only if the record of its commit
 * ends at or before it. Rows do not tell their own commit, but the one before it in the stream
 * (`lastCommitLsn`, as Debezium and decoding have it: transactions come in the order of their
 * commits). So of all last commits at or before the LSN let C be the highest: rows that name a lower
 * one are of transactions that committed at C or before, and those that name C of the next one, beyond
 * the LSN; an END that tells its own commit has the last word on that. A row without a last commit is
 * of the first transaction of its stream: it had committed by C if it began before.
 *
 * A dump holds what its snapshot sees, which is not told by an LSN alone: a transaction's commit may
 * be in the log and hidden still. There the snapshot is given beside it.
 */
import type { ChangeEvent, DecodedRecord } from '../../../change/record.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { BackupReading, BackupView } from '../../backup.ts';
import type { SnapshotView } from '../../dialect.ts';
import { parseLsn } from './pin.ts';
import { parseSnapshot, widen } from './snapshot.ts';

const POSITION = /^([0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8})(?:\s+(\d+:\d+:[\d,]*))?$/;
/** So that ids before it, of the epoch before, are no negative numbers. */
const SOME_EPOCH = 1n << 32n;
/** ENDs that are kept at most before those behind C are forgotten. */
const ENDS_KEPT = 1_000;

/** CONFIG_INVALID unless it is an LSN, or an LSN and a snapshot (`pg_current_snapshot()`). */
export function readBackup(position: string): BackupReading {
  const [, lsn, snapshot] = POSITION.exec(position.trim()) ?? [];
  if (lsn === undefined) {
    throw new UnderstudyError('CONFIG_INVALID', 'trunk.backupPosition is no place of PostgreSQL', {
      detail: 'expected an LSN like 0/16B3740, of a dump with its snapshot: 0/16B3740 730:735:731',
    });
  }
  const place = parseLsn(lsn);
  return snapshot === undefined ? new LsnReading(place) : new DumpReading(place, snapshot);
}

/** What both kinds note of the records. */
class Notes {
  readonly #place: bigint;
  reaches = false;
  latestMs: number | null = null;

  constructor(place: bigint) {
    this.#place = place;
  }

  /** A row that a snapshot of Debezium's sent tells since when there is a stream, as any change does. */
  came({ source }: ChangeEvent): void {
    if ('lsn' in source && source.lsn !== null && source.lsn < this.#place) this.reaches = true;
  }

  holds(ms: number | null): void {
    if (ms !== null && ms > (this.latestMs ?? ms - 1)) this.latestMs = ms;
  }
}

class DumpReading implements BackupReading {
  readonly #place: bigint;
  readonly #seen: SnapshotView;
  readonly #notes: Notes;

  constructor(place: bigint, snapshot: string) {
    this.#place = place;
    this.#seen = parseSnapshot(snapshot);
    this.#notes = new Notes(place);
  }

  take(record: DecodedRecord): void {
    if (record.kind !== 'change') return;
    this.#notes.came(record);
    const { snapshot, source, eventTimeMs } = record;
    if (snapshot === 'no' && this.#seen.sees(source) === true) this.#notes.holds(eventTimeMs);
  }

  view(): BackupView {
    const { reaches, latestMs } = this.#notes;
    return { snapshot: this.#seen.snapshot, marker: this.#place, reaches, latestMs };
  }
}

/** A transaction of which is not known yet whether the backup holds it. */
interface Open {
  /** Of the last row that came. */
  lsn: bigint;
  ms: number | null;
}

class LsnReading implements BackupReading {
  readonly #place: bigint;
  readonly #notes: Notes;
  /** C, as far as the log was read. */
  #last: bigint | null = null;
  /** Rows whose last commit is C; and those that name none. By their ids, made wide. */
  #next = new Map<bigint, Open>();
  readonly #first = new Map<bigint, Open>();
  /** By ENDs: commits at or before the place, and at least those behind C. */
  readonly #ended = new Map<bigint, bigint>();
  /** The highest id that the backup holds, and all that it does not. */
  #highest: bigint | null = null;
  readonly #beyond = new Set<bigint>();
  #near: bigint | null = null;

  constructor(place: bigint) {
    this.#place = place;
    this.#notes = new Notes(place);
  }

  take(record: DecodedRecord): void {
    if (record.kind === 'change') this.#change(record);
    if (record.kind !== 'end' || record.committedAt === undefined) return;
    if (!/^\d+$/.test(record.id)) return;
    const id = this.#wide(Number(record.id));
    if (record.committedAt > this.#place) this.#beyond.add(id);
    else {
      this.#hold(id, record.eventTimeMs);
      this.#ended.set(id, record.committedAt);
      if (this.#ended.size > ENDS_KEPT) this.#forgetEnds();
    }
  }

  view(): BackupView {
    for (const [id, open] of this.#next) this.#settle(id, open, false);
    // Without C nothing tells that the first one had committed.
    for (const [id, open] of this.#first) {
      this.#settle(id, open, this.#last !== null && this.#last > open.lsn);
    }
    this.#next.clear();
    this.#first.clear();
    const xmax = (this.#highest ?? this.#lowestBeyond() - 1n) + 1n;
    const running = [...this.#beyond].filter((id) => id < xmax).sort((a, b) => (a < b ? -1 : 1));
    const { reaches, latestMs } = this.#notes;
    const snapshot = `${String(running[0] ?? xmax)}:${String(xmax)}:${running.join(',')}`;
    return { snapshot, marker: this.#place, reaches, latestMs };
  }

  #change(change: ChangeEvent): void {
    this.#notes.came(change);
    const { source, eventTimeMs: ms } = change;
    if (!('lsn' in source) || change.snapshot !== 'no') return;
    const { lsn, txId, lastCommitLsn } = source;
    if (lsn === null || txId === null) return;
    const id = this.#wide(txId);
    const last = lastCommitLsn ?? 0n;
    // Also where the row itself is beyond: it tells that the one before it is not.
    if (last > (this.#last ?? 0n) && last <= this.#place) this.#moveTo(last);
    if (lsn >= this.#place || last > this.#place) this.#beyond.add(id);
    else if (lastCommitLsn === null) note(this.#first, id, { lsn, ms });
    else if (this.#last !== null && last < this.#last) this.#hold(id, ms);
    else note(this.#next, id, { lsn, ms });
  }

  /** What named a lower one than C has committed by C. */
  #moveTo(last: bigint): void {
    this.#last = last;
    for (const [id, { ms }] of this.#next) this.#hold(id, ms);
    this.#next = new Map();
  }

  #settle(id: bigint, { ms }: Open, held: boolean): void {
    if (held || this.#ended.has(id)) this.#hold(id, ms);
    else this.#beyond.add(id);
  }

  #hold(id: bigint, ms: number | null): void {
    this.#notes.holds(ms);
    if (this.#highest === null || id > this.#highest) this.#highest = id;
  }

  #forgetEnds(): void {
    for (const [id, at] of this.#ended) {
      if (at <= (this.#last ?? 0n) && !this.#first.has(id)) this.#ended.delete(id);
    }
  }

  #lowestBeyond(): bigint {
    let lowest: bigint | null = null;
    for (const id of this.#beyond) if (lowest === null || id < lowest) lowest = id;
    return lowest ?? SOME_EPOCH;
  }

  #wide(txId: number): bigint {
    this.#near ??= SOME_EPOCH + BigInt(txId);
    return widen(txId, this.#near);
  }
}

function note(open: Map<bigint, Open>, id: bigint, { lsn, ms }: Open): void {
  const known = open.get(id);
  if (known === undefined) open.set(id, { lsn, ms });
  else if (lsn > known.lsn) known.lsn = lsn;
}
