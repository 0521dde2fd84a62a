/** On MySQL and MariaDB the request in which a row was first written leads back from a finding to it. */
import { expect, it } from 'vitest';
import type { ShadowDatabase } from '../../src/dialect/dialect.ts';
import { ENGINES, overlaidRollout, rowsOf, stageOf } from './mysql.fixture.ts';

const A_FOURTH = expect.stringMatching(/^4 /) as unknown as string;

/** `key trace` of each difference. */
async function traced(database: ShadowDatabase, trace?: string): Promise<readonly string[]> {
  const rows = await database.overlayRows(100, trace === undefined ? {} : { trace });
  return rows.map((row) => `${row.key.join('/')} ${String(row.trace)}`).toSorted();
}

it.each(ENGINES)('on %s the session says it', async (engine) => {
  const stage = await stageOf(
    engine,
    'CREATE TABLE t (id INT PRIMARY KEY, n INT)',
    'CREATE TABLE u (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id) ON DELETE CASCADE)',
  );
  await stage.client.query('INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4)');
  await stage.client.query('INSERT INTO u VALUES (1, 3)');
  const at = await overlaidRollout(stage);
  const { candidate, database, fence } = at;
  await candidate.query(`UPDATE t SET n = 10 WHERE id = 1`);
  await candidate.query(`SET @understudy_trace = 'request 7'`);
  await candidate.query(`UPDATE t SET n = 20 WHERE id IN (1, 2)`);
  await candidate.query(`DELETE FROM t WHERE id = 3`);
  await candidate.query(`INSERT INTO t VALUES (9, 9)`);
  // Whatever bytes they are, and however many: no statement of the candidate's fails of them.
  await candidate.query(`SET @understudy_trace = CONCAT(X'FF', REPEAT('é', 500))`);
  await candidate.query(`UPDATE t SET n = 40 WHERE id = 4`);
  expect(await traced(database)).toEqual([
    ...['1 null', '1 request 7', '2 request 7', '3 request 7'],
    ...[A_FOURTH, '9 request 7'],
  ]);
  expect(await traced(database, 'request 7')).toEqual([
    ...['1 request 7', '2 request 7', '3 request 7', '9 request 7'],
  ]);
  expect(
    await rowsOf(
      at.admin,
      `SELECT id, understudy_trace AS trace FROM \`${at.name}__difference\`.t WHERE id < 3 ORDER BY id`,
    ),
  ).toEqual([
    { id: 1, trace: null },
    { id: 2, trace: 'request 7' },
  ]);
  // All that the request wrote is put back, and nothing else.
  expect(await database.resetOverlay(fence, { trace: 'request 7' })).toBe(4);
  expect(await traced(database)).toEqual(['1 null', A_FOURTH]);
  await database.resetOverlay(fence, {});
  const ledger = `SELECT trace, COUNT(*) AS n FROM \`${at.name}__understudy\`.outcome GROUP BY trace`;
  const lines = (await rowsOf(at.admin, ledger)).map(
    ({ trace, n }) => [String(trace), Number(n)] as const,
  );
  expect(new Map(lines).get('request 7')).toBe(4);
});
