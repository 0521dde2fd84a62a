/** A snapshot of the scenario's production, and the barrier that a drift check makes of it. */
import type { BarrierPlan } from '../../../src/apply/barrier.ts';
import { partitionKey } from '../../../src/change/position.ts';
import type { ChangeEvent } from '../../../src/change/record.ts';
import type { Random } from '../random.ts';
import type { History, LogEntry } from './history.ts';

/**
 * Pins a snapshot at a random moment. It does not see what was committed after that, nor some
 * transactions before it: those had reached the log and still held their locks, so that nothing
 * the snapshot sees has touched what they had touched before.
 */
export function pinSomewhere(history: History, random: Random): BarrierPlan {
  const { written } = history;
  const last = written.reduce((max, { transaction }) => Math.max(max, transaction ?? 0), 0);
  const pin = random.integer(0, last);
  const unseen = unseenAt(history, pin, random);
  // The marker lies behind all that the snapshot saw.
  const seen = written.findLastIndex(
    ({ transaction, effect }) =>
      transaction !== null && transaction <= pin && effect.kind !== 'none',
  );
  const ends = new Map<string, bigint>();
  for (const { record } of written.slice(0, random.integer(seen + 1, written.length))) {
    ends.set(partitionKey(record.at.topic, record.at.partition), record.at.offset + 1n);
  }
  const transactions = new Map(written.map(({ record, transaction }) => [record, transaction]));
  const visible = (change: ChangeEvent): boolean => !unseen.has(transactions.get(change) ?? -1);
  return { visible, ends, starts: new Map() };
}

function unseenAt(history: History, pin: number, random: Random): ReadonlySet<number> {
  const unseen = new Set<number>();
  const held = new Set<string>();
  const byTransaction = new Map<number, LogEntry[]>();
  for (const entry of history.written) {
    if (entry.transaction === null) continue;
    const entries = byTransaction.get(entry.transaction) ?? [];
    byTransaction.set(entry.transaction, [...entries, entry]);
  }
  for (const [transaction, entries] of [...byTransaction].toSorted(([a], [b]) => a - b)) {
    const locks = entries.flatMap(locksOf);
    const waits = locks.some((lock) => meets(lock, held));
    if (transaction <= pin && !waits && !random.chance(0.15)) continue;
    unseen.add(transaction);
    for (const lock of locks) held.add(lock);
  }
  return unseen;
}

/** What a change locks: `table/key`, or `table` where it is more than a row. */
function locksOf({ table, effect }: LogEntry): readonly string[] {
  if (table === null) return [];
  // A unique value that was given up is taken by another row.
  if (table === 'seat') return [table];
  switch (effect.kind) {
    case 'put':
    case 'remove':
      return [`${table}/${effect.key}`];
    case 'clear':
      return [table];
    case 'none':
      return [];
  }
}

function meets(lock: string, held: ReadonlySet<string>): boolean {
  const [table = ''] = lock.split('/');
  if (held.has(lock) || held.has(table)) return true;
  return lock === table && [...held].some((other) => other.startsWith(`${table}/`));
}
