/**
 * A source transaction that is larger than the memory the follower may use, on real parts: the
 * shadow shows all of it or nothing, at every moment, whoever is killed on the way.
 */
import { afterAll, expect, it } from 'vitest';
import { pollUntil } from '../../src/util/wait.ts';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { peakBytes } from '../support/peak-memory.ts';
import { databaseUrl, startPostgres } from '../support/postgres.ts';
import { settleConnector } from '../support/settle.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { followed, Workplace } from '../support/understudy.ts';

const PREFIX = `large${process.pid}`;
const ROWS = 8_000;
const production = await testDatabase('production');
const cleanUp = new AsyncDisposableStack();
afterAll(() => cleanUp.disposeAsync());

it('applies a transaction whole that does not fit into memory', async () => {
  const shadow = cleanUp.adopt(await startPostgres(), (server) => server.stop());
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  const client = cleanUp.adopt(await connectTo(production.url), (open) => open.end());
  await client.query(`
    CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE, note text);
    CREATE TABLE moved (id int PRIMARY KEY, v int);
    CREATE TABLE log (at int, what text);
    ALTER TABLE log REPLICA IDENTITY FULL;
    INSERT INTO item SELECT i, 'c' || i, 'as it was' FROM generate_series(1, 100) i`);
  await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
  cleanUp.defer(() => connect.deleteConnector(PREFIX));
  await settleConnector(production.url, connect, PREFIX);
  const workplace = cleanUp.use(
    await Workplace.make({
      ...followed(PREFIX, { kafka, connect, production, shadow }),
      apply: { budgetBytes: 1024 * 1024, leaseSeconds: 3 },
    }),
  );
  await workplace.json(['materialize', '--until-caught-up']);
  await client.query(`
    BEGIN;
    INSERT INTO item SELECT i, 'c' || i, repeat('x', 200) FROM generate_series(101, ${String(ROWS)}) i;
    UPDATE item SET code = 'other' WHERE id = 1;
    UPDATE item SET code = 'c1' WHERE id = 2;
    UPDATE item SET code = 'c2' WHERE id = 1;
    INSERT INTO moved SELECT i, i FROM generate_series(1, 5000) i;
    UPDATE moved SET id = id + 100000 WHERE id % 2 = 0;
    INSERT INTO log SELECT i, 'same' FROM generate_series(1, 2000) i, generate_series(1, 2);
    DELETE FROM log WHERE at > 1900;
    DELETE FROM item WHERE id BETWEEN 50 AND 150;
    COMMIT;
    INSERT INTO item VALUES (0, 'c0', 'behind it')`);
  await settleConnector(production.url, connect, PREFIX, undefined, 240_000);
  const trunk = cleanUp.adopt(await connectTo(databaseUrl(shadow.url, 'shop')), (open) =>
    open.end(),
  );
  const seen = new Set<number>();
  const look = async (): Promise<boolean> => {
    const { rows } = await trunk.query<{ n: number }>(
      'SELECT (SELECT count(*) FROM item) + (SELECT count(*) FROM log) AS n',
    );
    seen.add(Number(rows[0]?.n));
    return seen.size > 1;
  };
  await look();
  // What it deletes in the end is locked: its parts are written, and taken back, when it dies.
  const reader = cleanUp.adopt(await connectTo(databaseUrl(shadow.url, 'shop')), (open) =>
    open.end(),
  );
  await reader.query('BEGIN; SELECT FROM item WHERE id = 60 FOR UPDATE');
  const first = workplace.start(['run']);
  await pollUntil({
    probe: () =>
      Promise.resolve(first.stderr.includes('could not be written, trying again') || undefined),
    ...{ everyMs: 20, timeoutMs: 90_000 },
    timeout: () => new Error(`nothing was in its way: ${first.stderr}`),
  });
  await first.die();
  await look();
  await reader.query('ROLLBACK');
  const second = workplace.start(['run']);
  await pollUntil({
    probe: async () => ((await look()) ? true : undefined),
    ...{ everyMs: 50, timeoutMs: 90_000 },
    timeout: () => new Error('the transaction was not written'),
  });
  const peak = await peakBytes(second.process.pid ?? 0);
  second.kill('SIGTERM');
  const { stderr } = await second.ended;
  expect(stderr).toContain('too large to be held');
  expect(stderr).not.toContain('incomplete');
  expect(await workplace.json(['materialize', '--until-caught-up'])).toMatchObject({
    ...{ degraded: 0, waiting: 0, parked: 0, deadLetters: 0 },
  });
  await look();
  // Before it, after it, and with the row behind it.
  const [before, ...after] = [...seen];
  expect(before).toBe(100);
  for (const rows of after) expect(rows).toBeGreaterThan(ROWS);
  expect(await canonicalState(databaseUrl(shadow.url, 'shop'))).toEqual(
    await canonicalState(production.url),
  );
  expect(peak).toBeLessThan(400 * 1024 * 1024);
});
