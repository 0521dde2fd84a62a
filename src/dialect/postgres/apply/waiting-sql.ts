/**
 * The statements by which staged keys come to wait, and to be written (overlay/waiting.ts). Pure; park-locked.ts
 * and write-waiting.ts say when each runs. `aside` is the table with the statements over what has to wait.
 *
 * Aliases: t the table, s the staging table, j the journal, w what waits.
 */
import { JOURNAL, relation, WAITING, waitingId } from '../session/names.ts';
import { keyOf, keysEqual, type ApplyTable } from './apply-table.ts';
import { stageRelation } from './stage.ts';

const TABLE = ['t', 'name'] as const;
const STAGED = ['s', 'staged'] as const;
const JOURNALED = ['j', 'name'] as const;
const WAITS = ['w', 'name'] as const;

/** Staged rows whose keys wait already. */
export function waitsAlready(table: ApplyTable): string {
  return `EXISTS (SELECT FROM ${table.waiting ?? ''} w WHERE ${keysEqual(table, WAITS, STAGED)})`;
}

/** Moves staged rows, as `s`, that a condition holds for. Its row count says how many. */
export function moveAside(table: ApplyTable, aside: ApplyTable, which: string): string {
  return `WITH moved AS (DELETE FROM ${stageRelation(table)} s WHERE ${which} RETURNING s.*)
    INSERT INTO ${stageRelation(aside)} SELECT * FROM moved`;
}

/** Of what is aside, patches that met no row: their numbers (seq). */
export function findUnfilled(aside: ApplyTable): string {
  return `SELECT s.seq FROM ${stageRelation(aside)} s WHERE s.op = 's'`;
}

/** What is aside, which is whole images and deletes, is what waits of these keys from now on. */
export function saveWaiting(aside: ApplyTable): string {
  const names = aside.columns.map(({ name }) => name);
  const isKey = (name: string): boolean => aside.key.some((key) => key.name === name);
  const values = aside.columns.map(({ name, staged }) =>
    isKey(name) ? `s.${staged}` : `CASE WHEN s.op <> 'd' THEN s.${staged} END`,
  );
  const set = [...names, WAITING.present].map((name) => `${name} = excluded.${name}`);
  return `INSERT INTO ${relation(waitingId(aside.schema.id))} (${names.join(', ')}, ${WAITING.present})
    SELECT ${values.join(', ')}, s.op <> 'd' FROM ${stageRelation(aside)} s
    ORDER BY ${aside.key.map(({ staged }) => `s.${staged}`).join(', ')}
    ON CONFLICT (${aside.key.map(({ name }) => name).join(', ')}) DO UPDATE SET ${set.join(', ')}`;
}

/** Stages some of what waits, and that nobody else is writing. Each try is of others. */
export function stageWaiting(table: ApplyTable, limit: number): string {
  const names = table.columns.map(({ name }) => name);
  return `INSERT INTO ${stageRelation(table)} (${table.columns.map(({ staged }) => staged).join(', ')}, seq, op, own)
    SELECT ${names.map((name) => `w.${name}`).join(', ')}, (pg_catalog.row_number() OVER ())::int4,
      CASE WHEN w.${WAITING.present} THEN 'f'::"char" ELSE 'd'::"char" END, false
    FROM (SELECT * FROM ${table.waiting ?? ''} w
      ORDER BY pg_catalog.random() LIMIT ${String(limit)} FOR UPDATE SKIP LOCKED) w`;
}

/** What is staged does not wait any more. */
export function endWaiting(table: ApplyTable): string {
  return `DELETE FROM ${table.waiting ?? ''} w USING ${stageRelation(table)} s
    WHERE ${keysEqual(table, WAITS, STAGED)}`;
}

/** Forgets what waits of a table that production emptied, or of one partition of it. */
export function forgetWaiting(table: ApplyTable, within: string): string {
  return `DELETE FROM ${table.waiting ?? ''} WHERE ${within}`;
}

