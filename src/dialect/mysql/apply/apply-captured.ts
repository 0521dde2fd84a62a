/**
 * Writes production's changes to a table that a candidate writes to as well.
 *
 * Invariants, for whatever commits beside it:
 * - A row that the candidate owns, which its entry in the journal says, stays as it is: its entry's image
 *   moves to production's.
 * - All other rows are production's. One that the candidate's rows or schema refuse is kept out
 *   (write-unowned.ts): it is nobody's, and written with its next change as others are.
 * - An entry goes where the row is production's again: before, so that the row is written as one that
 *   nobody owns, and after, when production came to what the candidate sees.
 * - Where a policy says so, what the candidate has gives way before (overlay/policy-sql.ts).
 *
 * Who writes a row holds its lock before its trigger makes the entry, so the rows are locked first and
 * the journal is asked then, in a statement of its own: what it says of a row that is there holds. A row
 * that is not there has no lock. It is inserted by a statement that settles no conflict, and the journal
 * is asked once more: an entry by then is of a candidate that wrote the row, or wrote and removed it, in
 * between. Then all of it is undone and done again.
 *
 * A row that refers to another, which a candidate may delete or give another key: what that does to the
 * rows that refer is found by its trigger before the server does it (closure.ts). So that no row comes in
 * between, the row that it refers to is locked before it is written: by a lock that what the trigger
 * takes of a row on the way keeps off, or a lesser one where there is nothing on the way.
 *
 * Nobody of the candidate's is waited for for long (patience.ts): what its transactions hold of the rows, of
 * their entries, of what they refer to and of unique values of theirs is found out, and the changes that need
 * it wait where production's image is told from (waiting-rows.ts). The others are written. What waits is
 * written in the same way as a step, and goes in the same transaction (overlay/write-waiting.ts).
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { NetChange } from '../../../order/change-batch.ts';
import { noteConflicts } from '../overlay/conflict-sql.ts';
import { rowItself } from '../overlay/edges.ts';
import {
  mergeStaged,
  sourceWins,
  takeBackBlockers,
  takeBackStaged,
} from '../overlay/policy-sql.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL, quote } from '../session/names.ts';
import { applyFailure } from './apply-error.ts';
import { isHeld, lockStaged, RowsHeld, type Others } from './held-rows.ts';
import type { OverlaidTable } from './overlaid-table.ts';
import type { ApplyColumn } from './apply-table.ts';
import { assertComplete } from './apply-rows.ts';
import { stageChanges, type Masks, type Staged } from './stage.ts';
import {
  besideEntry,
  giveUpEmpty,
  joined,
  lockEntries,
  lockRows,
  OWN,
  ownStaged,
} from './staged-rows.ts';
import { WaitingRows } from './waiting-rows.ts';
import { lockValues, writeUnowned } from './write-unowned.ts';

const SAVEPOINT = 'understudy_captured';
/** Times that a step is done again at once, for a candidate that was faster. */
const ATTEMPTS = 20;

export interface CapturedOutcome {
  readonly rows: number;
  /** Changes of rows that the candidate owns. */
  readonly owned: number;
  /** Keys that wait from now on. */
  readonly parked?: number;
}

/** What a step is of. */
export interface StepOf {
  /** What the numbers of staged rows stand for, for errors. */
  readonly changes: readonly NetChange[];
  /** Where the log stands by then, as text. */
  readonly source: string | null;
  /** They are from where changes wait, and stay there where they must; by default they come to it. */
  readonly from?: 'what waits';
}

/**
 * As `applyRows`. APPLY_BLOCKED too where the candidate takes rows faster than they follow.
 */
export async function applyCaptured(
  client: Client,
  table: OverlaidTable,
  of: StepOf,
  packetBytes: number,
): Promise<CapturedOutcome> {
  await client.run(`DELETE FROM ${table.stage}`);
  const staged = await stageChanges(client, table, of.changes, packetBytes);
  return writeStaged(client, table, staged, of);
}

