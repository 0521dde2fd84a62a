/**
 * Puts rows in from production's images: those of the candidate's that are given back, and those of nobody's
 * that were kept out, as far as nothing is in their way any more.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { ensureStage, type ApplySession } from '../apply/apply.ts';
import { lockParents } from '../apply/apply-captured.ts';
import type { OverlaidTable } from '../apply/overlaid-table.ts';
import { applyFailure } from '../apply/apply-error.ts';
import { isHeld, RowsHeld, type Others } from '../apply/held-rows.ts';
import {
  besideEntry,
  isEmpty,
  joined,
  lockEntries,
  lockRows,
  mark,
  written,
} from '../apply/staged-rows.ts';
import { findingKeys, lockValues, writeUnowned } from '../apply/write-unowned.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL, literal } from '../session/names.ts';
import { insertOutcomes } from './outcomes.ts';
import { settleKinds } from './settled.ts';

const SAVEPOINT = 'understudy_put_back';

/** Rows that a sweep tries to let in at once, by whether it can see before that nothing is in their way. */
const SEEN = 2_000;
const UNSEEN = 100;

/** Of a table: a condition over entries, as `alias`. */
export type EntryCondition = (alias: string) => string;

/**
 * Lets in what was kept out, and tells the kinds of conflicts of what the candidate came to since, in the
 * caller's READ COMMITTED transaction on an applier's session. Waits for nobody, but where a gap between rows is
 * held. What the candidate writes meanwhile stays its own.
 */