/** Unstages rows by their numbers. */
export function unstage(table: ApplyTable, seqs: readonly number[]): string {
  return `DELETE FROM ${stageRelation(table)} WHERE seq IN (${seqs.join(', ')})`;
}

/** Unstages all rows but those whose numbers lie between two; null: all. */
export function keepStaged(table: ApplyTable, seqs: readonly [number, number] | null): string {
  const others =
    seqs === null ? 'true' : `seq NOT BETWEEN ${String(seqs[0])} AND ${String(seqs[1])}`;
  return `DELETE FROM ${stageRelation(table)} WHERE ${others}`;
}

/**
 * The numbers (seq) of staged keys whose row somebody holds so that it cannot be written: it is visible, and is
 * passed over by who waits for no lock. Of rows that are owned only the images move, unless a policy writes
 * them. After the owned are marked.
 */
export function findLockedRows(table: ApplyTable): string {
  const { policy, isolated } = table;
  const writesOwn =
    isolated ||
    policy.rows !== 'overlay-wins' ||
    policy.others !== 'overlay-wins' ||
    policy.columns.size > 0;
  const rows = `${stageRelation(table)} s JOIN ${table.rows} t ON ${keysEqual(table, TABLE, STAGED)}`;
  const who = writesOwn ? 'true' : 'NOT s.own';
  // One that only makes rows which refer to it is in the way of a delete alone.
  const free = (op: string, strength: string): string =>
    `SELECT l.seq FROM (SELECT s.seq FROM ${rows} WHERE ${who} AND ${op}
      ORDER BY ${keyOf(table, 't')} FOR ${strength} OF t SKIP LOCKED) l`;
  return `SELECT s.seq FROM ${rows} WHERE ${who} AND s.seq NOT IN (
      ${free(`s.op = 'd'`, 'UPDATE')} UNION ALL ${free(`s.op <> 'd'`, 'NO KEY UPDATE')})`;
}

/** The same of entries, whose images are to move. */
export function findLockedEntries(table: ApplyTable): string {
  const entries = `${stageRelation(table)} s JOIN ${table.journal ?? ''} j ON ${keysEqual(table, JOURNALED, STAGED)}`;
  return `SELECT s.seq FROM ${entries} WHERE s.own AND s.seq NOT IN (
      SELECT l.seq FROM (SELECT s.seq FROM ${entries} WHERE s.own
        ORDER BY ${keyOf(table, 'j')} FOR NO KEY UPDATE OF j SKIP LOCKED) l)`;
}

/** Stages a delete of each row that production has by now. `within`: a condition over the key's columns. */
export function stageAll(table: ApplyTable, within: string): string {
  const key = table.key.map(({ name }) => name).join(', ');
  const waits = (alias: string): string =>
    table.waiting === null
      ? 'true'
      : `NOT EXISTS (SELECT FROM ${table.waiting} w WHERE ${keysEqual(table, WAITS, [alias, 'name'])})`;
  const arms = [
    `SELECT ${keyOf(table, 't')} FROM ${table.rows} t WHERE ${waits('t')}
      AND NOT EXISTS (SELECT FROM ${table.journal ?? ''} j WHERE ${keysEqual(table, JOURNALED, TABLE)})`,
    `SELECT ${keyOf(table, 'j')} FROM ${table.journal ?? ''} j WHERE ${waits('j')} AND j.${JOURNAL.present}`,
    ...(table.waiting === null
      ? []
      : [`SELECT ${keyOf(table, 'w')} FROM ${table.waiting} w WHERE w.${WAITING.present}`]),
  ];
  return `INSERT INTO ${stageRelation(table)} (${table.key.map(({ staged }) => staged).join(', ')}, seq, op, own)
    SELECT ${key}, (pg_catalog.row_number() OVER ())::int4, 'd', false
    FROM (${arms.join(' UNION ALL ')}) p WHERE ${within}`;
}
