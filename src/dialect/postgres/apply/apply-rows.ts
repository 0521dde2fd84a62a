import { DatabaseError, type ClientBase } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { NetChange } from '../../../order/change-batch.ts';
import { assert } from '../../../util/assert.ts';
import { RowRefused } from '../../dead-letters.ts';
import { applyFailure, isOfTheRow, uniqueViolation, type UniqueViolation } from './apply-error.ts';
import * as sql from './apply-sql.ts';
import type { ApplyTable } from './apply-table.ts';
import {
  blockRows,
  evict,
  evictStale,
  findBlocked,
  findDuplicate,
  lookedUp,
  probe,
  settleStaged,
} from '../overlay/blocked-sql.ts';
import {
  lockOwned,
  removeUnknown,
  mergeColumns,
  mergeEach,
  takeBackBlockers,
  takeBackStaged,
} from '../overlay/policy-sql.ts';
import {
  deleteEqualEntries,
  lockEqualEntries,
  lockEqualRows,
  type Given,
  type Patience,
} from '../overlay/release-sql.ts';
import { KeyParking, withWaiting } from './park-locked.ts';
import { StepLedgers } from './ledgers.ts';
import type { StepContext, StepOutcome } from './step.ts';
import { queryAll } from '../session/query-all.ts';
import {
  stageChanges,
  stageRelation,
  type Staged,
  type StagedCounts,
  type StagedOp,
} from './stage.ts';

/** Undone attempts after which the rows are locked before they are written. */
const OPTIMISTIC_ATTEMPTS = 2;
/** Each undone attempt met a newly owned row; more than this is no race but a fault. */
const MAX_ATTEMPTS = 50;

const SAVEPOINT = 'understudy_rows';
const MERGE_SAVEPOINT = 'understudy_merge';

/**
 * Writes the net changes of one table, in the caller's READ COMMITTED transaction.
 *
 * Rows of the candidate keep what it wrote; their base images move. Where the two are the same, to the
 * byte, the entry goes (release-sql.ts): before the step, so that the row is written as one that nobody
 * owns; and after it, when production came to what the candidate sees. Before, it waits for a candidate
 * that is at such a row, as for one at a row that nobody owns: moved beside it, production's image would
 * make its own of a row that it then leaves as it was. After, what is passed over is left to the next.
 *
 * Ownership is not locked but
 * checked afterwards: each attempt marks the owned keys (R), writes all others, and then looks, in
 * a new statement and so in a new snapshot, whether one of them has become owned (C). By then
 * every key is either locked by us, so that nobody can take it before we commit, or was found
 * absent; whoever took it earlier has committed and is seen. If so the attempt is undone and
 * repeated. Ownership only grows while this transaction lives, since release and reset run under
 * the same fence, so the loop ends, and base images (B) cannot be missed.
 *
 * Unique constraints are met optimistically too: only a violation makes the step delete all its
 * rows before it inserts them again, and only a row of the candidate can then still be in the way. What it
 * keeps out, and what the candidate's schema refuses, stands in the journal alone: see blocked-sql.ts.
 *
 * Keys of which some wait for the candidate follow these; where a batch has been refused for a while, and while
 * any key waits, those that are locked come to wait instead of refusing it (park-locked.ts).
 *
 * What production's row is here, for values that were not sent or may not have been, is asked
 * before anything is written (see ledgers.ts). A row that is not here is found only afterwards, by
 * the patch that met none: then the attempt is undone, the key parked, and the rest written anew.
 */
