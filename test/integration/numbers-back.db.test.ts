/** A candidate that sets its sequences back takes production's ids no longer than until somebody looks. */
import { describe, expect, it } from 'vitest';
import { letMigrate } from '../../src/dialect/migrating.ts';
import type { Stage } from '../../src/runtime/stage.ts';
import { careForOverlay } from '../../src/runtime/sweeper.ts';
import { put } from './mysql.fixture.ts';
import { ALL_ENGINES, anyRollout, type AnyRollout } from './rollout.fixture.ts';

const watch = (at: AnyRollout): Promise<readonly string[]> => at.database.watchNumbers(at.fence);
const ids = async (at: AnyRollout, table = 't'): Promise<readonly number[]> =>
  (await at.rows(`SELECT id FROM ${table} ORDER BY id`)).map(([id]) => Number(id));

describe.each(ALL_ENGINES)('numbers on %s', (engine) => {
  it('that stand where they should are let be', async () => {
    const type = engine === 'postgresql' ? 'serial' : 'INT AUTO_INCREMENT';
    const at = await anyRollout(engine, `CREATE TABLE t (id ${type} PRIMARY KEY, v INT)`);
    expect(await watch(at)).toEqual([]);
    await at.run('INSERT INTO t (v) VALUES (1)');
    expect(await watch(at)).toEqual([]);
    await at.run('INSERT INTO t (v) VALUES (2)');
    const [first = 0, second] = await ids(at);
    expect(second).toBe(first + 1);
  });
});

/** Where numbers of an int begin in a rollout. */
const ABOVE = 1_610_612_736;

const T = `CREATE TABLE t (id serial PRIMARY KEY, v int);
  CREATE TABLE down (id int PRIMARY KEY, v int);
  CREATE SEQUENCE falling INCREMENT -2 MINVALUE -2147483648 START -1 OWNED BY down.id;
  ALTER TABLE down ALTER COLUMN id SET DEFAULT nextval('falling');
  CREATE TABLE "Other" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int)`;

describe('numbers that were set back', () => {
  it('are moved above production’s again, and above the candidate’s own rows', async () => {
    const at = await anyRollout('postgresql', T);
    await at.apply(at.step('t', put(['id'], { id: '7', v: '1' })));
    await at.run('INSERT INTO t (v) VALUES (1), (2), (3); INSERT INTO down (v) VALUES (1), (2)');
    await at.run(`SELECT setval('t_id_seq', (SELECT max(id) FROM t WHERE id < ${String(ABOVE)}));
      SELECT setval('falling', -5); SELECT setval('"Other_id_seq"', 1, false)`);
    await at.run('INSERT INTO t (v) VALUES (4)');
    expect(await watch(at)).toEqual(['public.Other_id_seq', 'public.falling', 'public.t_id_seq']);
    expect(await watch(at)).toEqual([]);
    for (const table of ['t', 'down', '"Other"']) {
      await at.run(`INSERT INTO ${table} (v) VALUES (5), (6)`);
    }
    expect(await ids(at)).toEqual([7, 8, ...[0, 1, 2, 3, 4].map((i) => ABOVE + i)]);
    expect((await ids(at, 'down')).map((id) => id + ABOVE)).toEqual([-5, -3, -1, 1]);
    expect(await ids(at, '"Other"')).toEqual([2 ** 52, 2 ** 52 + 1]);
    expect(await watch(at)).toEqual([]);
  });

  it('are moved while the candidate inserts, and none is given out twice', async () => {
    const at = await anyRollout('postgresql', T);
    const candidate = await at.session();
    let isDone = false;
    const inserting = (async () => {
      for (let i = 0; i < 300; i += 1) {
        if (i === 100) await candidate(`SELECT setval('t_id_seq', 1000)`);
        await candidate('INSERT INTO t (v) VALUES (1)');
      }
      isDone = true;
    })();
    const moved: string[] = [];
    while (!isDone) moved.push(...(await watch(at)));
    await inserting;
    moved.push(...(await watch(at)));
    expect(moved).toEqual(['public.t_id_seq']);
    expect(await ids(at)).toHaveLength(300);
  });

  it('are told of, once, by who follows the rollout', async () => {
    const at = await anyRollout('postgresql', T);
    const told: unknown[] = [];
    const logger = {
      info: () => undefined,
      warn: (what: string, fields: { readonly numbers?: unknown }) =>
        told.push(what, fields.numbers),
      error: (what: string) => told.push(what),
    };
    const audit = (...entry: readonly unknown[]): Promise<void> => {
      told.push(entry);
      return Promise.resolve();
    };
    const stage = {
      context: {
        ...{ logger, holder: 'me', control: () => Promise.resolve({ audit }) },
        config: { overlay: { sweepSeconds: 0, outcomeDays: 1 } },
      },
      ...{ database: at.database, holder: { fence: at.fence }, closed: false },
      betweenWrites: <R>(act: () => Promise<R>): Promise<R> => act(),
    } as unknown as Stage;
    const care = careForOverlay(stage);
    const look = async (): Promise<readonly unknown[]> => {
      care.tend();
      await care.pause();
      return told.splice(0);
    };
    expect(await look()).toEqual([]);
    await at.run(`SELECT setval('t_id_seq', 1)`);
    const numbers = ['public.t_id_seq'];
    const [what, ...others] = await look();
    expect(what).toContain('set back');
    expect(others).toEqual([numbers, ['me', 'numbers_set_back', at.name, { numbers }]]);
    expect(await look()).toEqual([]);
  });

  it('wait for nobody who is at the table', async () => {
    const at = await anyRollout('postgresql', T);
    const candidate = await at.session();
    await at.run(`SELECT setval('t_id_seq', 1)`);
    await candidate('BEGIN');
    await candidate('TRUNCATE t');
    const begun = performance.now();
    expect(await watch(at)).toEqual([]);
    expect(performance.now() - begun).toBeLessThan(3_000);
    await candidate('ROLLBACK');
    expect(await watch(at)).toEqual(['public.t_id_seq']);
  });

  it('by a candidate that migrates by itself, but of its own tables', async () => {
    const at = await anyRollout('postgresql', T);
    await letMigrate(at.database, at.fence, at.role);
    await at.run('CREATE TABLE mine (id serial PRIMARY KEY, v int)');
    expect(await watch(at)).toEqual([]);
    await at.run('TRUNCATE t RESTART IDENTITY; TRUNCATE mine RESTART IDENTITY');
    expect(await watch(at)).toEqual(['public.t_id_seq']);
    await at.run('INSERT INTO t (v) VALUES (1); INSERT INTO mine (v) VALUES (1)');
    expect(await watch(at)).toEqual([]);
    expect(await ids(at)).toEqual([ABOVE]);
    expect(await ids(at, 'mine')).toEqual([1]);
  });
});
