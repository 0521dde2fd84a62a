/** What a check reads of a rollout on MySQL and MariaDB: production's image, not what the candidate sees. */
import { expect, it } from 'vitest';
import type { BaseReader, Leaf } from '../../src/dialect/dialect.ts';
import { ENGINES, overlaidRollout, stageOf } from './mysql.fixture.ts';

const TABLE = `CREATE TABLE t (id INT, k VARCHAR(9) COLLATE utf8mb4_general_ci, n INT, en ENUM('a', 'b'),
  f FLOAT, bl BLOB, twice INT AS (n * 2) STORED, told VARCHAR(30) AS (CONCAT(k, ' is ', n)) VIRTUAL,
  PRIMARY KEY (id, k))`;
const COMPARED = {
  key: ['id', 'k'],
  columns: ['id', 'k', 'n', 'en', 'f', 'bl', 'twice', 'told'],
};

async function everything(reader: BaseReader, schema: string): Promise<unknown> {
  const table = { ...COMPARED, table: { schema, name: 't' } };
  const leaves: Leaf[] = [];
  for await (const some of reader.cutLeaves(table, 3)) leaves.push(...some);
  const whole = { from: null, to: null };
  const hashes: unknown[] = [];
  const ranges = [whole, { from: ['3', 'x'], to: ['7', 'x'] }, { from: null, to: ['5', 'x'] }];
  for await (const some of reader.hashLeaves(table, ranges)) hashes.push(...some);
  const rows = await reader.rowHashes(table, [whole]);
  const keys = rows.map(({ key }) => key);
  const byKey = (a: { key: readonly string[] }, b: { key: readonly string[] }) =>
    a.key.join() < b.key.join() ? -1 : 1;
  return {
    counted: leaves.reduce((sum, leaf) => sum + leaf.rows, 0),
    hashed: leaves.reduce((sum, leaf) => sum + BigInt(leaf.hash), 0n),
    ...{ hashes, rows: rows.toSorted(byKey) },
    texts: [...(await reader.rows(table, [...keys, ['99', 'none']]))].toSorted(byKey),
  };
}

it.each(ENGINES)('on %s a snapshot is of production’s image', async (engine) => {
  const stage = await stageOf(engine, TABLE);
  await stage.client.query(`SET SESSION sql_mode = ''`);
  for (let id = 1; id < 12; id += 1) {
    await stage.client.query(
      `INSERT INTO t (id, k, n, en, f, bl) VALUES (?, 'x', ?, ${id % 2 === 0 ? `'none'` : `'b'`}, 0.1, X'00FF')`,
      [id, id % 3 === 0 ? null : id],
    );
  }
  const at = await overlaidRollout(stage);
  const [production, image] = await Promise.all([
    stage.database.openBaseSnapshot(),
    at.database.openBaseSnapshot(),
  ]);
  const expected = await everything(production, stage.source);
  expect(await everything(image, stage.source)).toEqual(expected);
  for (const sql of [
    'DELETE FROM t WHERE id IN (2, 3, 11)',
    `UPDATE t SET n = 77, en = 'a', f = 2 WHERE id IN (4, 6)`,
    `UPDATE t SET k = 'X' WHERE id = 5`,
    `UPDATE t SET id = 20 WHERE id = 7`,
    `INSERT INTO t (id, k, n) VALUES (6, 'y', 1), (30, 'z', 2)`,
  ]) {
    await at.candidate.query(sql);
  }
  // One of before is as it was; a new one is of now.
  expect(await everything(image, stage.source)).toEqual(expected);
  await image[Symbol.asyncDispose]();
  await using after = await at.database.openBaseSnapshot();
  expect(await everything(after, stage.source)).toEqual(expected);
  await production[Symbol.asyncDispose]();
});