export async function applyRows(
  context: StepContext,
  described: ApplyTable,
  changes: readonly NetChange[],
): Promise<StepOutcome> {
  const { client } = context;
  const table = withWaiting(described, context.waiting);
  const staged = await stageChanges(client, table, changes);
  try {
    return await new RowsStep(context, table, staged.doubts).run(staged);
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/** As applyRows, of what is staged already, as whole images and deletes. */
export async function applyStaged(context: StepContext, table: ApplyTable): Promise<StepOutcome> {
  try {
    return await new RowsStep(context, withWaiting(table, context.waiting), 0).whole();
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/**
 * Writes what is staged already, as whole images and deletes that nobody owns: rows that come to be
 * production's again. `owned`: those that were kept out. In the caller's transaction, as `applyRows`.
 */
export async function writeStaged(context: StepContext, table: ApplyTable): Promise<StepOutcome> {
  try {
    return await new RowsStep(context, table, 0).again();
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

type Attempt =
  /** `isLast`: nothing more can undo it. */
  | { readonly kind: 'written'; readonly owned: number; readonly isLast: boolean }
  | { readonly kind: 'raced' }
  /** A unique value is another row's; or the row itself is refused (null), by a schema that is the candidate's. */
  | { readonly kind: 'clashed'; readonly violation: UniqueViolation | null };

class RowsStep {
  readonly #context: StepContext;
  readonly #client: ClientBase;
  readonly #table: ApplyTable;
  readonly #ledgers: StepLedgers;

  constructor(context: StepContext, table: ApplyTable, doubts: number) {
    this.#context = context;
    this.#client = context.client;
    this.#table = table;
    this.#ledgers = new StepLedgers(context, table, doubts);
  }

  async run(staged: Staged): Promise<StepOutcome> {
    return this.#writeOrPark(await this.#prepare(staged), staged.doubts);
  }

  async whole(): Promise<StepOutcome> {
    return this.#writeOrPark(await this.#count(), 0);
  }

  async #writeOrPark(counts: StagedCounts, doubts: number): Promise<StepOutcome> {
    const { waiting } = this.#context;
    if (this.#table.journal === null || waiting?.parks !== true) return this.#writeNew(counts);
    const parking = new KeyParking({ ...this.#context, waiting }, this.#table, doubts);
    await parking.follow();
    const outcome = await parking.write(async () => {
      const left = await this.#count();
      const isNone = Object.values(left).every((rows) => rows === 0);
      // Where all wait, what they wait for need not be asked for again.
      return isNone ? { rows: 0, owned: 0, repairs: 0 } : this.#writeNew(left);
    });
    return { ...outcome, parked: parking.parked };
  }

  async #writeNew(prepared: StagedCounts): Promise<StepOutcome> {
    await this.#keepWritersOut();
    const before = this.#table.journal === null ? null : await this.#markBefore(prepared);
    return this.#write(before?.counts ?? prepared, before?.owned ?? null);
  }

  /** Production's changes are the end of what the candidate has in those rows. */
  get #sourceWins(): boolean {
    const { journal, isolated, policy } = this.#table;
    return journal !== null && !isolated && policy.rows === 'source-wins';
  }

  /** Gives up what the candidate owns of the staged keys: they are written as nobody's. */
  async #takeBack(
    counts: StagedCounts,
  ): Promise<{ readonly counts: StagedCounts; readonly owned: number }> {
    const table = this.#table;
    const marked = (await this.#client.query(sql.markOwned(table))).rowCount ?? 0;
    if (marked === 0) return { counts, owned: 0 };
    const whole = await this.#fill('s', counts);
    const done = await queryAll(this.#client, [
      settleStaged(table),
      ...lockOwned(table),
      removeUnknown(table),
      takeBackStaged(table, this.#context.source),
    ]);
    const [row] = (done.at(-1)?.rows ?? []) as { readonly taken: number }[];
    return { counts: whole, owned: marked - (row?.taken ?? 0) };
  }

  /** Writes production's changes into columns of rows that the candidate owns, where a policy says so. */
  async #merge(): Promise<void> {
    const table = this.#table;
    if (table.isolated) return;
    const statement = mergeColumns(table, (column) => sql.known(column));
    if (statement === null) return;
    await queryAll(this.#client, [...lockOwned(table), `SAVEPOINT ${MERGE_SAVEPOINT}`]);
    try {
      await this.#client.query(statement);
    } catch (error) {
      if (!(error instanceof DatabaseError) || !isOfTheRow(error)) throw error;
      await this.#client.query(`ROLLBACK TO SAVEPOINT ${MERGE_SAVEPOINT}`);
      await this.#client.query(mergeEach(table, statement));
    }
    await this.#client.query(`RELEASE SAVEPOINT ${MERGE_SAVEPOINT}`);
  }

  async again(): Promise<StepOutcome> {
    await this.#keepWritersOut();
    return this.#write(await this.#count(), null);
  }

  /** Writes what is staged, of which `marked` are owned, if that is known. */
  async #write(prepared: StagedCounts, owned: number | null): Promise<StepOutcome> {
    const table = this.#table;
    let [counts, marked] = [prepared, owned];
    let twoPhase = false;
    for (let repairs = 0; repairs < MAX_ATTEMPTS; repairs += 1) {
      if (this.#sourceWins && marked !== 0) {
        const left = await this.#takeBack(counts);
        [counts, marked] = [left.counts, left.owned];
      }
      const attempt = await this.#attempt(counts, {
        ...{ twoPhase, marked },
        lockFirst: repairs >= OPTIMISTIC_ATTEMPTS,
      });
      marked = null;
      switch (attempt.kind) {
        case 'written': {
          if (attempt.isLast) {
            await this.#ledgers.save();
            return { rows: counts.f + counts.d, owned: 0, repairs };
          }
          const unpatched = counts.s > 0 ? await this.#findUnpatched() : [];
          if (unpatched.length > 0) {
            await this.#undo();
            await this.#ledgers.park(unpatched);
            counts = await this.#count();
            break;
          }
          if (!(await this.#isChecked())) {
            await this.#undo();
            counts = await this.#block();
            break;
          }
          if (attempt.owned > 0) await this.#merge();
          await this.#moveBase(attempt.owned);
          if (attempt.owned > 0) await this.#release('pass over');
          await this.#client.query(`RELEASE SAVEPOINT ${SAVEPOINT}`);
          await this.#ledgers.save();
          const total = counts.f + counts.s + counts.d;
          return { rows: total - attempt.owned, owned: attempt.owned, repairs };
        }
        case 'raced':
          await this.#undo();
          break;
        case 'clashed':
          await this.#undo();
          counts = await this.#fill('s', counts);
          if (table.journal === null && twoPhase) this.#refuse(attempt.violation);
          if (twoPhase || attempt.violation === null) counts = await this.#block();
          twoPhase = true;
          break;
      }
    }
    throw new UnderstudyError('APPLY_BLOCKED', 'the candidate takes rows faster than they follow', {
      table: table.label,
    });
  }

  /** Brings the staged rows into the form the writes expect. */
  async #prepare(staged: Staged): Promise<StagedCounts> {
    const table = this.#table;
    let { counts } = staged;
    if (table.respell) {
      await this.#client.query(sql.dedupeStage(table));
      counts = await this.#count();
    }
    if (this.#ledgers.concerned) {
      await this.#ledgers.beforeMoves(counts);
      counts = await this.#count();
    }
    if (counts.m > 0) counts = await this.#fill('m', counts);
    if (staged.replacing.length > 0) counts = await this.#parkReplacing(staged.replacing, counts);
    if (this.#ledgers.concerned) {
      await this.#ledgers.afterMoves();
      counts = await this.#count();
    }
    if (counts.q > 0) counts = await this.#makeNew();
    const wholeRows = table.fixed.length > 0 || table.unchecked.length > 0;
    return wholeRows ? this.#fill('s', counts) : counts;
  }

  /**
   * A session in replica role does not check deferrable constraints, so that it neither waits for
   * nor sees a candidate's uncommitted row. For such tables the step excludes other writers.
   */
  async #keepWritersOut(): Promise<void> {
    const { journal, keyDeferrable, unchecked } = this.#table;
    if (journal === null || (!keyDeferrable && unchecked.length === 0)) return;
    await this.#client.query(`LOCK TABLE ${this.#table.rows} IN SHARE ROW EXCLUSIVE MODE`);
  }

  async #fill(op: 'm' | 's', counts: StagedCounts): Promise<StagedCounts> {
    if (counts[op] === 0) return counts;
    await this.#client.query(sql.fillStage(this.#table, op));
    return this.#count();
  }

  /**
   * Rows whose old key holds none here, and whose new key holds another that leaves: it must not
   * lend them its values.
   */
  async #parkReplacing(seqs: readonly number[], counts: StagedCounts): Promise<StagedCounts> {
    const found = await this.#client.query<{ seq: number }>(sql.findPatches(this.#table, seqs));
    if (found.rows.length === 0) return counts;
    await this.#ledgers.park(found.rows.map((row) => row.seq));
    return this.#count();
  }

  /**
   * New rows without some columns, which the connector does not send: completed by the row that is
   * there already (they came before), else by the table's defaults.
   */
  async #makeNew(): Promise<StagedCounts> {
    const table = this.#table;
    await this.#client.query(sql.fillStage(table, 'q', 'from'));
    await this.#client.query(sql.fillStage(table, 'q', 'staged'));
    const counts = await this.#count();
    if (counts.q === 0) return counts;
    const { rows } = await this.#client.query<{ column: string; expression: string | null }>(
      sql.readDefaults(table),
    );
    const defaults = new Map(
      rows.flatMap(({ column, expression }) => (expression === null ? [] : [[column, expression]])),
    );
    await this.#client.query(sql.defaultStage(table, defaults));
    return this.#count();
  }

  async #count(): Promise<StagedCounts> {
    const counts: Record<StagedOp, number> = { f: 0, s: 0, m: 0, q: 0, d: 0 };
    const result = await this.#client.query<{ op: StagedOp; rows: number }>(
      sql.countStage(this.#table),
    );
    for (const row of result.rows) counts[row.op] = row.rows;
    return counts;
  }

  /** R, W1 to W3, C, and the end where nothing has to be looked at, in one message; each statement still has a snapshot of its own. */
  async #attempt(
    counts: StagedCounts,
    mode: {
      readonly twoPhase: boolean;
      readonly lockFirst: boolean;
      /** How many are owned, if they are marked. */
      readonly marked: number | null;
    },
  ): Promise<Attempt> {
    const table = this.#table;
    const captured = table.journal !== null;
    const statements = [`SAVEPOINT ${SAVEPOINT}`];
    if (mode.lockFirst) statements.push(sql.lockRows(table));
    const marking = statements.length;
    if (captured && mode.marked === null) statements.push(sql.markOwned(table));
    if (mode.twoPhase) statements.push(sql.takeOut(table));
    else {
      if (counts.d > 0) statements.push(sql.deleteRows(table, ['d']));
      if (table.fixed.length > 0) statements.push(sql.deleteRenumbered(table));
    }
    if (counts.s > 0) statements.push(sql.patchRows(table));
    if (counts.f > 0) statements.push(sql.upsertRows(table));
    if (captured) statements.push(sql.findNewlyOwned(table));
    const isLast = !captured && counts.s === 0;
    if (isLast) statements.push(`RELEASE SAVEPOINT ${SAVEPOINT}`);
    try {
      const results = await queryAll(this.#client, statements);
      if (!captured) return { kind: 'written', owned: 0, isLast };
      const raced = (results.at(-1)?.rowCount ?? 0) > 0;
      if (raced) return { kind: 'raced' };
      const owned = mode.marked ?? results[marking]?.rowCount ?? 0;
      return { kind: 'written', owned, isLast };
    } catch (error) {
      const violation = uniqueViolation(error);
      const isRefused = captured && error instanceof DatabaseError && isOfTheRow(error);
      if (violation === null && !isRefused) throw error;
      return { kind: 'clashed', violation };
    }
  }

  /**
   * Marks the owned keys, and gives up those of which nothing is left, and those of rows that are kept out,
   * to try them anew: what they were not sent with they have from production's image first. In an isolated
   * table all of them are owned. Returns how many are.
   */
  async #markBefore(
    counts: StagedCounts,
  ): Promise<{ readonly owned: number; readonly counts: StagedCounts }> {
    const table = this.#table;
    if (table.isolated) {
      await queryAll(this.#client, [sql.lockRows(table), ...sql.ownRows(table)]);
    }
    const marked = await this.#client.query(sql.markOwned(table));
    const owned = marked.rowCount ?? 0;
    if (table.isolated || owned === 0) return { owned, counts };
    const [, blocked] = await queryAll(this.#client, [settleStaged(table), findBlocked(table)]);
    const isBlocked = (blocked?.rows.length ?? 0) > 0;
    const whole = isBlocked ? await this.#fill('s', counts) : counts;
    const given = isBlocked ? 'equal or kept out' : 'equal';
    return { owned: owned - (await this.#release('wait', given)), counts: whole };
  }

  async #release(patience: Patience, given: Given = 'equal'): Promise<number> {
    const table = this.#table;
    const [, held] = await queryAll(this.#client, [
      lockEqualRows(table, patience, given),
      lockEqualEntries(table, patience, given),
    ]);
    if ((held?.rowCount ?? 0) === 0) return 0;
    const ending = { outcome: 'converged', source: this.#context.source } as const;
    const { rows } = await this.#client.query<{ released: number }>(
      deleteEqualEntries(table, ending, given),
    );
    return rows[0]?.released ?? 0;
  }

  async #undo(): Promise<void> {
    await this.#client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
  }

  async #moveBase(owned: number): Promise<void> {
    if (owned === 0) return;
    const moved = await this.#client.query(sql.moveBaseImages(this.#table, this.#context.source));
    if (moved.rowCount === owned) return;
    throw new UnderstudyError('INTERNAL', 'an owned row lost its base image', {
      table: this.#table.label,
    });
  }

  /** Numbers of staged patches whose rows production has and the shadow has not. */
  async #findUnpatched(): Promise<readonly number[]> {
    const found = await this.#client.query<{ seq: number }>(sql.findUnpatched(this.#table));
    return found.rows.map((row) => row.seq);
  }

  /** After a violation that is not of the batch's own making: of a trunk, whose rows are all production's. */
  #refuse(violation: UniqueViolation | null): never {
    const what = 'a row that is not of the batch holds the same value';
    throw new RowRefused(what, {
      table: this.#table.label,
      ...(violation !== null && { detail: `constraint ${violation.constraint}` }),
    });
  }

  /** Finds the staged images that the visible table refuses, and keeps them out: see blocked-sql.ts. */
  async #block(): Promise<StagedCounts> {
    const table = this.#table;
    const { comparisons, source } = this.#context;
    const unchecked = lookedUp(table, comparisons, table.unchecked);
    assert(unchecked.length === table.unchecked.length, 'deferrable constraints are on columns');
    await queryAll(this.#client, [
      sql.lockRows(table),
      sql.markOwned(table),
      ...evictStale(table, lookedUp(table, comparisons)),
      probe(table, { out: sql.takeOut(table), insert: sql.insertStaged(table), unchecked }),
      sql.markOwned(table),
    ]);
    if (this.#sourceWins && (await this.#takeBackBlockers())) return this.#count();
    await queryAll(this.#client, [evict(table), blockRows(table, source)]);
    return this.#count();
  }

  /** Rows of the candidate's that keep production's out are production's again, and written with them. */
  async #takeBackBlockers(): Promise<boolean> {
    const table = this.#table;
    const uniques = lookedUp(table, this.#context.comparisons);
    if (uniques.length === 0) return false;
    const done = await queryAll(
      this.#client,
      takeBackBlockers(table, uniques, this.#context.source),
    );
    if ((done.at(-1)?.rowCount ?? 0) === 0) return false;
    await this.#client.query(
      `UPDATE ${stageRelation(table)} SET refused = NULL, detail = NULL, evicted = false`,
    );
    return true;
  }

  /** Deferrable constraints, which this session's writes did not check, are met. */
  async #isChecked(): Promise<boolean> {
    const table = this.#table;
    if (table.journal === null) return true;
    const uniques = lookedUp(table, this.#context.comparisons, table.unchecked);
    assert(uniques.length === table.unchecked.length, 'deferrable constraints are on columns');
    for (const unique of uniques) {
      const found = await this.#client.query(findDuplicate(table, unique));
      if (found.rows.length > 0) return false;
    }
    return true;
  }
}
