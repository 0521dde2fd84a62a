/**
 * Keys of a batch whose rows a transaction of the candidate holds come to wait (dialect/waiting.ts), and the
 * rest is written.
 *
 * What is locked is found in two ways. Rows and entries that can be seen are asked for by `SKIP LOCKED`, which
 * waits for none. What cannot be seen, as a row that the candidate inserted and did not commit, shows only in a
 * write that waits for it: such keys are found by halving what is left, each half written and undone. Both may
 * find too many, since a lock of a moment looks like one of an hour, and since the search ends when its time is
 * over; that a key waits for nothing is no error, but a short delay. Where keys turn out to be locked time and
 * again, all that is left waits.
 *
 * What waits is written to a table on which the candidate has no right, so that it never waits for a lock.
 */
import type { ClientBase } from 'pg';
import { isUnderstudyError } from '../../../errors/understudy-error.ts';
import { steadyNow } from '../../../util/clock.ts';
import { beginWaiting, type WaitingTables } from '../overlay/waiting.ts';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';
import { relation, waitingId } from '../session/names.ts';
import { queryAll } from '../session/query-all.ts';
import { clearStage, fillStage, markOwned } from './apply-sql.ts';
import type { ApplyTable } from './apply-table.ts';
import { StepLedgers } from './ledgers.ts';
import { ensureStages, stageRelation } from './stage.ts';
import type { StepContext, StepOutcome } from './step.ts';
import * as sql from './waiting-sql.ts';

/** Tries after which all that is left waits. */
const ROUNDS = 5;
/** How long keys are searched that cannot be seen; a candidate may wait for us meanwhile. */
const SEARCH_MS = 500;
/** How long the search waits for a lock. */
const PROBE_TIMEOUT = '10ms';

const SAVEPOINT = 'understudy_park';
const PROBE = 'understudy_probe';

/** Somebody holds a lock, waits for one of ours, or moved the row: it may pass by itself. */
function isLocked(error: unknown): boolean {
  const { lockNotAvailable, deadlockDetected, serializationFailure } = SQLSTATE;
  return (
    isUnderstudyError(error, 'APPLY_BLOCKED') ||
    hasSqlState(error, lockNotAvailable, deadlockDetected, serializationFailure)
  );
}

/** With where its keys wait, if any may. */
export function withWaiting(table: ApplyTable, waiting: WaitingTables | null): ApplyTable {
  if (table.journal === null || waiting?.tables.has(table.label) !== true) return table;
  return { ...table, waiting: relation(waitingId(table.schema.id)) };
}

