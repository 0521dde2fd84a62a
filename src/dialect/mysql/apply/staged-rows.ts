/**
 * Staged rows of a captured table beside what they are of: which are there (`have`), which the candidate
 * owns (`own`), which are nobody's and were kept out (`held`), and of which the entry was given up (`freed`).
 */
import { insertOutcomes, type Ending } from '../overlay/outcomes.ts';
import { sameImage } from '../overlay/images.ts';
import { KEEPING, type CapturedTable } from '../overlay/journal.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL } from '../session/names.ts';
import type { ApplyColumn } from './apply-table.ts';
import type { OverlaidTable } from './overlaid-table.ts';
import { lockStaged, type Others } from './held-rows.ts';

/** Numbers in one statement. */
const MARKED_AT_ONCE = 5_000;

/** The staged rows first, and for each the table's row, or entry, or what waits, by its key. */
export function joined(
  table: CapturedTable,
  what: 't' | 'j' | 'w',
  side: 'staged' | 'from',
): string {
  const { stage, relation, journal, waiting, keyHint, key } = table;
  const on = key.map((column) => `${what}.${column.name} = s.${column[side]}`).join(' AND ');
  const byKey = 'FORCE INDEX FOR JOIN (PRIMARY)';
  const other = {
    t: `${relation} t ${keyHint}`,
    j: `${journal} j ${byKey}`,
    w: `${waiting} w ${byKey}`,
  };
  return `${stage} s STRAIGHT_JOIN ${other[what]} ON ${on}`;
}

/** The row beside each entry. */
export function besideEntry({ key, relation, keyHint }: CapturedTable): string {
  const on = key.map(({ name }) => `t.${name} = j.${name}`).join(' AND ');
  return `LEFT JOIN ${relation} t ${keyHint} ON ${on}`;
}

/** What `own` says of a staged row. */
export const OWN = {
  /** Nobody's: it is written. */
  nobodys: 0,
  /** The candidate's: its image moves. */
  candidates: 1,
  /** Nobody's, and refused: it is kept out. */
  refused: 2,
  /** The same while that is done. */
  refusing: 3,
} as const;

/**
 * Of an entry of the candidate's and the row beside it: they are the same to the byte, or there is neither.
 */
export function isEmpty({ columns, key }: CapturedTable): string {
  const gone = `t.${key[0]?.name ?? ''} IS NULL`;
  return `(j.${JOURNAL.blocked} IS NULL AND ((j.${JOURNAL.present} = 0 AND ${gone})
    OR (j.${JOURNAL.present} = 1 AND NOT ${gone} AND ${sameImage(columns, 'j', 't')})))`;
}

/** A value of an entry's image, as it is written: see `readDefaults`. */
export function written(
  { defaults }: CapturedTable,
  { schema }: ApplyColumn,
  value: string,
): string {
  const otherwise = defaults.get(schema.name);
  return otherwise === undefined ? value : `COALESCE(${value}, ${otherwise})`;
}

/**
 * What an UPDATE sets in a row `t`: these columns, by their names; the others to what they are, for there are
 * some that the servers stamp with each update.
 */
export function setOf(
  { columns, schema: { key } }: CapturedTable,
  values: ReadonlyMap<string, string>,
): string {
  return columns
    .filter(({ schema }) => !key.includes(schema.name) || values.has(schema.name))
    .map(({ name, schema }) => `t.${name} = ${values.get(schema.name) ?? `t.${name}`}`)
    .join(', ');
}

/** Locks the rows that are there of the staged keys, and marks them. Errors: RowsHeld. */
export async function lockRows(
  client: Client,
  table: OverlaidTable,
  others: Others = '',
): Promise<void> {
  const rows = await lockStaged(
    client,
    table,
    { from: joined(table, 't', 'staged'), lock: 'FOR UPDATE' },
    others,
  );
  const numbers = rows.map(({ seq }) => seq);
  await mark(client, table, numbers, 'have = 1');
}

