/**
 * Candidates go on writing while one of their migrations begins, runs and ends. Whatever commits beside either
 * end: production's image is production, and what differs from it is exactly what is captured.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Random } from '../support/random.ts';
import { baseSeed } from '../support/seeds.ts';
import { byKey, fill, missed, playProduction, statement } from './migrating-race.fixture.ts';
import { ALL_ENGINES, anyRollout } from './rollout.fixture.ts';

const THING = 'CREATE TABLE thing (id INT PRIMARY KEY, a INT, b VARCHAR(20), old INT)';
/** What is looked at after it, so that there is time in between. */
const OTHERS = Array.from({ length: 8 }, (_, i) => `CREATE TABLE z${i} (id INT PRIMARY KEY)`);
/** Most of them nobody owns by then. */
const KEYS = 600;
const WRITERS = 4;

/** A lock, a deadlock, a key that is there: a candidate meets these in production too. */
const MET = /1205|1213|1062|40P01|55P03|23505|40001|ER_LOCK|ER_DUP|duplicate key|deadlock|lock/i;

describe.each(ALL_ENGINES)('a migration beside writers on %s', (engine) => {
  it('loses nothing of production’s image, and misses nothing that they wrote', async () => {
    const seed = baseSeed(process.env['UNDERSTUDY_SEED']);
    const random = new Random(seed);
    const at = await anyRollout(engine, THING, ...OTHERS);
    const model = await fill(at, KEYS);
    const over = new AbortController();
    const failures: unknown[] = [];
    let written = 0;
    const writers = Array.from({ length: WRITERS }, async (_, i) => {
      const own = new Random(seed + i + 1);
      while (!over.signal.aborted) {
        try {
          await at.run(statement(own, KEYS));
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
    await playProduction(at, model, { random, keys: KEYS, batches: 8 });
    const { migrations } = at.database;
    const { url } = await migrations.begin(at.fence, { role: at.role, renames: [] });
    await at.as(
      url,
      'ALTER TABLE thing ADD COLUMN extra INT DEFAULT 3; ALTER TABLE thing DROP COLUMN old; UPDATE thing SET extra = id',
    );
    const before = written;
    await sleep(300);
    await migrations.end(at.fence);
    await playProduction(at, model, { random, keys: KEYS, batches: 8 });
    over.abort();
    await Promise.all(writers);
    expect(failures).toEqual([]);
    // They wrote also while it ran.
    expect(written).toBeGreaterThan(before);
    const seedNote = `seed ${String(seed)}`;
    const production = byKey(await at.production('thing', 'id, a, b, old'));
    const told = byKey([...model].map(([id, row]) => [id, ...row]));
    expect(production, seedNote).toEqual(told);
    // What it wrote into its own columns alone is no difference to production.
    expect(await missed(at), seedNote).toEqual([]);
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
  });
});
