/**
 * Tells transactions apart to which production gave one id. A server that was restored, of which the
 * binlog was reset, or that took over without the last commits of the one before, uses ids again;
 * PostgreSQL does when its 32 bits are used up. Without this the rows of such a transaction would be
 * taken for a second delivery of the first, and be passed over in silence.
 *
 * What tells is the time in production: a second delivery repeats it, whichever server is read. (Places
 * in the log do not serve: another server's binlog has others for the same transaction.) PostgreSQL's
 * records all have the commit's. Those of a binlog may have their statement's, so that they count up to
 * the END's; its BEGIN may have that of whatever was read before, so that what follows it decides.
 *
 * A second use of an id gets a name of its own (`id@time`), which its records carry from here on.
 *
 * Not told apart: records without a time; uses less than two seconds apart; of a binlog, a second use
 * of which records come before the END of the first does, or when the first was given up without one.
 */
import type { ChangeEvent, TransactionBoundary } from '../change/record.ts';
import { deleteOldest, REMEMBERED_IDS } from './recent-ids.ts';

/** `ended`: its END came, so that no record of it is later. `whole`: all records of it came. */
type State = 'open' | 'ended' | 'whole';

/** From the first to the last time of its records, epoch milliseconds. */
export type Times = readonly [firstMs: number, lastMs: number, state: State];

interface Use {
  readonly name: string;
  firstMs: number;
  lastMs: number;
  state: State;
  /** An earlier use of the id. */
  readonly before: Use | null;
}

/** A BEGIN that waits: its name may change. */
type Named = { id: string } & Omit<TransactionBoundary, 'id'>;

/** DDL has a BEGIN on some servers, and never an END. */
const MOST_BEGUN = 1_000;

/** Servers and versions of the connector round the time of a commit differently. */
const SLACK_MS = 2_000;

export class ReusedIds {
  /** By id, the latest use of it. */
  readonly #uses = new Map<string, Use>();
  /** The records' times are their commits'. Known by the first change that comes. */
  #exact = false;
  /** By id, BEGINs of which the use was guessed, until their END. */
  readonly #begun = new Map<string, readonly Named[]>();

  /** Learns what was stored of a use, in the order in which it was. No times: whatever comes is of it. */
  learn(name: string, times: Times | null): void {
    const known = this.#named(name);
    if (times === null && known !== undefined) return;
    const [firstMs, lastMs, state] = times ?? [Infinity, -Infinity, 'whole'];
    const use = known ?? this.#add(idOf(name), name);
    widen(use, firstMs, lastMs);
    if (use.state !== 'whole') use.state = state;
  }

  /** The change, with the name of its transaction. */
  change(event: ChangeEvent): ChangeEvent {
    const { transaction, eventTimeMs } = event;
    if (transaction === null) return event;
    if ('lsn' in event.source && event.op !== 'unread') this.#isExact();
    const use = this.#useOf(transaction.id, eventTimeMs, 'change');
    if (use.name === transaction.id) return event;
    return { ...event, transaction: { ...transaction, id: use.name } };
  }