/** The same of the entries. Returns how many of them are the candidate's, and of rows that are kept out. */
export async function lockEntries(
  client: Client,
  table: OverlaidTable,
  others: Others = '',
): Promise<{ readonly owned: number; readonly held: number }> {
  const rows = await lockStaged<{ seq: number; held: number }>(
    client,
    table,
    {
      columns: `j.${JOURNAL.blocked} IS NOT NULL AS held`,
      ...{ from: joined(table, 'j', 'staged'), lock: 'FOR UPDATE' },
    },
    others,
  );
  const numbers = (held: boolean): readonly number[] =>
    rows.filter((row) => (Number(row.held) === 1) === held).map(({ seq }) => seq);
  const [owned, held] = [numbers(false), numbers(true)];
  await mark(client, table, owned, `own = ${String(OWN.candidates)}`);
  await mark(client, table, held, 'held = 1');
  return { owned: owned.length, held: held.length };
}

export async function mark(
  client: Client,
  { stage }: CapturedTable,
  numbers: readonly number[],
  set: string,
): Promise<void> {
  for (let at = 0; at < numbers.length; at += MARKED_AT_ONCE) {
    const some = numbers.slice(at, at + MARKED_AT_ONCE).join(', ');
    await client.run(`UPDATE ${stage} SET ${set} WHERE seq IN (${some})`);
  }
}

/**
 * Makes the entries that staged rows lack, with production's image as it was, so that nothing that is staged
 * is written to the table. What is there was locked: who makes such a row now waits with its entry. What was
 * kept out is so no more: here all is production's image alone.
 */
export async function ownStaged(client: Client, table: CapturedTable): Promise<void> {
  const { journal, columns, key, stage } = table;
  const names = columns.map(({ name }) => name).join(', ');
  await client.run(
    `INSERT INTO ${journal} (${names}, ${JOURNAL.present})
      SELECT ${columns.map(({ name }) => `t.${name}`).join(', ')}, 1
      FROM ${joined(table, 't', 'staged')} WHERE s.have = 1 ${KEEPING}`,
  );
  await client.run(
    `INSERT INTO ${journal} (${key.map(({ name }) => name).join(', ')}, ${JOURNAL.present})
      SELECT ${key.map(({ staged }) => `s.${staged}`).join(', ')}, 0
      FROM ${stage} s WHERE s.have = 0 ${KEEPING}`,
  );
}

/**
 * Gives up the entries of staged rows that are owned where nothing is left of them: production's row and
 * what the candidate sees are the same to the byte, or there is neither. They are then not owned, but
 * `freed`. Returns how many.
 *
 * The rows were locked first and the entries then, each in a statement of its own. Who
 * writes such a row now is before its entry, which it waits for, and makes a new one by what it found. A
 * row that came between the two locks is left alone: only one that was locked may be taken for the same.
 */
export async function giveUpEmpty(
  client: Client,
  table: CapturedTable,
  ending: Ending,
): Promise<number> {
  const found = await client.rows<{ seq: number }>(
    `SELECT s.seq FROM ${joined(table, 'j', 'staged')} ${besideEntry(table)}
      WHERE s.own = 1 AND (s.have = 1 OR j.${JOURNAL.present} = 0) AND ${isEmpty(table)}`,
  );
  if (found.length === 0) return 0;
  const numbers = found.map(({ seq }) => seq);
  await mark(client, table, numbers, 'own = 0, freed = 1');
  // One that was refused after it was given up has another entry, of what is kept out.
  const entries = `${joined(table, 'j', 'staged')} WHERE s.freed = 1 AND s.own = ${String(OWN.nobodys)}`;
  // In an isolated table it may be that only production wrote the row.
  if (!table.isolated) {
    await client.run(insertOutcomes(table, ending, `${entries} AND j.${JOURNAL.moved} = 1`));
  }
  await client.run(`DELETE j FROM ${entries}`);
  return numbers.length;
}
