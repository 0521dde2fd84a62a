/**
 * The engine-free part of the overlay's torture: production's changes, how long it goes on, and what must
 * be there then. See overlay-scenario.ts (PostgreSQL) and overlay-binlog.ts (MySQL, MariaDB).
 */
import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { Random } from './random.ts';

/** Keys that all fight for. */
export const HOT_KEYS = 50;

/** The columns of the table `hot` beside its key. */
export interface HotRow {
  readonly a: string;
  readonly b: string;
  readonly c: string | null;
}

/** One net change of production: the row it has afterwards, or none. */
export interface HotChange {
  readonly id: number;
  readonly row: HotRow | null;
  /** Only `b` is sent; the rest is kept from the row `from`. */
  readonly partial: boolean;
  readonly from: number;
}

/** Of the column `c`, where it is unique: both sides give rows values from these. */
export const SHARED_VALUES = Array.from({ length: 40 }, (_, i) => `u${String(i)}`);

export interface FireOptions {
  readonly serverUrl: string;
  readonly database: string;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly note: (line: string) => void;
  /** Milliseconds of fire. */
  readonly durationMs: number;
  /** How long a writer rests at most between two transactions. Default 12. */
  readonly restMs?: number;
  /** `c` is unique: production’s rows take values that rows of the candidate hold. */
  readonly unique?: boolean;
  /** Some transactions of the candidate stay idle for up to so long, at what they wrote. Default: none. */
  readonly idleMs?: number;
}

/** Of the candidate's transactions, where any stay idle. */
export const IDLE = 0.15;

/** What an engine has for it. */
export interface FireParts {
  /**
   * Applies the changes as one batch and commits. False if it gave way to a candidate and wrote nothing:
   * then it is called again with the same batch.
   */
  apply(changes: readonly HotChange[]): Promise<boolean>;
  /** Gives rows of the candidate up, or gives way. */
  release(random: Random): Promise<void>;
  /** When nobody writes any more: gives up all that is production's again. */
  sweep(): Promise<void>;
  /** How many entries there are of which nothing is left. */
  empty(): Promise<number>;
  /** One writer of the candidate; ends when the fire is over. */
  write(random: Random): Promise<void>;
  /** Whether all is as it must be, in one snapshot, so that it may be asked while others write. */
  check(settled?: boolean): Promise<void>;
}

/** A session of the candidate. */
export interface Writer {
  readonly begin: () => Promise<unknown>;
  readonly run: (sql: string) => Promise<unknown>;
  /** Writes something, and logs it. */
  readonly statement: () => Promise<void>;
  /** What concurrent sessions may do to each other; anything else fails the seed. */
  readonly isCollision: (error: unknown) => boolean;
}

const ROLLBACK = 0.3;

/** What a candidate did last to a row, as its log has it. */
export interface LastWrite extends HotRow {
  readonly id: number;
  readonly kind: string;
}

export class Fire {
  readonly #options: FireOptions;
  readonly #production = new Map<number, HotRow>();
  /** Of each key, what production had, since how many batches. */
  readonly #former = new Map<number, { readonly since: number; readonly row: HotRow | null }[]>();
  #batches = 0;
  /** What the candidate last meant to give each row. */
  readonly #meant = new Map<number, string>();
  #over = false;
  #serial = 0;
  checks = 0;
  /** Of the candidate: transactions that came to their end, and those that did not, by the server's word. */
  ended = 0;
  readonly collisions = new Map<string, number>();

  constructor(options: FireOptions) {
    this.#options = options;
  }

  get stopped(): boolean {
    return this.#over || this.#options.signal.aborted;
  }