  /**
   * The boundary, with the name of its transaction. That of a BEGIN may change while it waits, where its
   * time tells little and what comes then tells more.
   */
  boundary(record: TransactionBoundary): TransactionBoundary {
    const { kind, id, eventTimeMs } = record;
    // PostgreSQL's alone tell it.
    if (record.committedAt !== undefined) this.#isExact();
    const use = this.#useOf(id, eventTimeMs, kind);
    if (kind === 'begin' && !this.#exact) {
      const named = { ...record, id: use.name };
      this.#begun.set(id, [...(this.#begun.get(id) ?? []), named]);
      if (this.#begun.size > MOST_BEGUN) deleteOldest(this.#begun);
      return named;
    }
    if (kind === 'end') {
      if (eventTimeMs !== null && use.state === 'open') use.state = 'ended';
      this.#settle(id, use);
    }
    return use.name === id ? record : { ...record, id: use.name };
  }

  /** Of this use it is known now: the BEGINs that are of it get its name. */
  #settle(id: string, use: Use): void {
    for (const begin of this.#begun.get(id) ?? []) begin.id = use.name;
    this.#begun.delete(id);
  }

  /** It went whole: what is outside of its times is of another use from now on. */
  whole(name: string): void {
    const use = this.#named(name);
    if (use !== undefined) use.state = 'whole';
  }

  /** Null where no record of it told its time. */
  timesOf(name: string): Times | null {
    const use = this.#named(name);
    return use === undefined || isUntimed(use) ? null : [use.firstMs, use.lastMs, use.state];
  }

  /** What BEGINs told counts, too. */
  #isExact(): void {
    if (this.#exact) return;
    this.#exact = true;
    for (const [id, begun] of this.#begun) {
      for (const begin of begun) begin.id = this.#useOf(id, begin.eventTimeMs, 'begin').name;
    }
    this.#begun.clear();
  }

  #useOf(id: string, timeMs: number | null, kind: 'change' | 'begin' | 'end'): Use {
    const latest = this.#uses.get(id);
    if (timeMs === null) return latest ?? this.#add(id, id);
    for (let use = latest ?? null; use !== null; use = use.before) {
      if (!covers(use, timeMs)) continue;
      this.#came(use, timeMs, kind);
      return use;
    }
    const takes = latest !== undefined && this.#takes(latest, timeMs, kind);
    const use = takes ? latest : this.#add(id, latest === undefined ? id : `${id}@${timeMs}`);
    this.#came(use, timeMs, kind);
    if (!takes && kind === 'change') this.#settle(id, use);
    return use;
  }

  /** Can the latest use have a record of a time that no record of it had yet? */
  #takes(use: Use, timeMs: number, kind: 'change' | 'begin' | 'end'): boolean {
    if (isUntimed(use)) return true;
    if (this.#exact) return false;
    if (use.state === 'open') return true;
    return timeMs <= use.lastMs && (use.state === 'ended' || kind === 'begin');
  }

  #came(use: Use, timeMs: number, kind: 'change' | 'begin' | 'end'): void {
    if (use.state === 'whole' || (kind === 'begin' && !this.#exact)) return;
    widen(use, timeMs, timeMs);
  }

  #named(name: string): Use | undefined {
    let use = this.#uses.get(idOf(name)) ?? null;
    while (use !== null && use.name !== name) use = use.before;
    return use ?? undefined;
  }

  #add(id: string, name: string): Use {
    const before = this.#uses.get(id) ?? null;
    const times = { firstMs: Infinity, lastMs: -Infinity };
    const use: Use = { name, ...times, state: 'open', before };
    this.#uses.delete(id);
    this.#uses.set(id, use);
    if (this.#uses.size > REMEMBERED_IDS) deleteOldest(this.#uses);
    return use;
  }
}

function covers({ firstMs, lastMs }: Use, timeMs: number): boolean {
  return timeMs >= firstMs - SLACK_MS && timeMs <= lastMs + SLACK_MS;
}

function widen(use: Use, firstMs: number, lastMs: number): void {
  use.firstMs = Math.min(use.firstMs, firstMs);
  use.lastMs = Math.max(use.lastMs, lastMs);
}

function isUntimed({ firstMs, lastMs }: Use): boolean {
  return firstMs > lastMs;
}

/** Production's id in a name. None of its own ends like this. */
function idOf(name: string): string {
  return name.replace(/@\d+$/, '');
}

const TIMED = / (\d+)(?:-(\d+))?$/;

/** As a transaction that went whole is stored: by its name alone where no time is known. */
export function wholeText(name: string, times: Times | null): string {
  if (times === null) return name;
  const [firstMs, lastMs] = times;
  return `${name} ${firstMs}${lastMs === firstMs ? '' : `-${lastMs}`}`;
}

/** The reverse. Of before times were stored there are names alone. */
export function parseWhole(text: string): { readonly name: string; readonly times: Times | null } {
  const match = TIMED.exec(text);
  if (match === null) return { name: text, times: null };
  const [, first, last = first] = match;
  return { name: text.slice(0, match.index), times: [Number(first), Number(last), 'whole'] };
}