/** Removes all rows that production had: of what the candidate owns, the images, and what waits. */
export async function truncateCaptured(
  client: Client,
  table: OverlaidTable,
  source: string | null,
): Promise<CapturedOutcome> {
  const keys = table.key.map(({ staged }) => staged).join(', ');
  const names = table.key.map(({ name }) => name).join(', ');
  // Read without locks, so that nobody is waited for: each row of production's that is none's is seen, or
  // has an entry by then.
  const stage = (source: string): string =>
    `INSERT IGNORE INTO ${table.stage} (${keys}, seq, op, mask)
      SELECT ${names}, @understudy_seq := @understudy_seq + 1, 'd', 0 FROM ${source}`;
  try {
    await client.run(`DELETE FROM ${table.stage}`);
    await client.run('SET @understudy_seq := -1');
    let d = 0;
    for (const from of [table.relation, table.journal, table.waiting]) {
      d += (await client.run(stage(from))).rows;
    }
    const counts = { f: 0, p: 0, q: 0, d };
    return await writeStaged(client, table, { masks: new Map(), counts }, { changes: [], source });
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/** What became of an attempt that wrote nothing: the candidate was faster, or these have to wait. */
type Undone = 'raced' | { readonly waits: readonly number[]; readonly apart: boolean };

/** Of the staging table, whatever filled it. */
export async function writeStaged(
  client: Client,
  table: OverlaidTable,
  staged: Staged,
  of: StepOf,
): Promise<CapturedOutcome> {
  const { patience } = table;
  const rows = new WaitingRows(client, table, { masks: staged.masks, changes: of.changes });
  try {
    if (of.from !== 'what waits') await rows.take();
    let parked = 0;
    for (let raced = 0; raced < ATTEMPTS;) {
      await client.run(`SAVEPOINT ${SAVEPOINT}`);
      const { masks } = rows;
      const outcome = await patience.during(client, () =>
        attempt(client, table, { ...staged, masks }, of),
      );
      if (outcome !== 'raced' && 'owned' in outcome) {
        await client.run(`RELEASE SAVEPOINT ${SAVEPOINT}`);
        return { ...outcome, parked };
      }
      await client.run(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
      if (outcome === 'raced') raced += 1;
      else if (of.from === 'what waits') await rows.leave(outcome.waits, outcome.apart);
      else {
        await rows.add(outcome.waits, outcome.apart);
        parked += outcome.waits.length;
      }
    }
  } catch (error) {
    throw applyFailure(error, table.label);
  }
  const what = 'the candidate takes rows faster than they follow';
  throw new UnderstudyError('APPLY_BLOCKED', what, { table: table.label });
}

async function attempt(
  client: Client,
  table: OverlaidTable,
  staged: Staged,
  of: StepOf,
): Promise<CapturedOutcome | Undone> {
  const { patience } = table;
  const others = patience.isOver ? 'NOWAIT' : '';
  try {
    return await new Attempt(client, table, staged, others).run(of);
  } catch (error) {
    if (error instanceof RowsHeld) {
      patience.end();
      return { waits: error.seqs, apart: error.why === 'in doubt' };
    }
    if (!isHeld(error)) throw error;
    patience.end();
    // From now on it is found out who is waited for.
    if (others === '') return 'raced';
    patience.waitedInVain();
    return { waits: await unwritten(client, table), apart: true };
  }
}

/**
 * Of which it may be that somebody is waited for with all their locks at hand: those that were about to be
 * inserted, where a gap between rows may be held; without such, all that is written; else all.
 */
async function unwritten(client: Client, table: OverlaidTable): Promise<readonly number[]> {
  const nobodys = `own = ${String(OWN.nobodys)}`;
  for (const which of [`${nobodys} AND have = 0 AND op <> 'd'`, nobodys, 'TRUE']) {
    const found = await client.rows<{ seq: number }>(
      `SELECT seq FROM ${table.stage} WHERE ${which} ORDER BY seq`,
    );
    if (found.length === 0) continue;
    if (which.includes('have = 0')) table.patience.doubtInserts();
    return found.map(({ seq }) => seq);
  }
  throw new UnderstudyError('INTERNAL', 'nothing is written, and waits', { table: table.label });
}

/**
 * What staged rows that are not owned refer to, by values that were sent, or are known by now. Errors: RowsHeld.
 */
export async function lockParents(
  client: Client,
  table: OverlaidTable,
  others: Others = '',
): Promise<void> {
  const { parents, stage, columns } = table;
  for (const { edge, lock } of parents) {
    const on = edge.reference.columns.map((name, i) => {
      const column = columns.find(({ schema }) => schema.name === name);
      const to = quote(edge.reference.referencedColumns[i] ?? '');
      return `p.${to} = s.${column?.staged ?? ''}`;
    });
    const from = `${stage} s
      STRAIGHT_JOIN ${edge.parent.relation} p ${edge.parentAccess.hint} ON ${on.join(' AND ')}
      ${rowItself(edge.parent, 'p', edge.parentAccess)}`;
    const where = `s.op <> 'd' AND s.own = ${String(OWN.nobodys)}`;
    await lockStaged(client, table, { from, where, lock }, others);
  }
}

class Attempt {
  readonly #client: Client;
  readonly #table: OverlaidTable;
  readonly #masks: Masks;
  readonly #counts: Staged['counts'];
  readonly #others: Others;

  constructor(client: Client, table: OverlaidTable, { masks, counts }: Staged, others: Others) {
    this.#client = client;
    this.#table = table;
    this.#others = others;
    this.#masks = masks;
    this.#counts = counts;
  }

  async run({ changes, source, from }: StepOf): Promise<CapturedOutcome | 'raced'> {
    const client = this.#client;
    const others = this.#others;
    const ending = { outcome: 'converged', source } as const;
    const giveUp = (): Promise<number> => giveUpEmpty(client, this.#table, ending);
    await lockParents(client, this.#table, others);
    await lockRows(client, this.#table, others);
    if (this.#table.isolated) await ownStaged(client, this.#table);
    const { owned: entries, held } = await lockEntries(client, this.#table, others);
    const isKept = entries === 0 || this.#table.isolated;
    const freed = isKept ? 0 : await giveUp();
    let owned = entries - freed;
    if (this.#masks.size > 0) {
      await this.#complete();
      await assertComplete(client, this.#table, changes);
    }
    const takes = sourceWins(this.#table);
    if (takes && owned > 0) {
      await takeBackStaged(client, this.#table, source);
      owned = 0;
    }
    if (this.#masks.size > 0 || takes) await lockParents(client, this.#table, others);
    if (others === 'NOWAIT') await this.#look(from === 'what waits');
    if (owned > 0) {
      // Of rows that are kept apart it is not told who wrote them.
      if (!this.#table.isolated) {
        const unmerged = await mergeStaged(client, this.#table);
        await noteConflicts(client, this.#table, this.#masks, { source, unmerged });
      }
      await this.#moveImages();
    }
    const written = await writeUnowned(client, this.#table, {
      ...{ of: 'a step', masks: this.#masks, source, anyHeld: held > 0 },
      anyFreed: freed > 0,
      clear: takes ? () => this.#takeBackBlockers(source) : null,
    });
    if (written === 'raced') return 'raced';
    // A parent that was not there has no lock, and may have come since, and be about to go again with
    // what the candidate found below it before these rows were.
    await lockParents(client, this.#table, others);
    const taken = await client.rows(
      `SELECT 1 AS taken FROM ${this.#joined('j', 'staged')} WHERE s.own = 0 LIMIT 1`,
    );
    if (taken.length > 0) return 'raced';
    if (owned > 0) await giveUp();
    const all = Object.values(this.#counts).reduce((sum, count) => sum + count, 0);
    return { rows: all - owned, owned };
  }

  /** Returns how many rows come to be production's again, and are written with the others. */
  async #takeBackBlockers(source: string | null): Promise<number> {
    const taken = await takeBackBlockers(this.#client, this.#table, source);
    if (taken > 0) await lockParents(this.#client, this.#table, this.#others);
    return taken;
  }

  /** Whom would be waited for while rows are written. Errors: RowsHeld. */
  async #look(isTry: boolean): Promise<void> {
    const { stage, patience } = this.#table;
    if (patience.doubtsInserts && !isTry) {
      const found = await this.#client.rows<{ seq: number }>(
        `SELECT seq FROM ${stage} WHERE own = ${String(OWN.nobodys)} AND have = 0 AND op <> 'd'`,
      );
      if (found.length > 0)
        throw new RowsHeld(
          found.map(({ seq }) => seq),
          'in doubt',
        );
    }
    await lockValues(this.#client, this.#table);
  }

  /** Completes images from production's row as it was: the entry's image, else the row. */
  async #complete(): Promise<void> {
    const { columns, key } = this.#table;
    const [first] = key;
    for (const side of ['from', 'staged'] as const) {
      for (const [number, mask] of this.#masks) {
        const lacking = columns.filter((_, i) => mask[i] === false);
        const from = (alias: string): string =>
          lacking.map(({ name, staged }) => `s.${staged} = ${alias}.${name}`).join(', ');
        const which = `s.op IN ('p', 'q') AND s.mask = ${String(number)}`;
        await this.#client.run(
          `UPDATE ${this.#joined('j', side)} SET ${from('j')}, s.op = 'f'
            WHERE ${which} AND j.${JOURNAL.present} = 1`,
        );
        await this.#client.run(
          `UPDATE ${this.#joined('t', side)} ${this.#besideRow()}
            SET ${from('t')}, s.op = 'f' WHERE ${which} AND j.${first?.name ?? ''} IS NULL`,
        );
      }
    }
  }

  /** Of rows that the candidate owns. What is never sent is there as the row has it. */
  async #moveImages(): Promise<void> {
    const { columns, key } = this.#table;
    const keys = new Set(key.map(({ name }) => name));
    const set = (some: readonly ApplyColumn[]): string =>
      [
        ...some.map(({ name, staged }) => `j.${name} = s.${staged}`),
        ...[`j.${JOURNAL.present} = 1`, `j.${JOURNAL.moved} = 1`],
      ].join(', ');
    // Where there is no row the image keeps what it had.
    const seen = (name: string): string =>
      `IF(t.${key[0]?.name ?? ''} IS NULL, j.${name}, t.${name})`;
    const images = this.#joined('j', 'staged');
    await this.#client.run(`UPDATE ${images} SET ${set(columns)} WHERE s.own = 1 AND s.op = 'f'`);
    for (const [number, mask] of this.#masks) {
      const sent = columns.filter((_, i) => mask[i] === true);
      const unsent = columns.filter((_, i) => mask[i] === false);
      await this.#client.run(
        `UPDATE ${images} ${besideEntry(this.#table)}
          SET ${set(sent)}${unsent.map(({ name }) => `, j.${name} = ${seen(name)}`).join('')}
          WHERE s.own = 1 AND s.op = 'q' AND s.mask = ${String(number)}`,
      );
    }
    const none = columns
      .filter(({ name }) => !keys.has(name))
      .map(({ name }) => `j.${name} = NULL`);
    await this.#client.run(
      `UPDATE ${images} SET ${[...none, `j.${JOURNAL.present} = 0`, `j.${JOURNAL.moved} = 1`].join(', ')}
        WHERE s.own = 1 AND s.op = 'd'`,
    );
  }

  #joined(what: 't' | 'j', side: 'staged' | 'from'): string {
    return joined(this.#table, what, side);
  }

  /** The entry beside each row. */
  #besideRow(): string {
    const { key, journal } = this.#table;
    const on = key.map(({ name }) => `j.${name} = t.${name}`).join(' AND ');
    return `LEFT JOIN ${journal} j ON ${on}`;
  }
}
