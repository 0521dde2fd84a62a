/**
 * What the policies do to rows that the candidate owns (overlay/policy.ts), for whole batches. Rows are locked,
 * and then their entries, before anything is decided.
 *
 * Aliases: s the staging table, j the journal, t the table.
 */
import { unreachable } from '../../../util/assert.ts';
import { isRefusal } from '../apply/apply-error.ts';
import { createReach, type ApplyColumn } from '../apply/apply-table.ts';
import { besideEntry, joined, mark, OWN, setOf, written } from '../apply/staged-rows.ts';
import { findingKeys } from '../apply/write-unowned.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL, literal } from '../session/names.ts';
import { ruleOf } from './conflict-sql.ts';
import { sameValue, exactValue } from './images.ts';
import type { CapturedTable } from './journal.ts';
import { insertOutcomes } from './outcomes.ts';

/** Rows written at once; where they are refused, it is found out which. */
const MERGED_AT_ONCE = 2_000;

/** Production's changes are the end of what the candidate has in those rows. */
export function sourceWins({ isolated, policy }: CapturedTable): boolean {
  return !isolated && policy.rows === 'source-wins';
}

/** Gives up what the candidate owns of the staged keys: they are written as nobody's. All of it is locked. */
export async function takeBackStaged(
  client: Client,
  table: CapturedTable,
  source: string | null,
): Promise<void> {
  const { stage } = table;
  const owned = `s.own = ${String(OWN.candidates)}`;
  const rows = joined(table, 't', 'staged');
  // One that came between the two locks goes as the others do: who makes one now waits with its entry.
  const there = await client.rows<{ seq: number }>(
    `SELECT s.seq FROM ${rows} WHERE ${owned} FOR UPDATE`,
  );
  const numbers = there.map(({ seq }) => seq);
  await mark(client, table, numbers, 'have = 1');
  // Production has such a row anew, and what it did not send of it is not the candidate's.
  await client.run(`DELETE t FROM ${rows} WHERE ${owned} AND s.op = 'q'`);
  await client.run(`UPDATE ${stage} s SET s.have = 0 WHERE ${owned} AND s.op = 'q'`);
  const entries = `${joined(table, 'j', 'staged')} WHERE ${owned}`;
  await client.run(insertOutcomes(table, { outcome: 'theirs', source }, entries));
  await client.run(`DELETE j FROM ${entries}`);
  await client.run(
    `UPDATE ${stage} s SET s.own = ${String(OWN.nobodys)}, s.freed = 1 WHERE ${owned}`,
  );
}

/** Told by `hop`: below zero, which no other rows there have. */
const BLOCKER = { absent: -1, present: -2, keptOut: -3 } as const;

/**
 * The candidate's rows that keep staged ones out, by plain unique keys: locked, staged themselves as production
 * has them, and given up. So is what others that are kept out were before. Returns how many.
 */
export async function takeBackBlockers(
  client: Client,
  table: CapturedTable,
  source: string | null,
): Promise<number> {
  const { columns, stage, relation, journal, key } = table;
  const [reach] = table.reach;
  const images = columns.map((_, i) => `b${String(i + 1)}`);
  const clear = `DELETE FROM ${reach} WHERE hop < 0`;
  const is = key.map(({ name }) => `j.${name} = t.${name}`).join(' AND ');
  const what = `IF(j.${JOURNAL.blocked} IS NOT NULL, ${String(BLOCKER.keptOut)},
    IF(j.${JOURNAL.present} = 1, ${String(BLOCKER.present)}, ${String(BLOCKER.absent)}))`;
  await client.run(createReach(table, 0));
  await client.run(clear);
  for (const { name, columns: parts } of findingKeys(table)) {
    const holds = parts.map((part) => `t.${part.name} = s.${part.staged}`).join(' AND ');
    await client.run(
      `INSERT INTO ${reach} (hop, ${images.join(', ')})
        SELECT ${what}, ${columns.map((one) => `j.${one.name}`).join(', ')} FROM ${stage} s
          STRAIGHT_JOIN ${relation} t ${table.hint(name)} ON ${holds}
          STRAIGHT_JOIN ${journal} j FORCE INDEX FOR JOIN (PRIMARY) ON ${is}
          WHERE s.own = ${String(OWN.nobodys)} AND s.op <> 'd' FOR UPDATE`,
    );
  }
  const { last } = await client.row<{ last: string | number }>(
    `SELECT COALESCE(MAX(seq), 0) AS last FROM ${stage}`,
  );
  const values = columns.map((column, i) => written(table, column, `b${String(i + 1)}`));
  // What is staged already is written as it is.
  const { rows } = await client.run(
    `INSERT IGNORE INTO ${stage} (${columns.map(({ staged }) => staged).join(', ')},
        seq, op, mask, have, held, freed, conflict)
      SELECT ${values.join(', ')}, ${String(last)} + ROW_NUMBER() OVER (),
        IF(hop = ${String(BLOCKER.absent)}, 'd', 'f'), 0, 1,
        hop = ${String(BLOCKER.keptOut)}, hop <> ${String(BLOCKER.keptOut)}, 'back'
      FROM ${reach} WHERE hop < 0`,
  );
  await client.run(clear);
  if (rows === 0) return 0;
  const entries = `${joined(table, 'j', 'staged')} WHERE s.conflict = 'back' AND s.freed = 1`;
  await client.run(insertOutcomes(table, { outcome: 'theirs', source }, entries));
  await client.run(`DELETE j FROM ${entries}`);
  await client.run(`UPDATE ${stage} SET conflict = NULL WHERE conflict = 'back'`);
  return rows;
}

