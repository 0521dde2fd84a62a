/**
 * Writers of a candidate and an applier at one isolated table `job (id, state)` at the same time. Each writer
 * has keys of its own, and knows what it left there; the applier knows production's rows.
 */
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import { Random } from './random.ts';

const KEYS = 24;
const WRITERS = 4;

export interface RaceParts {
  readonly seed: number;
  readonly forMs: number;
  /** Statements of one transaction, as the candidate; may be refused for a lock, and is then undone. */
  readonly write: (
    writer: number,
    statements: readonly string[],
    commits: boolean,
  ) => Promise<boolean>;
  /** Changes of production's, by key; null: the row goes. False where it was kept out by a lock. */
  readonly apply: (changes: ReadonlyMap<number, string | null>) => Promise<boolean>;
}

export interface Raced {
  /** What the candidate has to see, and what production has. */
  readonly visible: ReadonlyMap<number, string>;
  readonly production: ReadonlyMap<number, string>;
  readonly written: number;
  readonly applied: number;
}

/** Before it both have rows 0 to 11, of which the state is `old`. */
export async function race(parts: RaceParts): Promise<Raced> {
  const { seed, forMs, write, apply } = parts;
  const rows = (): Map<number, string> =>
    new Map(Array.from({ length: KEYS / 2 }, (_, key) => [key, 'old']));
  const [visible, production] = [rows(), rows()];
  const end = performance.now() + forMs;
  let [written, applied] = [0, 0];
  const writer = async (number: number): Promise<void> => {
    const random = new Random(seed + number);
    for (let turn = 0; performance.now() < end; turn += 1) {
      const after = new Map(visible);
      const statements: string[] = [];
      for (let left = random.integer(1, 3); left > 0; left -= 1) {
        const key = random.integer(0, KEYS / WRITERS - 1) * WRITERS + number;
        const state = `w${String(number)}.${String(turn)}.${String(left)}`;
        if (!after.has(key)) {
          statements.push(`INSERT INTO job (id, state) VALUES (${String(key)}, '${state}')`);
          after.set(key, state);
        } else if (random.chance(0.5)) {
          statements.push(`UPDATE job SET state = '${state}' WHERE id = ${String(key)}`);
          after.set(key, state);
        } else {
          statements.push(`DELETE FROM job WHERE id = ${String(key)}`);
          after.delete(key);
        }
      }
      const commits = random.chance(0.8);
      if (!(await write(number, statements, commits)) || !commits) continue;
      written += 1;
      for (let key = number; key < KEYS; key += WRITERS) {
        const state = after.get(key);
        if (state === undefined) visible.delete(key);
        else visible.set(key, state);
      }
    }
  };
  const applier = async (): Promise<void> => {
    const random = new Random(seed + WRITERS);
    for (let turn = 0; performance.now() < end; turn += 1) {
      const changes = new Map<number, string | null>();
      for (let left = random.integer(1, 6); left > 0; left -= 1) {
        const gone = random.chance(0.4);
        changes.set(random.integer(0, KEYS - 1), gone ? null : `p${String(turn)}`);
      }
      if (!(await apply(changes))) continue;
      applied += 1;
      for (const [key, state] of changes) {
        if (state === null) production.delete(key);
        else production.set(key, state);
      }
    }
  };
  await Promise.all([applier(), ...Array.from({ length: WRITERS }, (_, n) => writer(n))]);
  return { visible, production, written, applied };
}

/** As the database tells it: rows in the order of their keys. */
export function inOrder(rows: ReadonlyMap<number, string>): readonly (readonly [number, string])[] {
  return [...rows].toSorted(([a], [b]) => a - b);
}

/** One transaction of the candidate's; false if it was refused, and is undone. */
export async function written(
  query: (sql: string) => Promise<unknown>,
  statements: readonly string[],
  commits: boolean,
): Promise<boolean> {
  try {
    await query('START TRANSACTION');
    for (const statement of statements) await query(statement);
    await query(commits ? 'COMMIT' : 'ROLLBACK');
    return true;
  } catch {
    await query('ROLLBACK');
    return false;
  }
}

/** False where a lock kept it out. */
export function appliedUnlessBlocked(applying: Promise<unknown>): Promise<boolean> {
  return applying.then(
    () => true,
    (error: unknown) => {
      if (isUnderstudyError(error, 'APPLY_BLOCKED')) return false;
      throw error;
    },
  );
}
