/**
 * Conflicts by which rows were kept out, of rows that the candidate came to since: a trigger takes the row for the
 * candidate's, and here it is told of which kind the conflict is by then. Until that is done it is listed by the
 * name that it had.
 */
import { ensureStage, type ApplySession } from '../apply/apply.ts';
import type { Others } from '../apply/held-rows.ts';
import type { OverlaidTable } from '../apply/overlaid-table.ts';
import { joined, lockEntries, lockRows } from '../apply/staged-rows.ts';
import { IS_UNSETTLED, settleStaged } from './conflict-sql.ts';

/** Told at once; the next sweep is as good. */
const AT_ONCE = 2_000;

export interface Settling {
  /** A condition over entries, as `alias`. Default: all. */
  readonly which?: (alias: string) => string;
  readonly others: Others;
}

/**
 * Of the entries of which `which` holds, in the caller's READ COMMITTED transaction on an applier's session. With
 * SKIP LOCKED those are left that somebody is at. Errors: the driver's.
 */
export async function settleKinds(
  session: ApplySession,
  table: OverlaidTable,
  { which, others }: Settling,
): Promise<void> {
  const { client } = session;
  const { stage, journal, key } = table;
  await ensureStage(session, table);
  await client.run(`DELETE FROM ${stage}`);
  // No image is written: keys are enough.
  const { rows } = await client.run(
    `INSERT INTO ${stage} (${key.map(({ staged }) => staged).join(', ')}, seq, op, mask)
      SELECT ${key.map(({ name }) => `j.${name}`).join(', ')}, ROW_NUMBER() OVER (), 'd', 0
      FROM ${journal} j WHERE ${IS_UNSETTLED} AND ${which?.('j') ?? 'TRUE'} LIMIT ${String(AT_ONCE)}`,
  );
  if (rows === 0) return;
  await lockRows(client, table, others);
  await lockEntries(client, table, others);
  const locked = await client.rows<{ seq: number }>(
    `SELECT s.seq FROM ${joined(table, 't', 'staged')} WHERE s.have = 0`,
  );
  if (locked.length > 0) {
    const seqs = locked.map(({ seq }) => seq).join(', ');
    await client.run(`DELETE FROM ${stage} WHERE seq IN (${seqs})`);
  }
  await settleStaged(client, table);
}
