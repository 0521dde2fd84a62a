/**
 * Some tables of a trunk are copied anew, alone, because the log lost what comes next of them: by a real
 * database, with production's own log as event log. End to end: test/e2e/faults-log.e2e.test.ts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { beginAnew, bootstrap } from '../../src/bootstrap/bootstrap.ts';
import { lostTopics, tablesConcerned } from '../../src/bootstrap/lost-topics.ts';
import { tableName } from '../../src/change/table-id.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { connect } from '../support/comparison.ts';
import { testDatabase } from '../support/test-database.ts';
import {
  expectEqual,
  fill,
  followToEnd,
  hold,
  makeTrunk,
  OPTIONS,
  setting,
  startWriters,
  type Setting,
  type Trunk,
} from './bootstrap.fixture.ts';

const ROW_TOPIC = /^p\.public\.(\w+)$/;

/** What has to be copied is found, and noted with the positions; nothing is copied yet. */
async function begin(at: Setting, trunk: Trunk): Promise<readonly string[]> {
  const catalogue = await trunk.database.catalogue();
  const { position } = await trunk.database.progress();
  const log = { starts: await at.log.starts(), ends: await at.log.ends(), ids: new Map() };
  const lost = lostTopics(position.offsets, new Map(), log, () => true);
  const tables = tablesConcerned(lost, catalogue, {
    tables: (topic) => {
      const name = ROW_TOPIC.exec(topic)?.[1];
      return name === undefined ? null : [{ schema: 'public', name }];
    },
    ...{ includes: () => true, also: [] },
  });
  await beginAnew(await partsOf(at, trunk), OPTIONS, {
    ...{ tables, parts: [], topics: [...lost], topicIds: new Map() },
  });
  return tables.map(tableName);
}

async function partsOf(at: Setting, trunk: Trunk): Promise<Parameters<typeof bootstrap>[0]> {
  return {
    ...{ target: trunk.target, fence: trunk.fence, production: at.source },
    ...{ source: at.log, offsets: at.log, catalogue: await trunk.database.catalogue() },
    ...{ includes: () => true, logger: silentLogger },
  };
}

/** Followed to somewhere, then behind while production goes on. */
async function behind(at: Setting, trunk: Trunk): Promise<void> {
  await fill(at, trunk);
  await followToEnd(at, trunk);
  await trunk.target.forget(trunk.fence);
  const before = at.log.recordsOf('public.a');
  await expect.poll(() => at.log.recordsOf('public.a')).toBeGreaterThan(before + 100);
}

interface Case {
  readonly mode: 'transaction' | 'key';
  readonly lost: readonly string[];
  readonly copied: readonly string[];
}

const CASES: readonly Case[] = [
  { mode: 'transaction', lost: ['public.a'], copied: ['public.a'] },
  { mode: 'transaction', lost: ['public.part_low'], copied: ['public.part'] },
  {
    ...{ mode: 'transaction', lost: ['transaction'] },
    copied: ['public.a', 'public.b', 'public.nothing', 'public.part', 'public.plain'],
  },
  { mode: 'key', lost: ['public.b', 'public.nothing'], copied: ['public.b', 'public.nothing'] },
];

test.each(CASES)(
  'under traffic $lost is lost, $copied copied anew, by consistency $mode',
  async ({ mode, lost, copied }: Case) => {
    const at = await setting((await testDatabase('production')).url);
    const stop = startWriters(at.url);
    await using trunk = await hold(await makeTrunk(at.url));
    await behind(at, trunk);
    for (const topic of lost) at.log.lose(topic);
    expect(await begin(at, trunk)).toEqual(copied);
    await bootstrap(await partsOf(at, trunk), OPTIONS);
    const state = await trunk.target.state();
    expect(state?.tables.map(({ table }) => tableName(table))).toEqual(copied);
    await sleep(200);
    await stop();
    await followToEnd(at, trunk, mode);
    await expectEqual(at, trunk);
  },
  60_000,
);