export async function letIn(session: ApplySession, table: OverlaidTable): Promise<void> {
  const { client } = session;
  if (table.isolated) return;
  try {
    await tried(session, table, async () => {
      await settleKinds(session, table, { others: 'SKIP LOCKED' });
      return 0;
    });
    await client.run(`DELETE FROM ${table.stage}`);
    if ((await stageKeptOut(session, table, { but: null, limited: true })) === 0) return;
    await tried(session, table, () => write(session, table, 'reset', 'SKIP LOCKED'));
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/** Does it whole or, where somebody is in the way, not at all: the next sweep is as good. */
async function tried(
  { client }: ApplySession,
  table: OverlaidTable,
  act: () => Promise<number | 'raced'>,
): Promise<void> {
  await client.run(`SAVEPOINT ${SAVEPOINT}`);
  let done: number | 'raced';
  try {
    done = await table.patience.during(client, act, true);
  } catch (error) {
    if (!isHeld(error)) throw error;
    done = 'raced';
  }
  if (done === 'raced') await client.run(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
}

/** How rows are given back: a reset is done whole, or not at all. */
export type GivingBack = 'reset' | 'theirs';

/**
 * Gives the entries back of which `which` holds, and lets in what was kept out. Returns how many there were.
 * Waits. Errors: APPLY_BLOCKED.
 */
export async function putBack(
  session: ApplySession,
  table: OverlaidTable,
  which: EntryCondition,
  how: GivingBack,
): Promise<number> {
  const { client } = session;
  const { columns, stage, journal } = table;
  try {
    await ensureStage(session, table);
    await client.run(`DELETE FROM ${stage}`);
    // Who applies alone moves the images, and alone ends entries: what is read of them holds.
    const { rows: owned } = await client.run(
      `INSERT INTO ${stage} (${columns.map(({ staged }) => staged).join(', ')}, seq, op, mask, freed)
        SELECT ${imagesOf(table)}, ROW_NUMBER() OVER (),
          IF(j.${JOURNAL.present} = 1, 'f', 'd'), 0, 1
        FROM ${journal} j WHERE j.${JOURNAL.blocked} IS NULL AND ${which('j')}`,
    );
    const others = await stageKeptOut(session, table, { but: which, limited: false, after: owned });
    if (owned + others === 0) return 0;
    await assertNoneWaits(session, table, which);
    if ((await write(session, table, how, '')) === 'raced') {
      const what = 'the candidate makes rows that are to be put back';
      throw new UnderstudyError('APPLY_BLOCKED', what, { table: table.label });
    }
    return owned;
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/** What waits is production's image of a row, and not what its entry tells. */
async function assertNoneWaits(
  { client }: ApplySession,
  { label, journal, waiting, key }: OverlaidTable,
  which: EntryCondition,
): Promise<void> {
  const same = key.map(({ name }) => `j.${name} = w.${name}`).join(' AND ');
  const found = await client.rows(
    `SELECT 1 AS waits FROM ${waiting} w STRAIGHT_JOIN ${journal} j FORCE INDEX FOR JOIN (PRIMARY)
      ON ${same} WHERE j.${JOURNAL.blocked} IS NULL AND ${which('j')} LIMIT 1`,
  );
  if (found.length === 0) return;
  const what = 'changes of rows that are to be put back wait for transactions of the candidate';
  throw new UnderstudyError('APPLY_BLOCKED', what, { table: label });
}

/** Entries' images, as `j`. */
function imagesOf(table: OverlaidTable): string {
  return table.columns.map((column) => written(table, column, `j.${column.name}`)).join(', ');
}

/**
 * Stages what was kept out, but where a row of the candidate's has a unique value of it still: as far as
 * that is seen by plain keys, and `but` for rows of which this holds. Returns how many.
 */
async function stageKeptOut(
  session: ApplySession,
  table: OverlaidTable,
  options: {
    readonly but: EntryCondition | null;
    readonly limited: boolean;
    readonly after?: number;
  },
): Promise<number> {
  const { client } = session;
  const { columns, stage, journal, relation, key, hint } = table;
  const images = imagesOf(table);
  const { but, limited, after = 0 } = options;
  const keys = findingKeys(table);
  const same = (left: string, right: string): string =>
    key.map(({ name }) => `${left}.${name} = ${right}.${name}`).join(' AND ');
  const free = keys.map(({ name, columns: parts }) => {
    const is = parts.map((part) => `x.${part.name} = j.${part.name}`).join(' AND ');
    const stays = but === null ? '' : `AND NOT (${but('o')})`;
    return `AND NOT EXISTS (SELECT 1 FROM ${relation} x ${hint(name)} JOIN ${journal} o ON ${same('o', 'x')}
      WHERE ${is} AND NOT (${same('x', 'j')}) AND o.${JOURNAL.blocked} IS NULL ${stays})`;
  });
  const names = keys.map(({ name }) => literal(name));
  const isSeen =
    names.length === 0
      ? 'FALSE'
      : `(j.${JOURNAL.blocked} = 'multiple_unique' AND j.${JOURNAL.detail} IN (${names.join(', ')}))`;
  let staged = 0;
  for (const [which, limit] of [
    [isSeen, SEEN],
    [`NOT ${isSeen}`, UNSEEN],
  ] as const) {
    // Not always the same ones, where there are more. Of those of which it is not seen whether they may come in
    // never many: each that may not costs a try.
    const isPart = limited || limit === UNSEEN;
    const some = isPart ? `ORDER BY RAND() LIMIT ${String(limit)}` : '';
    const { rows } = await client.run(
      `INSERT INTO ${stage} (${columns.map((column) => column.staged).join(', ')}, seq, op, mask)
        SELECT ${images},
          ${String(after + staged)} + ROW_NUMBER() OVER (), 'f', 0
        FROM ${journal} j WHERE j.${JOURNAL.blocked} IS NOT NULL AND ${which} ${free.join(' ')} ${some}`,
    );
    staged += rows;
  }
  return staged;
}

/**
 * Of what is staged. Rows are locked before entries, as the capture does. An entry that is locked keeps the
 * candidate from making a row that is not there; what it made before of a row that is given back is waited
 * for, and goes. Rows are out before any comes in: they may have swapped unique values among each other.
 */
async function write(
  { client }: ApplySession,
  table: OverlaidTable,
  how: GivingBack,
  others: Others,
): Promise<number | 'raced'> {
  const { stage } = table;
  await lockParents(client, table);
  await lockRows(client, table, others);
  await lockEntries(client, table, others);
  // What was kept out and is the candidate's by now, or is at hand of somebody, is left alone.
  if (others !== '') {
    const found = await client.rows<{ seq: number }>(
      `SELECT s.seq FROM ${joined(table, 't', 'staged')} WHERE s.have = 0`,
    );
    const locked = found.map(({ seq }) => seq);
    await mark(client, table, locked, 'held = 0');
  }
  await client.run(`DELETE FROM ${stage} WHERE freed = 0 AND held = 0`);
  if (others !== '') await leaveHeldValues(client, table);
  await client.run(`UPDATE ${stage} SET own = 0, have = 1 WHERE freed = 1`);
  const entries = joined(table, 'j', 'staged');
  // While the rows are as the candidate sees them; a conflict is told of whatever became of it.
  const told = how === 'theirs' ? 'TRUE' : `(j.${JOURNAL.moved} = 1 OR NOT ${isEmpty(table)})`;
  await client.run(
    `UPDATE ${entries} ${besideEntry(table)} SET s.conflict = 'told' WHERE s.freed = 1 AND ${told}`,
  );
  const refused = how === 'theirs' ? 'stays' : 'fails';
  const done = await writeUnowned(client, table, { of: 'what is put back', refused });
  if (done === 'raced') return done;
  // Those that came in the meantime, see apply-captured.ts.
  await lockParents(client, table);
  const ended = `${entries} WHERE s.freed = 1`;
  await client.run(
    insertOutcomes(table, { outcome: how, source: null }, `${ended} AND s.conflict = 'told'`),
  );
  await client.run(`DELETE j FROM ${ended}`);
  return done;
}

/** Whose unique values somebody is at stay out for now. */
async function leaveHeldValues(client: Client, table: OverlaidTable): Promise<void> {
  for (;;) {
    try {
      await lockValues(client, table);
      return;
    } catch (error) {
      if (!(error instanceof RowsHeld)) throw error;
      await client.run(`DELETE FROM ${table.stage} WHERE seq IN (${error.seqs.join(', ')})`);
    }
  }
}
