/**
 * A foreign key whose two ends are written at once: production deletes what an uncommitted row of the candidate's
 * refers to, or refers to what the candidate is about to delete. Nothing is lost, no other key waits, and what
 * refers to none in the end is told.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { RowShape } from '../../src/change/value.ts';
import { waitingOf } from '../../src/dialect/waiting.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import { ALL_ENGINES, anyRollout, type AnyRollout } from './rollout.fixture.ts';

const FAMILY = [
  'CREATE TABLE p (id int PRIMARY KEY, n int)',
  'CREATE TABLE c (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES p (id))',
];
const SHAPES = { p: new RowShape(['id', 'n']), c: new RowShape(['id', 'p']) };
const ROUNDS = 40;

function put(table: 'p' | 'c', ...values: readonly string[]): NetChange {
  const key = values.slice(0, 1);
  const image = { shape: SHAPES[table], values };
  return { kind: 'upsert', key, from: key, complete: true, image };
}

/** As a follower does. */
async function applied(at: AnyRollout, ...steps: readonly BatchStep[]): Promise<void> {
  for (const until = performance.now() + 20_000; ;) {
    try {
      await at.apply(...steps);
      return;
    } catch (error) {
      if (!isUnderstudyError(error, 'APPLY_BLOCKED') || performance.now() > until) throw error;
      await pause(20);
    }
  }
}

async function settled(at: AnyRollout): Promise<void> {
  const write = async (): Promise<number | undefined> =>
    (await waitingOf(at.database)?.write(at.fence))?.left;
  await expect.poll(write, { timeout: 10_000 }).toBe(0);
}

/** Sets a row of its own to each number, in a batch of its own, while whatever waits waits. */
async function goOn(at: AnyRollout): Promise<void> {
  for (let n = 1; n <= ROUNDS; n += 1) {
    await applied(at, at.step('p', put('p', '5', String(n))));
    const [row] = await at.rows('SELECT n FROM p WHERE id = 5');
    expect(row).toEqual([n]);
    await pause(5);
  }
}

async function begun(engine: AnyRollout['engine']): Promise<AnyRollout> {
  const at = await anyRollout(engine, ...FAMILY);
  const parents = ['1', '2', '3', '5'].map((id) => put('p', id, '0'));
  await applied(at, at.step('p', ...parents), at.step('c', put('c', '20', '2')));
  return at;
}

const orphans = async ({ database }: AnyRollout): Promise<readonly string[]> =>
  (await database.overlayConflicts(1_000)).map(
    ({ kind, table, key }) => `${kind} ${table.name} ${key.join()}`,
  );

const seen = (at: AnyRollout, table: 'p' | 'c'): Promise<unknown> =>
  at.rows(`SELECT id FROM ${table} ORDER BY id`);
const production = (at: AnyRollout, table: 'p' | 'c'): Promise<unknown> =>
  at.production(table, 'id');
const ids = (...all: readonly number[]): unknown => all.map((id) => [id]);

for (const engine of ALL_ENGINES) {
  it.each(['COMMIT', 'ROLLBACK'] as const)(
    `on ${engine} a parent goes below which the candidate writes a child, until its %s`,
    async (end) => {
      const at = await begun(engine);
      const candidate = await at.session();
      await candidate('BEGIN');
      await candidate('INSERT INTO c VALUES (10, 1)');
      await candidate('UPDATE c SET p = 1 WHERE id = 20');
      await applied(at, at.step('p', { kind: 'delete', key: ['1'] }));
      expect(await production(at, 'p')).toEqual(ids(2, 3, 5));
      await goOn(at);
      // Its own delete is all that waits: what is referred to cannot go meanwhile.
      expect(await waitingOf(at.database)?.counts()).toMatchObject([{ keys: 1 }]);
      expect(await seen(at, 'p')).toEqual(ids(1, 2, 3, 5));
      await candidate(end);
      await settled(at);
      expect(await production(at, 'p')).toEqual(ids(2, 3, 5));
      expect(await production(at, 'c')).toEqual(ids(20));
      expect(await seen(at, 'p')).toEqual(ids(2, 3, 5));
      const is = end === 'COMMIT';
      expect(await seen(at, 'c')).toEqual(is ? ids(10, 20) : ids(20));
      expect(await orphans(at)).toEqual(is ? ['fk_orphan c 10', 'fk_orphan c 20'] : []);
      // Production has it again.
      await applied(at, at.step('p', put('p', '1', '7')));
      expect(await orphans(at)).toEqual([]);
      expect(await seen(at, 'p')).toEqual(ids(1, 2, 3, 5));
    },
  );

  it.each(['COMMIT', 'ROLLBACK'] as const)(
    `on ${engine} a child comes whose parent the candidate deletes, until its %s`,
    async (end) => {
      const at = await begun(engine);
      const candidate = await at.session();
      await candidate('BEGIN');
      await candidate('DELETE FROM p WHERE id = 3');
      await applied(at, at.step('c', put('c', '30', '3')));
      expect(await production(at, 'c')).toEqual(ids(20, 30));
      await goOn(at);
      await candidate(end);
      await settled(at);
      expect(await production(at, 'p')).toEqual(ids(1, 2, 3, 5));
      expect(await production(at, 'c')).toEqual(ids(20, 30));
      expect(await seen(at, 'c')).toEqual(ids(20, 30));
      const is = end === 'COMMIT';
      expect(await seen(at, 'p')).toEqual(is ? ids(1, 2, 5) : ids(1, 2, 3, 5));
      expect(await orphans(at)).toEqual(is ? ['fk_orphan c 30'] : []);
      // Production's child goes as well.
      await applied(at, at.step('c', { kind: 'delete', key: ['30'] }));
      expect(await orphans(at)).toEqual([]);
    },
  );
}

it('of many parents those wait alone below which the candidate writes', async () => {
  const at = await begun('postgresql');
  const many = Array.from({ length: 400 }, (_, i) => 100 + i);
  await applied(at, at.step('p', ...many.map((id) => put('p', String(id), '0'))));
  const candidate = await at.session();
  await candidate('BEGIN');
  await candidate('INSERT INTO c SELECT id, id FROM p WHERE id >= 100 AND id % 2 = 0');
  const goes = many.map((id) => ({ kind: 'delete', key: [String(id)] }) as const);
  await applied(at, at.step('p', ...goes));
  expect(await production(at, 'p')).toEqual(ids(1, 2, 3, 5));
  // They are seen, and not found by trying, which ends when its time is over.
  const held = many.filter((id) => id % 2 === 0);
  expect(await waitingOf(at.database)?.counts()).toMatchObject([{ keys: held.length }]);
  expect(await seen(at, 'p')).toEqual(ids(1, 2, 3, 5, ...held));
  await candidate('COMMIT');
  await settled(at);
  expect(await seen(at, 'p')).toEqual(ids(1, 2, 3, 5));
  expect(await orphans(at)).toHaveLength(held.length);
});
