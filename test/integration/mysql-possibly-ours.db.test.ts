/** As possibly-ours.db.test.ts, on MySQL and MariaDB: deadlocks and waits of the candidate's are counted. */
import type { Connection } from 'mysql2/promise';
import { expect, it } from 'vitest';
import { possiblyOursOf } from '../../src/dialect/possibly-ours.ts';
import {
  overlaidRollout,
  put,
  rowsStep,
  sessionOn,
  stageOf,
  type Engine,
  type Overlaid,
} from './mysql.fixture.ts';

async function counted(at: Pick<Overlaid, 'database'>, code: string): Promise<number> {
  const { kinds = [], count } = (await possiblyOursOf(at.database)) ?? {};
  expect(count).toBe(kinds.reduce((sum, kind) => sum + kind.count, 0));
  return kinds.find((kind) => kind.code === code)?.count ?? -1;
}

/** Each holds a row, and wants the other's. */
async function deadlock(one: Connection, other: Connection): Promise<void> {
  for (const [session, id] of [
    [one, 1],
    [other, 2],
  ] as const) {
    await session.query('START TRANSACTION');
    await session.query(`UPDATE t SET n = n + 1 WHERE id = ${String(id)}`);
  }
  const done = await Promise.allSettled([
    one.query('UPDATE t SET n = n + 1 WHERE id = 2'),
    other.query('UPDATE t SET n = n + 1 WHERE id = 1'),
  ]);
  expect(done.filter(({ status }) => status === 'rejected')).toMatchObject([
    { reason: { errno: 1213 } },
  ]);
  for (const session of [one, other]) await session.query('ROLLBACK');
}

interface Scene {
  readonly at: Overlaid;
  /** Sessions of the account that the rollout has for its candidate. */
  readonly one: Connection;
  readonly other: Connection;
}

async function scene(engine: Engine): Promise<Scene> {
  const stage = await stageOf(engine, 'CREATE TABLE t (id INT PRIMARY KEY, n INT)');
  const row = (id: string) => put(['id'], { id, n: '0' });
  await stage.apply(rowsStep(stage, 't', row('1'), row('2')));
  expect(await possiblyOursOf(stage.database)).toBe(null);
  const at = await overlaidRollout(stage);
  const role = { database: at.name, role: at.name, password: 'x' };
  const { url } = await stage.server.createCandidateRole(role);
  return { at, one: await sessionOn(url, at.name), other: await sessionOn(url, at.name) };
}

it('on mysql by the account, also of what was rolled back', async () => {
  const { at, one, other } = await scene('mysql');
  expect(await counted(at, '1213')).toBe(0);
  await deadlock(one, other);
  await deadlock(one, other);
  expect(await counted(at, '1213')).toBe(2);
  await one.query('START TRANSACTION');
  await one.query('UPDATE t SET n = 5 WHERE id = 1');
  await other.query('SET SESSION innodb_lock_wait_timeout = 1');
  const late = other.query('UPDATE t SET n = 6 WHERE id = 1');
  await expect(late).rejects.toMatchObject({ errno: 1205 });
  await one.query('ROLLBACK');
  expect(await counted(at, '1205')).toBe(1);
  expect(await counted(at, '1213')).toBe(2);
});

it('on mariadb by the server, which is told, and deadlocks alone', async () => {
  const { at, one, other } = await scene('mariadb');
  const before = await counted(at, '1213');
  await deadlock(one, other);
  await deadlock(one, other);
  expect(await counted(at, '1213')).toBeGreaterThanOrEqual(before + 2);
  expect(await counted(at, '1205')).toBe(-1);
  expect((await possiblyOursOf(at.database))?.uncounted).toContain('1205');
});
