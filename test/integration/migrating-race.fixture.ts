/** What runs against each other while a candidate's tables change: its writes, and production's changes. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../support/random.ts';
import { gone, put } from './mysql.fixture.ts';
import type { AnyRollout } from './rollout.fixture.ts';

/** One that the candidate writes rows by. */
export function statement(random: Random, keys: number): string {
  const id = String(random.integer(1, keys));
  const a = String(random.integer(1, 99));
  switch (random.integer(0, 3)) {
    case 0:
      return `UPDATE thing SET a = ${a} WHERE id = ${id}`;
    case 1:
      return `DELETE FROM thing WHERE id = ${id}`;
    case 2:
      return `INSERT INTO thing (id, a, b) VALUES (${id}, ${a}, 'c')`;
    default:
      return `UPDATE thing SET b = 'all' WHERE id BETWEEN ${id} AND ${id} + 3`;
  }
}

/** Production's rows by their keys, as told so far. */
export type Model = Map<number, readonly [a: number, b: string, old: number]>;

/** Batches, each of which is tried again for as long as the candidate is in the way. */
export async function playProduction(
  at: AnyRollout,
  model: Model,
  {
    random,
    keys,
    batches,
  }: { readonly random: Random; readonly keys: number; readonly batches: number },
): Promise<void> {
  for (let batch = 0; batch < batches; batch += 1) {
    const ids = new Set(Array.from({ length: 5 }, () => random.integer(1, keys)));
    const changes = [...ids].map((id) => {
      if (random.integer(0, 3) === 0) {
        model.delete(id);
        return gone(String(id));
      }
      const [a, old] = [random.integer(1000, 1099), random.integer(1, 9)];
      model.set(id, [a, 'p', old]);
      return put(['id'], { id: String(id), a: String(a), b: 'p', old: String(old) });
    });
    for (let attempt = 0; ; attempt += 1) {
      try {
        await at.apply(at.step('thing', ...changes));
        break;
      } catch (error) {
        if (attempt > 200 || (error as { code?: string }).code !== 'APPLY_BLOCKED') throw error;
        await sleep(20);
      }
    }
  }
}

/** Each as `key: row`. */
export const byKey = (rows: readonly (readonly unknown[])[]): ReadonlyMap<string, string> =>
  new Map(rows.map(([id, ...rest]) => [String(id), rest.map(String).join('|')]));

/** So many rows of production's, applied. */
export async function fill(at: AnyRollout, keys: number): Promise<Model> {
  const all = Array.from({ length: keys }, (_, i) => i + 1);
  const whole = all.map((id) =>
    put(['id'], { id: String(id), a: String(id), b: 'p', old: String(id) }),
  );
  await at.apply(at.step('thing', ...whole));
  return new Map(all.map((id) => [id, [id, 'p', id]]));
}

/** Keys of rows that are seen to differ from production's image. */
async function differing(at: AnyRollout): Promise<readonly string[]> {
  const image = byKey(await at.production('thing', 'id, a, b'));
  const seen = byKey(await at.rows('SELECT id, a, b FROM thing'));
  const all = new Set([...image.keys(), ...seen.keys()]);
  return [...all].filter((key) => image.get(key) !== seen.get(key));
}

/** Those of them that are not captured. */
export async function missed(at: AnyRollout): Promise<readonly string[]> {
  const captured = (await at.database.overlayRows(1000)).map(({ key }) => String(key[0]));
  return (await differing(at)).filter((key) => !captured.includes(key));
}