/** What becomes of a column in a row: it stays, it becomes production's, or what production added is added. */
const STAYS = '0';
const TAKEN = '1';
const ADDED = '2';
/** It would become NULL where the table takes none, which beside a trigger no UPDATE of these servers refuses. */
const REFUSED = '3';

/**
 * Writes production's changes into rows of the candidate's that both have, where a policy says so, before the
 * images move. A row that the table does not take so stays as the candidate has it, and is marked as a conflict;
 * returns how many.
 */
export async function mergeStaged(client: Client, table: CapturedTable): Promise<number> {
  const merged = table.columns.filter((column) => ruleOf(table, column) !== 'overlay-wins');
  if (merged.length === 0) return 0;
  const found = await client.rows<{ seq: number; what: string }>(
    `SELECT s.seq, CONCAT(${merged.map((column) => becomes(table, column)).join(', ')}) AS what
      FROM ${joined(table, 'j', 'staged')} ${besideEntry(table)}
      WHERE s.own = ${String(OWN.candidates)} AND s.op = 'f' AND j.${JOURNAL.present} = 1
        AND t.${table.key[0]?.name ?? ''} IS NOT NULL ORDER BY s.seq FOR UPDATE`,
  );
  const refused: number[] = [];
  for (const [what, rows] of Map.groupBy(found, (row) => row.what)) {
    if (what.includes(REFUSED)) {
      refused.push(...rows.map(({ seq }) => seq));
      continue;
    }
    const values = merged.flatMap((column, i) => {
      if (what[i] === STAYS) return [];
      const value = what[i] === ADDED ? sum(column) : `s.${column.staged}`;
      return [[column.schema.name, value] as const];
    });
    if (values.length === 0) continue;
    const set = setOf(table, new Map(values));
    const numbers = rows.map(({ seq }) => seq);
    for (let at = 0; at < numbers.length; at += MERGED_AT_ONCE) {
      await update(client, table, {
        set,
        numbers: numbers.slice(at, at + MERGED_AT_ONCE),
        refused,
      });
    }
  }
  await mark(client, table, refused, `conflict = ${literal('update_differs')}`);
  return refused.length;
}

/** As `STAYS`, `TAKEN`, `ADDED` or `REFUSED`. */
function becomes(table: CapturedTable, column: ApplyColumn): string {
  const { name, staged, schema } = column;
  const moved = `NOT (${exactValue(`s.${staged}`, schema)} <=> ${exactValue(`j.${name}`, schema)})`;
  const isTheirs = sameValue(column, 'j', 't');
  const taken = schema.nullable ? TAKEN : `IF(s.${staged} IS NULL, ${REFUSED}, ${TAKEN})`;
  const rule = ruleOf(table, column);
  switch (rule) {
    case 'overlay-wins':
      return STAYS;
    case 'source-wins':
      return `IF(${moved}, ${taken}, ${STAYS})`;
    case 'merge':
      return `IF(${moved} AND ${isTheirs}, ${taken}, ${STAYS})`;
    case 'delta': {
      const none = [`s.${staged}`, `j.${name}`, `t.${name}`].map((one) => `${one} IS NULL`);
      // Exactly what production has, whose sum may not be with floats.
      return `IF(${moved} AND NOT (${none.join(' OR ')}), IF(${isTheirs}, ${TAKEN}, ${ADDED}), ${STAYS})`;
    }
    default:
      return unreachable(rule);
  }
}

/** As signed numbers, without the servers' range for what is in between. */
function sum({ name, staged, schema: { type } }: ApplyColumn): string {
  const isFloat = type.kind === 'float32' || type.kind === 'float64';
  const form = isFloat ? 'DOUBLE' : `DECIMAL(65, ${String(type.scale ?? 0)})`;
  const [ours, theirs, base] = [`t.${name}`, `s.${staged}`, `j.${name}`].map(
    (one) => `CAST(${one} AS ${form})`,
  );
  return `${ours ?? ''} + (${theirs ?? ''} - ${base ?? ''})`;
}

/** By halves, where together they are refused. */
async function update(
  client: Client,
  table: CapturedTable,
  what: {
    readonly set: string;
    readonly numbers: readonly number[];
    readonly refused: number[];
  },
): Promise<void> {
  const { set, numbers, refused } = what;
  try {
    await client.run(
      `UPDATE ${joined(table, 'j', 'staged')} ${besideEntry(table)} SET ${set}
        WHERE s.seq IN (${numbers.join(', ')})`,
    );
  } catch (error) {
    if (!isRefusal(error)) throw error;
    if (numbers.length === 1) refused.push(...numbers);
    else {
      const middle = Math.ceil(numbers.length / 2);
      for (const half of [numbers.slice(0, middle), numbers.slice(middle)]) {
        await update(client, table, { ...what, numbers: half });
      }
    }
  }
}
