/**
 * Tables whose rows are named by something else than a primary key, on real parts: by a unique index,
 * with whole old rows or with the index's columns only, and by a message key of other columns.
 */
import { afterAll, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres } from '../support/postgres.ts';
import { settleConnector } from '../support/settle.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { followed, Workplace } from '../support/understudy.ts';

const PREFIX = `keys${process.pid}`;
const production = await testDatabase('production');
const cleanUp = new AsyncDisposableStack();
afterAll(() => cleanUp.disposeAsync());

const TABLES = ['by_unique', 'by_index', 'by_message'] as const;

it('keeps tables equal to production that have no primary key, or another message key', async () => {
  const shadow = cleanUp.adopt(await startPostgres(), (server) => server.stop());
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  const client = cleanUp.adopt(await connectTo(production.url), (open) => open.end());
  await client.query(`
    CREATE TABLE by_unique (code text NOT NULL UNIQUE, n int);
    ALTER TABLE by_unique REPLICA IDENTITY FULL;
    CREATE TABLE by_index (code text NOT NULL UNIQUE, n int);
    ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
    CREATE TABLE by_message (code text PRIMARY KEY, n int);
    ALTER TABLE by_message REPLICA IDENTITY FULL`);
  for (const table of TABLES) {
    await client.query(`INSERT INTO ${table} SELECT 'c' || i, i FROM generate_series(1, 20) i`);
  }
  const config = await postgresConnector(production.url, PREFIX, {
    'message.key.columns': 'public.by_message:n',
  });
  await connect.createConnector(PREFIX, config);
  cleanUp.defer(() => connect.deleteConnector(PREFIX));
  await settleConnector(production.url, connect, PREFIX);
  const workplace = cleanUp.use(
    await Workplace.make({
      ...followed(PREFIX, { kafka, connect, production, shadow }),
    }),
  );
  const follow = async (): Promise<void> => {
    await settleConnector(production.url, connect, PREFIX);
    expect(await workplace.json(['materialize', '--until-caught-up'])).toMatchObject({
      parked: 0,
      unknown: 0,
    });
    expect(await canonicalState(databaseUrl(shadow.url, 'shop'))).toEqual(
      await canonicalState(production.url),
    );
  };
  await follow();
  for (const table of TABLES) {
    await client.query(`
      INSERT INTO ${table} VALUES ('new', 100);
      UPDATE ${table} SET n = n + 1000 WHERE n BETWEEN 2 AND 5;
      DELETE FROM ${table} WHERE code IN ('c6', 'c7');
      UPDATE ${table} SET code = 'moved' WHERE code = 'c8';
      UPDATE ${table} SET code = 'c7', n = 7 WHERE code = 'c9';
      DELETE FROM ${table} WHERE code = 'c10';
      INSERT INTO ${table} VALUES ('c10', 11)`);
  }
  await follow();
  await client.query(TABLES.map((table) => `DELETE FROM ${table}`).join(';'));
  await follow();
});
