/**
 * Two sessions of the candidate change tables, in transactions of every kind, while others write and production's
 * changes are applied. Whatever meets: production's image is production after each batch, and what differs from
 * it is exactly what is captured.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { expect, it } from 'vitest';
import { letMigrate } from '../../src/dialect/migrating.ts';
import { waitingOf } from '../../src/dialect/waiting.ts';
import { Random } from '../support/random.ts';
import { baseSeed } from '../support/seeds.ts';
import { byKey, fill, missed, playProduction, statement } from './migrating-race.fixture.ts';
import { anyRollout } from './rollout.fixture.ts';
import { session } from './shadow.fixture.ts';

const THING = 'CREATE TABLE thing (id INT PRIMARY KEY, a INT, b VARCHAR(20), old INT)';
const KEYS = 200;
const WRITERS = 3;
const MIGRATORS = 2;
const BATCHES = 25;
/** Changes of the candidate's schema, and how often production goes on until they are there. */
const ENOUGH = 10;
const MOST_ROUNDS = 20;

/** A lock, a deadlock, a key or a column that is there or not, a table in use: as in production. */
const MET = /deadlock|duplicate key|lock|does not exist|already exists|hold|concurrently/i;

const CHANGES = [
  'ALTER TABLE thing ADD COLUMN extra INT DEFAULT 3',
  'ALTER TABLE thing DROP COLUMN extra',
  'ALTER TABLE thing ALTER COLUMN a TYPE bigint',
  'ALTER TABLE thing ALTER COLUMN a TYPE int',
  'ALTER TABLE thing DISABLE TRIGGER USER',
  'CREATE INDEX ON thing (b)',
  'CREATE TABLE made AS SELECT 1 AS id',
  'DROP TABLE made',
] as const;

async function migrate(client: pg.Client, random: Random): Promise<void> {
  const change = CHANGES[random.integer(0, CHANGES.length - 1)] ?? '';
  if (random.integer(0, 2) === 0) {
    await client.query(change);
    return;
  }
  await client.query('BEGIN');
  try {
    if (random.integer(0, 1) === 0) await client.query(statement(random, KEYS));
    await client.query(change);
    if (random.integer(0, 1) === 0) await sleep(random.integer(1, 40));
    await client.query(statement(random, KEYS));
    await client.query(random.integer(0, 2) === 0 ? 'ROLLBACK' : 'COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

it('loses nothing of production’s image, and misses nothing that the candidate wrote', async () => {
  const seed = baseSeed(process.env['UNDERSTUDY_SEED']);
  const seedNote = `seed ${String(seed)}`;
  const random = new Random(seed);
  const at = await anyRollout('postgresql', THING, 'CREATE TABLE z (id INT PRIMARY KEY)');
  await letMigrate(at.database, at.fence, at.role);
  const model = await fill(at, KEYS);
  const over = new AbortController();
  const failures: unknown[] = [];
  let migrated = 0;
  const persist = async (act: () => Promise<unknown>): Promise<boolean> => {
    try {
      await act();
      return true;
    } catch (error) {
      if (!MET.test((error as Error).message)) failures.push(error);
      return false;
    }
  };
  const busy = Array.from({ length: WRITERS + MIGRATORS }, async (_, i) => {
    const own = new Random(seed + i + 1);
    const client = await session(at.url);
    while (!over.signal.aborted) {
      if (i < WRITERS) await persist(() => client.query(statement(own, KEYS)));
      else if (await persist(() => migrate(client, own))) migrated += 1;
      await sleep(own.integer(0, i < WRITERS ? 5 : 150));
    }
  });
  // How many come between two batches goes by what else the machine does.
  for (let round = 0; round === 0 || (migrated <= ENOUGH && round < MOST_ROUNDS); round += 1) {
    await playProduction(at, model, { random, keys: KEYS, batches: BATCHES });
  }
  over.abort();
  await Promise.all(busy);
  expect(failures).toEqual([]);
  expect(migrated).toBeGreaterThan(ENOUGH);
  // What was begun last is ended.
  for (let left = 1; left > 0;) left = (await waitingOf(at.database)?.write(at.fence))?.left ?? 0;
  const production = byKey(await at.production('thing', 'id, a, b, old'));
  expect(production, seedNote).toEqual(byKey([...model].map(([id, row]) => [id, ...row])));
  expect(await missed(at), seedNote).toEqual([]);
  expect(await at.database.watchCapture(at.fence)).toEqual([]);
});