  /** A value that was never there. */
  #value(prefix: string): string {
    this.#serial += 1;
    return `${prefix}${String(this.#serial)}`;
  }

  /** One that the candidate gives a row. Production may come to the same. */
  meant(id: number): string {
    const value = this.#value('w');
    this.#meant.set(id, value);
    return value;
  }

  #theirs(id: number, random: Random): string {
    const meant = random.chance(0.4) ? this.#meant.get(id) : undefined;
    return meant ?? this.#value('p');
  }

  async play(parts: FireParts, writers: number): Promise<void> {
    const { random, durationMs } = this.#options;
    const sources = Array.from({ length: writers }, () => random.fork());
    const stream = random.fork();
    const timer = setTimeout(() => (this.#over = true), durationMs);
    const untilEnd = async (work: Promise<void>): Promise<void> => {
      try {
        await work;
      } finally {
        this.#over = true;
      }
    };
    try {
      await Promise.all([
        untilEnd(this.#stream(parts, stream)),
        ...sources.map((source) => untilEnd(parts.write(source))),
      ]);
    } finally {
      this.#over = true;
      clearTimeout(timer);
    }
    await parts.check();
    await parts.sweep();
    await parts.check(true);
    strictEqual(await parts.empty(), 0, 'after a sweep the journal is exactly the difference');
  }

  /** Transactions one after another, with savepoints and rollbacks, until it is over. */
  async write(random: Random, writer: Writer): Promise<void> {
    while (!this.stopped) {
      await pause(random.integer(0, this.#options.restMs ?? 12));
      try {
        await writer.begin();
        for (let i = random.integer(1, 3); i > 0; i -= 1) {
          const undo = random.chance(0.2);
          if (undo || random.chance(0.2)) await writer.run('SAVEPOINT part');
          await writer.statement();
          if (undo) await writer.run('ROLLBACK TO SAVEPOINT part');
          if (random.chance(0.3)) await pause(random.integer(0, 4));
        }
        const { idleMs = 0 } = this.#options;
        if (idleMs > 0 && random.chance(IDLE)) await pause(random.integer(0, idleMs));
        await writer.run(random.chance(ROLLBACK) ? 'ROLLBACK' : 'COMMIT');
        this.ended += 1;
      } catch (error) {
        if (!writer.isCollision(error)) throw error;
        const { errno, code } = error as { readonly errno?: number; readonly code?: string };
        const name = String(errno ?? code);
        this.collisions.set(name, (this.collisions.get(name) ?? 0) + 1);
        await writer.run('ROLLBACK');
      }
    }
  }

  async #stream(parts: FireParts, random: Random): Promise<void> {
    while (!this.stopped) {
      const { changes, next } = this.#nextBatch(random);
      if (!(await this.#untilDone(() => parts.apply(changes)))) return;
      this.#become(next);
      // Before each release, which would heal what is wrong.
      await parts.check();
      // Owned rows cannot be fought for: only giving most of them up again keeps the race alive.
      for (let i = random.integer(0, 3); i > 0; i -= 1) await parts.release(random);
      await pause(random.integer(0, 3));
    }
  }

  #become(next: ReadonlyMap<number, HotRow>): void {
    this.#batches += 1;
    for (const id of new Set([...this.#production.keys(), ...next.keys()])) {
      const row = next.get(id) ?? null;
      if (isEqual(this.#production.get(id) ?? null, row)) continue;
      const former = this.#former.get(id) ?? [{ since: 0, row: null }];
      this.#former.set(id, [...former, { since: this.#batches, row }]);
    }
    this.#production.clear();
    for (const [id, row] of next) this.#production.set(id, row);
  }

  /** Whether production had this row (or none) at some time since a batch, as far as `shown` shows it. */
  had(id: number, row: HotRow | null, { since = 0, shown = whole }: Had = {}): boolean {
    const former = this.#former.get(id) ?? [{ since: 0, row: null }];
    return former.some(
      (one, i) =>
        (former[i + 1]?.since ?? Infinity) > since &&
        isEqual(show(one.row, shown), show(row, shown)),
    );
  }

  /** Repeats an act while it gives way. False if the time was over first: then it did nothing. */
  async #untilDone(act: () => Promise<boolean>): Promise<boolean> {
    while (!(await act())) {
      if (this.stopped) return false;
      await pause(1);
    }
    return true;
  }

  #nextBatch(random: Random): {
    readonly changes: readonly HotChange[];
    readonly next: ReadonlyMap<number, HotRow>;
  } {
    const next = new Map(this.#production);
    const used = new Set<number>();
    const changes: HotChange[] = [];
    for (let i = random.integer(1, 25); i > 0; i -= 1) {
      const id = random.integer(1, HOT_KEYS);
      if (used.has(id)) continue;
      used.add(id);
      const before = next.get(id);
      const choice = random.next();
      if (before !== undefined && choice < 0.25) {
        next.delete(id);
        changes.push({ id, row: null, partial: false, from: id });
      } else if (before !== undefined && choice < 0.5) {
        const row = { ...before, b: this.#theirs(id, random) };
        next.set(id, row);
        changes.push({ id, row, partial: true, from: id });
      } else if (before !== undefined && choice < 0.6) {
        const to = random.integer(1, HOT_KEYS);
        if (used.has(to) || next.has(to)) continue;
        used.add(to);
        const row = { ...before, b: this.#theirs(to, random) };
        next.delete(id);
        next.set(to, row);
        changes.push({ id, row: null, partial: false, from: id });
        changes.push({ id: to, row, partial: true, from: id });
      } else {
        const row = random.chance(0.3)
          ? { a: `${random.integer(6, 9)}`, b: this.#theirs(id, random), c: null }
          : { a: `${random.integer(0, 9)}`, b: this.#value('p'), c: this.#value('c') };
        if (this.#options.unique === true && row.c !== null) {
          const c = random.pick(SHARED_VALUES);
          const other = [...next].find(([key, held]) => held.c === c && key !== id);
          if (other !== undefined) {
            // Rows may exchange their values, as long as each is written once.
            if (used.has(other[0])) continue;
            used.add(other[0]);
            const given = { ...other[1], c: before?.c ?? null };
            next.set(other[0], given);
            changes.push({ id: other[0], row: given, partial: false, from: other[0] });
          }
          row.c = c;
        }
        next.set(id, row);
        changes.push({ id, row, partial: false, from: id });
      }
    }
    return { changes, next };
  }

  /** Of one snapshot: what is read as production's image, what is seen, the entries, and the log. */
  judge(found: {
    readonly image: readonly (readonly [number, HotRow])[];
    readonly visible: readonly (readonly [number, HotRow])[];
    readonly entries: readonly number[];
    readonly log: readonly LastWrite[];
    /** Keys of rows that are kept out. */
    readonly blocked?: readonly number[];
    /** Keys that wait. */
    readonly waiting?: readonly number[];
    /** Nobody writes, and all was tried again. */
    readonly settled?: boolean;
    /** Of a row what the candidate's table has a column for; all of it, if not said. */
    readonly shown?: Shown;
    /** Whether the candidate's table refuses the row by itself; nothing, if not said. */
    readonly refuses?: (row: HotRow) => boolean;
    /** Whether one row keeps another out; by default if they have the same `c`. */
    readonly collide?: (one: HotRow, other: HotRow) => boolean;
    /** Of rows that are kept out: what is seen instead is what the candidate had there when it was taken back. */
    readonly takenBack?: (id: number, seen: HotRow) => boolean;
  }): void {
    const { shown = whole, collide = (one, other) => one.c === other.c } = found;
    deepStrictEqual(found.image, sorted(this.#production), 'the base view is production’s image');
    const owned = new Map<number, HotRow | null>();
    for (const { id, kind, a, b, c } of found.log) {
      if (kind !== 'released') owned.set(id, kind === 'delete' ? null : shown({ a, b, c }));
    }
    const visible = new Map([...this.#production].map(([id, row]) => [id, shown(row)] as const));
    const { blocked = [], waiting = [] } = found;
    const seen = new Map(found.visible);
    const isStale = (id: number, why: string): void => {
      const stale = seen.get(id);
      if (stale === undefined) visible.delete(id);
      else {
        const was =
          this.had(id, stale, { shown }) ||
          (blocked.includes(id) && found.takenBack?.(id, stale) === true);
        strictEqual(was, true, `row ${String(id)}, which ${why}, is as production had it`);
        visible.set(id, stale);
      }
    };
    if (found.settled === true) deepStrictEqual(waiting, [], 'when nobody writes, no key waits');
    for (const id of waiting) if (!owned.has(id)) isStale(id, 'waits');
    for (const id of blocked) {
      strictEqual(owned.has(id), false, `row ${String(id)} is kept out, and nobody’s`);
      isStale(id, 'is kept out');
      if (found.settled !== true) continue;
      const wanted = this.#production.get(id);
      const isHeld =
        wanted !== undefined &&
        found.visible.some(([key, row]) => key !== id && collide(row, wanted));
      const isRefused = wanted !== undefined && found.refuses?.(wanted) === true;
      strictEqual(isHeld || isRefused, true, `something keeps row ${String(id)} out`);
    }
    for (const [id, row] of owned) {
      if (row === null) visible.delete(id);
      else visible.set(id, row);
    }
    deepStrictEqual(
      found.visible,
      sorted(visible),
      'the candidate sees what it wrote, and production’s rows beside it',
    );
    deepStrictEqual(
      found.entries,
      [...owned.keys(), ...blocked].sort((x, y) => x - y),
      'an entry exists exactly for rows that are owned or kept out',
    );
    this.checks += 1;
  }
}

/** Of a row what there is to be seen of it. */
export type Shown = (row: HotRow) => HotRow;

interface Had {
  /** How many batches there were. */
  readonly since?: number;
  readonly shown?: Shown;
}

const whole: Shown = (row) => row;

function show(row: HotRow | null, shown: Shown): HotRow | null {
  return row === null ? null : shown(row);
}

export function isEqual(one: HotRow | null, other: HotRow | null): boolean {
  if (one === null || other === null) return one === other;
  return one.a === other.a && one.b === other.b && one.c === other.c;
}

function sorted(rows: ReadonlyMap<number, HotRow>): readonly (readonly [number, HotRow])[] {
  return [...rows].sort(([x], [y]) => x - y).map(([id, { a, b, c }]) => [id, { a, b, c }] as const);
}
