/** Three states of a rollout of MySQL and MariaDB, as SQL: what is visible, production's, and the difference. */
import type { Connection } from 'mysql2/promise';
import { expect, it } from 'vitest';
import {
  ENGINES,
  gone,
  overlaidRollout,
  put,
  rolloutName,
  rowsOf,
  rowsStep,
  stageOf,
  stranger,
  type Overlaid,
} from './mysql.fixture.ts';

const TABLE = `CREATE TABLE t (id INT, k VARCHAR(9) COLLATE utf8mb4_general_ci, n INT, f FLOAT, bl BLOB,
  twice INT AS (n * 2) STORED, \`o'dd\` TEXT, PRIMARY KEY (id, k))`;

/** Somebody who may read the views, and nothing else. */
async function reader(stage: Parameters<typeof stranger>[0], at: Overlaid): Promise<Connection> {
  const who = await stranger(stage, `${at.name}__production`, 'SELECT');
  const [me] = await rowsOf(who, 'SELECT CURRENT_USER() AS me');
  const account = String(me?.['me']).replace(/^(.*)@(.*)$/, `'$1'@'$2'`);
  await stage.client.query(`GRANT SELECT ON \`${at.name}__difference\`.* TO ${account}`);
  return who;
}

/** How many rows the server looked at for a query. */
async function touched(client: Connection, sql: string): Promise<number> {
  const reads = async (): Promise<number> => {
    const counts = await rowsOf(client, `SHOW SESSION STATUS LIKE 'Handler_read%'`);
    return counts.reduce((sum, row) => sum + Number(row['Value']), 0);
  };
  // Reading the counts counts too.
  const [first, second] = [await reads(), await reads()];
  await client.query(sql);
  return (await reads()) - second - (second - first);
}

it.each(ENGINES)('on %s they show each its own, to whoever may read them', async (engine) => {
  const stage = await stageOf(engine, TABLE, 'CREATE TABLE bag (n INT)');
  for (let id = 1; id < 7; id += 1) {
    await stage.client.query(
      `INSERT INTO t (id, k, n, f, bl, \`o'dd\`) VALUES (?, 'x', ?, 0.1, X'00FF', 'a')`,
      [id, id === 3 ? null : id],
    );
  }
  const at = await overlaidRollout(stage);
  for (const sql of [
    'DELETE FROM t WHERE id = 1',
    `UPDATE t SET n = 20, \`o'dd\` = 'A' WHERE id = 2`,
    `UPDATE t SET n = n WHERE id = 3`,
    `UPDATE t SET k = 'X' WHERE id = 4`,
    `INSERT INTO t (id, k, n) VALUES (9, 'y', 1)`,
    `INSERT INTO t (id, k, n) VALUES (10, 'y', 1)`,
    `DELETE FROM t WHERE id = 10`,
  ]) {
    await at.candidate.query(sql);
  }
  const who = await reader(stage, at);
  const production = `SELECT * FROM \`${at.name}__production\`.t ORDER BY id`;
  expect(await rowsOf(who, production)).toEqual(await stage.rows('SELECT * FROM t ORDER BY id'));
  const difference = `SELECT * FROM \`${at.name}__difference\`.t ORDER BY id, k`;
  const found = await rowsOf(who, difference);
  expect(found).toMatchObject([
    { understudy_kind: 'delete', id: 1, k: 'x', n: null, n__production: 1, twice__production: 2 },
    {
      ...{ understudy_kind: 'update', understudy_columns: `["n", "twice", "o'dd"]` },
      ...{ id: 2, n: 20, n__production: 2, [`o'dd`]: 'A', [`o'dd__production`]: 'a' },
    },
    { understudy_kind: 'update', understudy_columns: '[]', id: 4, n: 4, n__production: 4 },
    { understudy_kind: 'insert', id: 9, k: 'y', n: 1, n__production: null },
  ]);
  // Production goes on: its view follows, and so does what differs.
  const row = (id: string, n: string) => ({
    ...{ id, k: 'x', n, f: '0.1', bl: Buffer.from('00ff', 'hex'), [`o'dd`]: 'a' },
  });
  const steps = [
    put(['id', 'k'], row('2', '21')),
    put(['id', 'k'], row('5', '50')),
    gone('1', 'x'),
    put(['id', 'k'], row('7', '7')),
  ];
  await stage.apply(rowsStep(stage, 't', ...steps));
  await at.apply(rowsStep(stage, 't', ...steps));
  expect(await rowsOf(who, production)).toEqual(await stage.rows('SELECT * FROM t ORDER BY id'));
  const kinds = (await rowsOf(who, difference)).map((one) => [one['id'], one['understudy_kind']]);
  expect(kinds).toEqual([
    [2, 'update'],
    [4, 'update'],
    [9, 'insert'],
  ]);
  // A table without a key has none; nor does the candidate see them, or who sees them what is beneath.
  expect(await rowsOf(at.admin, `SHOW TABLES IN \`${at.name}__production\``)).toHaveLength(1);
  await expect(at.candidate.query(production)).rejects.toMatchObject({ errno: 1142 });
  await expect(who.query(`SELECT * FROM \`${at.name}\`.t`)).rejects.toMatchObject({ errno: 1142 });
});

it.each(ENGINES)('on %s a key is looked up in them as in the table', async (engine) => {
  const stage = await stageOf(engine, 'CREATE TABLE t (id INT PRIMARY KEY, n INT)');
  const values = Array.from({ length: 5_000 }, (_, id) => [id, id]);
  await stage.client.query('INSERT INTO t VALUES ?', [values]);
  const at = await overlaidRollout(stage);
  await at.candidate.query('UPDATE t SET n = n + 1 WHERE id % 2 = 0');
  await at.admin.query('ANALYZE TABLE t');
  const who = await reader(stage, at);
  for (const key of ['id = 4', 'id = 5', 'id BETWEEN 10 AND 13']) {
    const from = `\`${at.name}__production\`.t WHERE ${key}`;
    expect(await touched(who, `SELECT * FROM ${from}`), key).toBeLessThan(60);
    const differs = `\`${at.name}__difference\`.t WHERE ${key}`;
    expect(await touched(who, `SELECT * FROM ${differs}`), key).toBeLessThan(60);
  }
});

it.each(ENGINES)('on %s they go with the rollout, and nothing of others does', async (engine) => {
  const stage = await stageOf(engine, 'CREATE TABLE t (id INT PRIMARY KEY, n INT)');
  const databases = async (name: string): Promise<number> =>
    (await rowsOf(stage.client, `SHOW DATABASES LIKE '${name.replaceAll('_', '\\_')}%'`)).length;
  const at = await overlaidRollout(stage);
  expect(await databases(at.name)).toBe(4);
  await stage.client.query(`CREATE TABLE \`${at.name}__difference\`.mine (id INT)`);
  await at.database[Symbol.asyncDispose]();
  await stage.server.drop({ database: at.name, role: at.name });
  expect(await rowsOf(stage.client, `SHOW TABLES IN \`${at.name}__difference\``)).toHaveLength(1);
  await stage.client.query(`DROP DATABASE \`${at.name}__difference\``);
  expect(await databases(at.name)).toBe(0);
  const taken = rolloutName(stage);
  await stage.client.query(`CREATE DATABASE \`${taken}__production\``);
  await stage.client.query(`CREATE TABLE \`${taken}__production\`.mine (id INT)`);
  const clone = stage.server.clone({ from: stage.trunk, to: taken, rolloutName: 'next' });
  await expect(clone).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
  await stage.client.query(`DROP DATABASE \`${taken}__production\``);
});
