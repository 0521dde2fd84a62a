/**
 * Writes what waits, in the way of any step of production's: as far as nobody of the candidate's is at it any
 * more. What is written goes from where it waited in the same transaction.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { ensureStage, type ApplySession } from '../apply/apply.ts';
import { writeStaged } from '../apply/apply-captured.ts';
import type { OverlaidTable } from '../apply/overlaid-table.ts';
import { applyFailure } from '../apply/apply-error.ts';
import { lockStaged } from '../apply/held-rows.ts';
import { joined } from '../apply/staged-rows.ts';
import type { Client } from '../session/client.ts';
import { companionName, literal, quote, WAITING } from '../session/names.ts';
import { isAnyWaiting, readNoted } from './waiting.ts';

/**
 * Keys that are tried at once, by how often others like them had to be waited for: then one of them may be to
 * blame, and nothing tells which.
 */
const AT_ONCE = [2_000, 2_000, 100, 10, 1] as const;
/** Of one table, while something is written. */
const MOST_TURNS = 5;

/**
 * In the caller's READ COMMITTED transaction on an applier's session; of these tables (by `tableName()`), or of all. Waits for
 * nobody, but where nothing else tells whether somebody is in the way: then once in a while, and for the least
 * that the server knows.
 */
export async function writeWaiting(
  session: ApplySession,
  tables?: ReadonlySet<string>,
): Promise<{ readonly written: number; readonly left: number }> {
  let [written, left] = [0, 0];
  const noted = await readNoted(session.client, session.database);
  for (const table of noted.size === 0 ? [] : session.captured.values()) {
    if (!noted.has(table.schema.id.name) || tables?.has(table.label) === false) continue;
    if (!(await isAnyWaiting(session.client, table))) continue;
    table.patience.end();
    for (let turn = 0; turn < MOST_TURNS; turn += 1) {
      const some = await writeSome(session, table);
      written += some;
      if (some === 0) break;
    }
    const { keys } = await session.client.row<{ keys: string }>(
      `SELECT COUNT(*) AS \`keys\` FROM ${table.waiting}`,
    );
    left += Number(keys);
  }
  return { written, left };
}

async function writeSome(session: ApplySession, table: OverlaidTable): Promise<number> {
  const { client, database } = session;
  const { patience, stage } = table;
  try {
    await ensureStage(session, table);
    const apart = await pick(client, table);
    if (apart === null) return 0;
    const masks = await stageWaiting(client, table, apart);
    const { last, d, f, q } = await countStaged(client, table);
    const { source } = await client.row<{ source: string | null }>(
      `SELECT source FROM ${quote(companionName(database), 'progress')}`,
    );
    const counts = { f, p: 0, q, d };
    await writeStaged(
      client,
      table,
      { masks, counts },
      { changes: [], source, from: 'what waits' },
    );
    // What was staged beside them, of rows in their way, is not what waits.
    const { rows } = await client.run(
      `DELETE w FROM ${joined(table, 'w', 'staged')} WHERE s.seq <= ${String(last)}`,
    );
    if (rows > 0 && apart > 0) {
      patience.succeeded();
      await client.run(
        `UPDATE ${table.waiting} SET ${WAITING.apart} = 1 WHERE ${WAITING.apart} > 1`,
      );
    }
    await client.run(`DELETE FROM ${stage}`);
    return rows;
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/** Those that are tried together are of one kind; null if none may be tried now. */
async function pick(client: Client, { waiting, patience }: OverlaidTable): Promise<number | null> {
  const which = patience.mayTry ? 'TRUE' : `${WAITING.apart} = 0`;
  const [found] = await client.rows<{ apart: number }>(
    `SELECT ${WAITING.apart} AS apart FROM ${waiting} WHERE ${which} ORDER BY RAND() LIMIT 1`,
  );
  return found === undefined ? null : Number(found.apart);
}

/** Not always the same ones, where there are more. Returns the masks of those that lack columns. */
async function stageWaiting(
  client: Client,
  table: OverlaidTable,
  apart: number,
): Promise<ReadonlyMap<number, readonly boolean[]>> {
  const { stage, waiting, key, columns } = table;
  const size = AT_ONCE[Math.min(apart, AT_ONCE.length - 1)] ?? 1;
  await client.run(`DELETE FROM ${stage}`);
  await client.run(
    `INSERT INTO ${stage} (${key.map(({ staged }) => staged).join(', ')}, seq, op, mask)
      SELECT ${key.map(({ name }) => `o.${name}`).join(', ')}, ROW_NUMBER() OVER (), 'd', 0
      FROM (SELECT * FROM ${waiting} WHERE ${WAITING.apart} = ${String(apart)}
        ORDER BY RAND() LIMIT ${String(size)}) o`,
  );
  // Others who share the database write some of them.
  const from = joined(table, 'w', 'staged');
  const ours = await lockStaged(client, table, { from, lock: 'FOR UPDATE' }, 'SKIP LOCKED');
  const seqs = ours.map(({ seq }) => seq);
  await client.run(
    `DELETE FROM ${stage} ${seqs.length === 0 ? '' : `WHERE seq NOT IN (${seqs.join(', ')})`}`,
  );
  const lacks = await client.rows<{ lacks: string }>(
    `SELECT DISTINCT w.${WAITING.lacks} AS lacks FROM ${from} WHERE w.${WAITING.lacks} IS NOT NULL`,
  );
  const number = lacks.map(({ lacks: text }, i) => `WHEN ${literal(text)} THEN ${String(i + 1)}`);
  const mask = number.length === 0 ? '0' : `CASE w.${WAITING.lacks} ${number.join(' ')} ELSE 0 END`;
  await client.run(
    `UPDATE ${from} SET ${columns.map(({ name, staged }) => `s.${staged} = w.${name}`).join(', ')},
      s.op = IF(w.${WAITING.present} = 0, 'd', IF(w.${WAITING.lacks} IS NULL, 'f', 'q')), s.mask = ${mask}`,
  );
  return new Map(lacks.map(({ lacks: text }, i) => [i + 1, [...text].map((one) => one === '1')]));
}

async function countStaged(
  client: Client,
  { stage }: OverlaidTable,
): Promise<{ readonly last: number; readonly d: number; readonly f: number; readonly q: number }> {
  const found = await client.row<Record<'last' | 'd' | 'f' | 'q', string | null>>(
    `SELECT MAX(seq) AS last, SUM(op = 'd') AS d, SUM(op = 'f') AS f, SUM(op = 'q') AS q FROM ${stage}`,
  );
  return {
    last: Number(found.last ?? 0),
    ...{ d: Number(found.d ?? 0), f: Number(found.f ?? 0), q: Number(found.q ?? 0) },
  };
}

/**
 * Writes all that waits, so that tables may get another shape: what is written by then is none's to be carried
 * along. `write` is one act. APPLY_BLOCKED if the candidate is at some of it still, which would keep the tables
 * from being changed as well.
 */
export async function settleWaiting(
  database: string,
  write: () => Promise<{ readonly written: number; readonly left: number }>,
): Promise<void> {
  for (let at = await write(); at.left > 0; at = await write()) {
    if (at.written > 0) continue;
    const what = 'transactions of the candidate hold rows of which changes wait';
    throw new UnderstudyError('APPLY_BLOCKED', what, {
      database,
      detail: `${String(at.left)} keys`,
    });
  }
}
