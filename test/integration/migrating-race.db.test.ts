/**
 * Candidates go on writing while one of their migrations begins, runs and ends. Whatever commits beside either
 * end: production's image is production, and what differs from it is exactly what is captured.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Random } from '../support/random.ts';
import { baseSeed } from '../support/seeds.ts';
import { gone, put } from './mysql.fixture.ts';
import { ALL_ENGINES, anyRollout, type AnyRollout } from './rollout.fixture.ts';

const THING = 'CREATE TABLE thing (id INT PRIMARY KEY, a INT, b VARCHAR(20), old INT)';
/** What is looked at after it, so that there is time in between. */
const OTHERS = Array.from({ length: 8 }, (_, i) => `CREATE TABLE z${i} (id INT PRIMARY KEY)`);
/** Most of them nobody owns by then. */
const KEYS = 600;
const WRITERS = 4;

/** A lock, a deadlock, a key that is there: a candidate meets these in production too. */
const MET = /1205|1213|1062|40P01|55P03|23505|40001|ER_LOCK|ER_DUP|duplicate key|deadlock|lock/i;

function statement(random: Random): string {
  const id = String(random.integer(1, KEYS));
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
async function playProduction(
  at: AnyRollout,
  model: Map<number, readonly [a: number, b: string, old: number]>,
  random: Random,
): Promise<void> {
  for (let batch = 0; batch < 8; batch += 1) {
    const ids = new Set(Array.from({ length: 5 }, () => random.integer(1, KEYS)));
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
        if (attempt > 50 || (error as { code?: string }).code !== 'APPLY_BLOCKED') throw error;
        await sleep(20);
      }
    }
  }
}

/** Each as `key: row`. */
const byKey = (rows: readonly (readonly unknown[])[]): ReadonlyMap<string, string> =>
  new Map(rows.map(([id, ...rest]) => [String(id), rest.map(String).join('|')]));

describe.each(ALL_ENGINES)('a migration beside writers on %s', (engine) => {
  it('loses nothing of production’s image, and misses nothing that they wrote', async () => {
    const seed = baseSeed(process.env['UNDERSTUDY_SEED']);
    const random = new Random(seed);
    const at = await anyRollout(engine, THING, ...OTHERS);
    const model = new Map<number, readonly [number, string, number]>();
    const all = Array.from({ length: KEYS }, (_, i) => i + 1);
    for (const id of all) model.set(id, [id, 'p', id]);
    const whole = all.map((id) =>
      put(['id'], { id: String(id), a: String(id), b: 'p', old: String(id) }),
    );
    await at.apply(at.step('thing', ...whole));
    const over = new AbortController();
    const failures: unknown[] = [];
    let written = 0;
    const writers = Array.from({ length: WRITERS }, async (_, i) => {
      const own = new Random(seed + i + 1);
      while (!over.signal.aborted) {
        try {
          await at.run(statement(own));
          written += 1;
        } catch (error) {
          const {
            code = '',
            errno = '',
            message,
          } = error as Error & { code?: string; errno?: number };
          if (!MET.test(`${code} ${String(errno)} ${message}`)) failures.push(error);
        }
      }
    });
    await playProduction(at, model, random);
    const { migrations } = at.database;
    const { url } = await migrations.begin(at.fence, { role: at.role, renames: [] });
    await at.as(
      url,
      'ALTER TABLE thing ADD COLUMN extra INT DEFAULT 3; ALTER TABLE thing DROP COLUMN old; UPDATE thing SET extra = id',
    );
    const before = written;
    await sleep(300);
    await migrations.end(at.fence);
    await playProduction(at, model, random);
    over.abort();
    await Promise.all(writers);
    expect(failures).toEqual([]);
    // They wrote also while it ran.
    expect(written).toBeGreaterThan(before);
    const seedNote = `seed ${String(seed)}`;
    const production = byKey(await at.production('thing', 'id, a, b, old'));
    const told = byKey([...model].map(([id, row]) => [id, ...row]));
    expect(production, seedNote).toEqual(told);
    const image = byKey(await at.production('thing', 'id, a, b'));
    const seen = byKey(await at.rows('SELECT id, a, b FROM thing'));
    const differing = [...new Set([...image.keys(), ...seen.keys()])].filter(
      (key) => image.get(key) !== seen.get(key),
    );
    const captured = (await at.database.overlayRows(1000)).map(({ key }) => String(key[0]));
    // What it wrote into its own columns alone is no difference to production.
    expect(
      differing.filter((key) => !captured.includes(key)),
      seedNote,
    ).toEqual([]);
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
  });
});