test('a refill that is cut off goes on with its tables, and leaves what others hold', async () => {
  const at = await setting((await testDatabase('production')).url);
  const name = await makeTrunk(at.url);
  const stop = startWriters(at.url);
  {
    await using first = await hold(name);
    await behind(at, first);
    at.log.lose('public.a');
    await begin(at, first);
  }
  await using second = await hold(name);
  expect(await second.target.state()).toMatchObject({
    ...{ only: [{ schema: 'public', name: 'a' }], tables: [], ends: null },
  });
  // What is wrong there stays: it is not read again.
  const shadow = await connect(second.url);
  await shadow.query(`UPDATE plain SET t = 'left alone' WHERE t = 'twin'`);
  // Lost again meanwhile, with another table: both are copied.
  at.log.lose('public.b');
  const lost = { topics: ['p.public.a', 'p.public.b'], topicIds: new Map(), parts: [] };
  const tables = ['a', 'b'].map((table) => ({ schema: 'public', name: table }));
  await beginAnew(await partsOf(at, second), OPTIONS, { ...lost, tables });
  await bootstrap(await partsOf(at, second), OPTIONS);
  await stop();
  await followToEnd(at, second);
  const { rows } = await shadow.query(
    `SELECT count(*)::int AS n FROM plain WHERE t = 'left alone'`,
  );
  expect(rows).toEqual([{ n: 2 }]);
  await shadow.query(`UPDATE plain SET t = 'twin' WHERE t = 'left alone'`);
  await shadow.end();
  await expectEqual(at, second);
  expect(await second.target.state()).toMatchObject({ only: tables });
  await second.target.forget(second.fence);
  expect(await second.target.state()).toBeNull();
}, 60_000);

test('of a refilled table nothing is set aside, parked or unknown any more', async () => {
  const at = await setting((await testDatabase('production')).url);
  await using trunk = await hold(await makeTrunk(at.url));
  await at.production.query('UPDATE a SET v = 1 WHERE id = 1; UPDATE b SET v = 1 WHERE id = 1');
  await expect.poll(() => at.log.recordsOf('public.b')).toBe(1);
  await fill(at, trunk);
  await followToEnd(at, trunk);
  await trunk.target.forget(trunk.fence);
  const shadow = await connect(trunk.url);
  for (const table of ['a', 'b']) {
    await shadow.query(`
      INSERT INTO understudy.parked (table_schema, table_name, key, reason)
        VALUES ('public', '${table}', '{7}', 'test');
      INSERT INTO understudy.unknown_value (table_schema, table_name, key, column_name)
        VALUES ('public', '${table}', '{8}', 'v');
      INSERT INTO understudy.dead_letter (id, table_schema, table_name, code, message, topic,
          partition, at_offset) VALUES ('${table}', 'public', '${table}', 'APPLY_FAILED', 'test', 't', 0, 0);
      INSERT INTO understudy.dead_key VALUES ('public', '${table}', 'x', '{9}', '${table}');
      INSERT INTO understudy.ahead VALUES ('p.public.${table}', 0, 5, 6)`);
  }
  await at.production.query('UPDATE a SET v = 7; UPDATE b SET v = 8');
  await expect.poll(() => at.log.recordsOf('public.b')).toBeGreaterThan(1000);
  at.log.lose('public.a');
  // Whoever has a partition would write on.
  await shadow.query(`INSERT INTO understudy.share VALUES ('p.public.b', 0, 1)`);
  await expect(begin(at, trunk)).rejects.toMatchObject({ code: 'FENCE_HELD' });
  await shadow.query('DELETE FROM understudy.share');
  await begin(at, trunk);
  for (const table of ['parked', 'unknown_value', 'dead_letter', 'dead_key']) {
    const { rows } = await shadow.query(`SELECT table_name FROM understudy.${table}`);
    expect(rows, table).toEqual([{ table_name: 'b' }]);
  }
  const { rows } = await shadow.query('SELECT topic FROM understudy.ahead');
  expect(rows).toEqual([{ topic: 'p.public.b' }]);
  await shadow.end();
}, 60_000);
