/** What is known of the rows that a failure of the storm names. */
import { AssertionError } from 'node:assert/strict';
import type { Places, Session } from './engine.ts';

/** Runs what judges; if it fails, notes of each row what is there and what was written. */
export async function explained(
  judge: () => void,
  at: {
    readonly observer: Session;
    readonly places: Places;
    readonly note: (line: string) => void;
    readonly which?: readonly number[];
  },
): Promise<void> {
  try {
    judge();
  } catch (error) {
    const { observer, note } = at;
    const { log, journal, table, production } = at.places;
    for (const id of at.which ?? differing(error)) {
      const of = async (what: string): Promise<string> => JSON.stringify(await observer.rows(what));
      note(`row ${String(id)}: ${await of(`SELECT * FROM ${table} WHERE id = ${String(id)}`)}`);
      note(`  production ${await of(`SELECT * FROM ${production} WHERE id = ${String(id)}`)}`);
      note(`  journal ${await of(`SELECT * FROM ${journal} WHERE id = ${String(id)}`)}`);
      note(
        `  log ${await of(`SELECT * FROM ${log} WHERE id IN (0, ${String(id)}) ORDER BY seq DESC LIMIT 12`)}`,
      );
    }
    throw error;
  }
}

/** Rows of which a comparison says that they differ. */
function differing(error: unknown): readonly number[] {
  if (!(error instanceof AssertionError)) return [];
  const by = (rows: unknown): ReadonlyMap<number, string> =>
    new Map(
      (Array.isArray(rows) ? (rows as unknown[]) : []).map((one) =>
        Array.isArray(one) ? [Number(one[0]), JSON.stringify(one)] : [Number(one), 'entry'],
      ),
    );
  const [actual, expected] = [by(error.actual), by(error.expected)];
  return [...new Set([...actual.keys(), ...expected.keys()])].filter(
    (id) => Number.isInteger(id) && actual.get(id) !== expected.get(id),
  );
}
