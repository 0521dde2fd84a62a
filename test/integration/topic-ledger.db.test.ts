/** Which topics positions are of is kept in the shadow, whatever its engine. */
import { describe, expect, test } from 'vitest';
import type { Fence, ShadowDatabase } from '../../src/dialect/dialect.ts';
import { settleTopicIds } from '../../src/runtime/topic-ids.ts';
import { ENGINES, stageOf } from './mysql.fixture.ts';
import { slotTrunk } from './slot-trunk.fixture.ts';

async function ledger(database: ShadowDatabase, fence: Fence): Promise<void> {
  const now = new Map([
    ['p.a', '1'],
    ['p.b', '2'],
  ]);
  const settle = (offsets: readonly (readonly [string, bigint])[]) =>
    settleTopicIds(database, fence, {
      source: { topicIds: () => Promise.resolve(now) },
      offsets: new Map(offsets),
    });
  expect(await database.topics.known()).toEqual(new Map());
  expect(await settle([['p.a/0', 5n]])).toEqual(now);
  expect(await database.topics.known()).toEqual(now);
  // Both are made again; of one something was read.
  const first = new Map(now);
  now.set('p.a', 'other').set('p.b', 'other').set('p.c', '3');
  const settled = await settle([
    ['p.a/0', 0n],
    ['p.a/1', 5n],
    ['p.b/0', 0n],
  ]);
  expect(settled).toEqual(new Map([...first, ['p.b', 'other'], ['p.c', '3']]));
  expect(await database.topics.known()).toEqual(settled);
  const without = await settleTopicIds(database, fence, { source: {}, offsets: new Map() });
  expect(without).toEqual(settled);
  await expect(
    database.topics.keep({ ...fence, generation: fence.generation - 1n }, now),
  ).rejects.toMatchObject({ code: 'FENCED' });
  expect(await database.topics.known()).toEqual(settled);
}

test('on PostgreSQL', async () => {
  const { database, fence } = await slotTrunk('CREATE TABLE a (id int PRIMARY KEY)');
  await ledger(database, fence);
  expect((await database.topics.known()).size).toBe(3);
});

describe.each(ENGINES)('on %s', (engine) => {
  test('it is kept, and by its holder alone', async () => {
    const { database, fence } = await stageOf(engine, 'CREATE TABLE a (id INT PRIMARY KEY)');
    await ledger(database, fence);
    expect((await database.topics.known()).size).toBe(3);
  }, 60_000);
});