/** Runs an act within a savepoint. Null if it met a lock, and is undone. */
export async function attempt<T>(client: ClientBase, act: () => Promise<T>): Promise<T | null> {
  await client.query(`SAVEPOINT ${SAVEPOINT}`);
  let done: T;
  try {
    done = await act();
  } catch (error) {
    if (!isLocked(error)) throw error;
    await client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}; RELEASE SAVEPOINT ${SAVEPOINT}`);
    return null;
  }
  await client.query(`RELEASE SAVEPOINT ${SAVEPOINT}`);
  return done;
}

/** The numbers (seq) of what is staged that somebody holds, as far as that can be seen. Holds no lock afterwards. */
export async function findLocked(
  client: ClientBase,
  table: ApplyTable,
): Promise<readonly number[]> {
  await client.query(`SAVEPOINT ${PROBE}`);
  let locked: readonly number[] = [];
  try {
    const [, rows, entries] = await queryAll(client, [
      markOwned(table),
      sql.findLockedRows(table),
      sql.findLockedEntries(table),
    ]);
    const found = [...(rows?.rows ?? []), ...(entries?.rows ?? [])] as { readonly seq: number }[];
    locked = [...new Set(found.map(({ seq }) => seq))];
  } catch (error) {
    // A row that was moved to another partition meanwhile.
    if (!isLocked(error)) throw error;
  }
  await client.query(`ROLLBACK TO SAVEPOINT ${PROBE}; RELEASE SAVEPOINT ${PROBE}`);
  return locked;
}

/** Those that are found by trying: what is staged is as before then. `write` writes what is staged. */
export async function searchLocked(
  client: ClientBase,
  table: ApplyTable,
  write: () => Promise<unknown>,
  searchMs = SEARCH_MS,
): Promise<readonly number[]> {
  const { rows } = await client.query<{ seq: number }>(
    `SELECT s.seq FROM ${stageRelation(table)} s ORDER BY s.seq`,
  );
  const until = steadyNow() + searchMs;
  const locked: number[] = [];
  const can = async (seqs: readonly number[]): Promise<boolean> => {
    await client.query(`SAVEPOINT ${PROBE}; SET LOCAL lock_timeout = '${PROBE_TIMEOUT}'`);
    try {
      const [first, last] = [seqs.at(0), seqs.at(-1)];
      const kept = first === undefined || last === undefined ? null : ([first, last] as const);
      await client.query(sql.keepStaged(table, kept));
      await write();
      return true;
    } catch (error) {
      if (!isLocked(error)) throw error;
      return false;
    } finally {
      await client.query(`ROLLBACK TO SAVEPOINT ${PROBE}; RELEASE SAVEPOINT ${PROBE}`);
    }
  };
  const all = rows.map(({ seq }) => seq);
  // The table itself is held, and each key of it.
  if (!(await can([]))) return all;
  const search = async (seqs: readonly number[], isKnown: boolean): Promise<void> => {
    if (seqs.length === 0) return;
    if (steadyNow() > until) {
      locked.push(...seqs);
      return;
    }
    if (!isKnown && (await can(seqs))) return;
    if (seqs.length === 1) {
      locked.push(...seqs);
      return;
    }
    const middle = seqs.length >>> 1;
    await search(seqs.slice(0, middle), false);
    await search(seqs.slice(middle), false);
  };
  await search(all, all.length > 1);
  return locked;
}

/** One step's keys: those that wait already, and those that come to. */
export class KeyParking {
  readonly #context: StepContext;
  readonly #client: ClientBase;
  readonly #table: ApplyTable;
  readonly #waiting: WaitingTables;
  readonly #doubts: number;
  /** Keys that wait now, and were written by this step otherwise. */
  parked = 0;

  constructor(
    context: StepContext & { readonly waiting: WaitingTables },
    table: ApplyTable,
    doubts: number,
  ) {
    this.#context = context;
    this.#client = context.client;
    this.#table = table;
    this.#waiting = context.waiting;
    this.#doubts = doubts;
  }

  /**
   * Takes what is staged of keys that wait to where they wait: nothing goes past it. What is staged was
   * completed from there as far as it moves a key or is judged.
   */
  async follow(): Promise<void> {
    if (this.#table.waiting !== null) await this.#park(sql.waitsAlready(this.#table));
  }

  /** Writes what is staged, but for keys that somebody holds: these wait. */
  async write(write: () => Promise<StepOutcome>): Promise<StepOutcome> {
    const [client, table] = [this.#client, this.#table];
    for (let round = 0; round < ROUNDS; round += 1) {
      const outcome = await attempt(client, write);
      if (outcome !== null) return outcome;
      const seen = round === 0 ? await findLocked(client, table) : [];
      const locked = seen.length > 0 ? seen : await searchLocked(client, table, write);
      if (locked.length > 0) await this.#park(`s.seq IN (${locked.join(', ')})`);
    }
    await this.#park('true');
    return { rows: 0, owned: 0, repairs: 0 };
  }

  async #park(which: string): Promise<void> {
    const client = this.#client;
    const table = this.#table;
    const aside: ApplyTable = { ...table, aside: true };
    await ensureStages(client, [aside], { known: new Set(), used: new Set(), made: new Set() });
    await client.query(clearStage(aside));
    const moved = await client.query(sql.moveAside(table, aside, which));
    const keys = moved.rowCount ?? 0;
    if (keys === 0) return;
    const ledgers = new StepLedgers(this.#context, aside, this.#doubts);
    await this.#fill(aside, ledgers);
    await beginWaiting(client, table, this.#context.visible.has(table.label));
    await client.query(sql.saveWaiting(aside));
    await ledgers.save();
    this.#waiting.tables.add(table.label);
    this.parked += keys;
  }
  /** Only where something lacks columns: a table that is held as a whole cannot be read. */
  async #fill(aside: ApplyTable, ledgers: StepLedgers): Promise<void> {
    const find = async (): Promise<readonly number[]> =>
      (await this.#client.query<{ seq: number }>(sql.findUnfilled(aside))).rows.map(
        ({ seq }) => seq,
      );
    if ((await find()).length === 0) return;
    await this.#client.query(fillStage(aside, 's'));
    await ledgers.park(await find());
  }
}
