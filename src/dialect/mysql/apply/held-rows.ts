/** Locks on what staged rows are joined to, without waiting for who holds them. */
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import { LOCK_WAIT_S, type Patience } from './patience.ts';

/** What is done about rows that others hold. NOWAIT: RowsHeld. */
export type Others = '' | 'SKIP LOCKED' | 'NOWAIT';

/** Others hold what some staged rows need, or it may be. All that could be locked is. */
export class RowsHeld extends Error {
  readonly seqs: readonly number[];
  readonly why: 'held' | 'in doubt';

  constructor(seqs: readonly number[], why: RowsHeld['why'] = 'held') {
    super('others hold rows');
    this.seqs = seqs;
    this.why = why;
  }
}

export interface Locking {
  /** Beside `s.seq`, which comes first. */
  readonly columns?: string;
  /** The staging table as `s`, first, and what its rows are joined to. */
  readonly from: string;
  /** Of `s` alone. */
  readonly where?: string;
  readonly lock: string;
}

/** Looks at single rows, at most; of what is left then all counts as held. */
const MOST_LOOKS = 400;

/**
 * Locks, and returns the rows of the join. With NOWAIT: RowsHeld names the staged rows that cannot have a lock;
 * also those of which what is held is not there for others yet, or no more.
 */
export async function lockStaged<Row extends { readonly seq: number }>(
  client: Client,
  { stage, patience: { engine } }: { readonly stage: string; readonly patience: Patience },
  { columns, from, where = 'TRUE', lock }: Locking,
  others: Others,
): Promise<readonly Row[]> {
  const list = ['s.seq', ...(columns === undefined ? [] : [columns])].join(', ');
  // One that is not to wait at all fails on MariaDB where it skips a row.
  const patient =
    engine === 'mariadb'
      ? `SET STATEMENT innodb_lock_wait_timeout = ${String(LOCK_WAIT_S)} FOR`
      : '';
  const select = (how: string, and = ''): Promise<readonly Row[]> =>
    client.rows(
      `${how.endsWith('SKIP LOCKED') ? patient : ''} SELECT ${list} FROM ${from} WHERE ${where} ${and} ORDER BY s.seq ${how}`,
    );
  const first = others === 'NOWAIT' ? await unlessHeld(() => select(`${lock} NOWAIT`)) : null;
  if (first !== null) return first;
  if (others !== 'NOWAIT') return select(`${lock} ${others}`);
  const free = await select(`${lock} SKIP LOCKED`);
  const known = new Set(free.map(({ seq }) => seq));
  // Seen, and not to be had.
  const held = new Set((await select('')).flatMap(({ seq }) => (known.has(seq) ? [] : [seq])));
  const all = await client.rows<{ seq: number }>(
    `SELECT s.seq FROM ${stage} s WHERE ${where} ORDER BY s.seq`,
  );
  const rest = all.flatMap(({ seq }) => (known.has(seq) || held.has(seq) ? [] : [seq]));
  const come = await lookAt(rest, held, (some) =>
    unlessHeld(() => select(`${lock} NOWAIT`, `AND s.seq IN (${some.join(', ')})`)),
  );
  if (held.size > 0) throw new RowsHeld([...held]);
  return [...free, ...come];
}

/** What is not seen, by halves. Returns what came meanwhile. */
async function lookAt<Row>(
  seqs: readonly number[],
  held: Set<number>,
  look: (seqs: readonly number[]) => Promise<readonly Row[] | null>,
): Promise<readonly Row[]> {
  const come: Row[] = [];
  let looks = 0;
  const queue = seqs.length === 0 ? [] : [seqs];
  for (const some of queue) {
    looks += 1;
    const found = looks > MOST_LOOKS ? null : await look(some);
    if (found !== null) come.push(...found);
    else if (some.length === 1 || looks > MOST_LOOKS) for (const seq of some) held.add(seq);
    else {
      const middle = Math.ceil(some.length / 2);
      queue.push(some.slice(0, middle), some.slice(middle));
    }
  }
  return come;
}

async function unlessHeld<T>(act: () => Promise<T>): Promise<T | null> {
  try {
    return await act();
  } catch (error) {
    if (!isHeld(error)) throw error;
    return null;
  }
}

/** By the server's word another session holds a row, and the transaction goes on. */
export function isHeld(error: unknown): boolean {
  return hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.lockNoWait);
}

/** A shared lock; only the older of the two names is known to both, and takes no word on others. */
export function sharedLock(engine: Flavour['engine']): string {
  return engine === 'mysql' ? 'FOR SHARE' : 'LOCK IN SHARE MODE';
}
