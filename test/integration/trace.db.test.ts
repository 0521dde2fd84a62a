/** The request in which a row was first written leads back from a finding to it. */
import { expect, it } from 'vitest';
import { openApplySession } from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { readOverlayRows } from '../../src/dialect/postgres/overlay/read.ts';
import { resetOverlay } from '../../src/dialect/postgres/overlay/reset.ts';
import { applier, content, tables, user, useShop } from './apply.fixture.ts';

useShop();

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';

/** `key trace` of each difference. */
async function traced(trace?: string): Promise<readonly string[]> {
  const rows = await readOverlayRows(user, 100, trace === undefined ? {} : { trace });
  return rows.map((row) => `${row.key.join('/')} ${String(row.trace)}`).toSorted();
}

async function reset(trace: string): Promise<number> {
  const session = await openApplySession(applier, await readCatalogue(applier));
  await applier.query('BEGIN');
  const rows = await resetOverlay(session, { trace });
  await applier.query('COMMIT');
  return rows;
}

it('a long statement is read once for all its rows', async () => {
  await tables('CREATE TABLE t (id int PRIMARY KEY, n int, s text)', true);
  const values = Array.from({ length: 4_000 }, (_, i) => `(${String(i)}, 1, '${'x'.repeat(150)}')`);
  const insert = `INSERT INTO t VALUES ${values.join(', ')}`;
  const comment = `/*traceparent='00-${TRACE}-00f067aa0ba902b7-01'*/`;
  const started = performance.now();
  await user.query(`${insert} ON CONFLICT (id) DO NOTHING ${comment}`);
  await user.query(`${insert} ON CONFLICT (id) DO UPDATE SET n = 2 ${comment}`);
  // It was 100 s when each row read it.
  expect(performance.now() - started).toBeLessThan(10_000);
  expect(await traced(TRACE)).toHaveLength(100);
});

it('the session says it, or a comment of the statement', async () => {
  await tables(
    `CREATE TABLE t (id int PRIMARY KEY, n int);
    INSERT INTO t SELECT i, i FROM generate_series(1, 7) i`,
    true,
  );
  const comment = `/*action='x',traceparent='00-${TRACE}-00f067aa0ba902b7-01'*/`;
  await user.query('UPDATE t SET n = 10 WHERE id = 1');
  await user.query(`UPDATE t SET n = 20 WHERE id = 2 ${comment}`);
  await user.query({ text: `UPDATE t SET n = $1 WHERE id = 3 ${comment}`, values: [30] });
  await user.query(`SET understudy.trace = 'request 7'`);
  await user.query(`UPDATE t SET n = 40 WHERE id IN (3, 4) ${comment}`);
  await user.query(`INSERT INTO t VALUES (8, 8)`);
  await user.query(`SET understudy.trace = '${'é'.repeat(500)}'`);
  await user.query(`DELETE FROM t WHERE id = 6`);
  await user.query('RESET understudy.trace');
  await user.query(`UPDATE t SET n = 50 WHERE id = 5 /*traceparent='none'*/`);
  expect(await traced()).toEqual([
    ...['1 null', `2 ${TRACE}`, `3 ${TRACE}`, '4 request 7', '5 null'],
    ...[`6 ${'é'.repeat(200)}`, '8 request 7'],
  ]);
  expect(await traced(TRACE)).toEqual([`2 ${TRACE}`, `3 ${TRACE}`]);
  expect(await content('SELECT id, understudy_trace FROM shop__difference.t WHERE id = 4')).toEqual(
    [[4, 'request 7']],
  );
  // All that the request wrote first is put back, and nothing else.
  expect(await reset(TRACE)).toBe(2);
  expect(await reset('nobody')).toBe(0);
  expect((await traced()).map((row) => row.slice(0, 1))).toEqual(['1', '4', '5', '6', '8']);
  expect(await content('SELECT n FROM t WHERE id IN (2, 3) ORDER BY id')).toEqual([[2], [3]]);
});
