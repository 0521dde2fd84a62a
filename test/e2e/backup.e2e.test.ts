/**
 * A trunk on top of a physical backup of production: taken under traffic, recovered to a place in the
 * log with transactions on both sides of it and across it, and followed from there by what Debezium
 * sends. No topic ever held most of its rows, and a table without key shows what is applied twice.
 */
import type pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { backUp } from '../support/physical-backup.ts';
import {
  createDatabase,
  databaseUrl,
  startPostgres,
  type PostgresServer,
} from '../support/postgres.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectTo } from '../support/test-database.ts';
import { followed, Workplace } from '../support/understudy.ts';

const PREFIX = `backup${process.pid}`;

let production: PostgresServer;
let url: string;
let shadow: PostgresServer;
let workplace: Workplace;
let traffic: ShopTraffic;
/** Where the backup's log ended. */
let position: string;
let source: pg.Client;

async function textOf(client: pg.Client, sql: string): Promise<string> {
  return (
    (await client.query<{ text: string }>(`SELECT (${sql})::text AS text`)).rows[0]?.text ?? ''
  );
}

async function configure(trunk: string, backupPosition: string): Promise<void> {
  const parts = { kafka: await sharedKafka(), connect: await sharedConnect() };
  await workplace.configure({
    ...followed(PREFIX, { ...parts, production: { url }, shadow }),
    shadow: { url: shadow.url, restoredBackup: true },
    trunk: { name: trunk, bootstrap: 'backup', backupPosition },
  });
}

/** One transaction of a table without key. */
const note = (client: pg.Client, n: number): Promise<unknown> =>
  client.query(`INSERT INTO plain VALUES (${n}); UPDATE plain SET n = n + 1000 WHERE n = ${n - 3}`);

beforeAll(async () => {
  production = await startPostgres();
  url = await createDatabase(production.url, 'shop');
  traffic = await ShopTraffic.open(url);
  await traffic.serve(60);
  source = await connectTo(url);
  await source.query(`CREATE TABLE plain (n int); ALTER TABLE plain REPLICA IDENTITY FULL;
    CREATE TABLE audited (id int PRIMARY KEY, n int);
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql
      AS $$ BEGIN INSERT INTO plain VALUES (NEW.n); RETURN NULL; END $$;
    CREATE TRIGGER audit AFTER INSERT ON audited FOR EACH ROW EXECUTE FUNCTION audit();
    ALTER TABLE audited ENABLE ALWAYS TRIGGER audit`);
  const connect = await sharedConnect();
  await connect.createConnector(
    PREFIX,
    await postgresConnector(url, PREFIX, { 'snapshot.mode': 'no_data' }),
  );
  await traffic.settle(connect, PREFIX);
  traffic.start(1);
  for (let n = 0; n < 10; n += 1) await note(source, n);
  const across = await connectTo(url);
  await across.query('BEGIN; INSERT INTO plain VALUES (-1)');
  const backup = await backUp(production, async () => {
    for (let n = 10; n < 25; n += 1) await note(source, n);
  });
  for (let n = 25; n < 40; n += 1) await note(source, n);
  await source.query('INSERT INTO audited SELECT i, 5000 + i FROM generate_series(1, 5) i');
  const target = await textOf(source, 'pg_current_wal_insert_lsn()');
  for (let n = 40; n < 70; n += 1) await note(source, n);
  await across.query('INSERT INTO plain VALUES (-2); COMMIT');
  await across.end();
  await source.query('INSERT INTO audited SELECT i, 5000 + i FROM generate_series(6, 10) i');
  await source.query('SELECT pg_switch_wal()');
  shadow = await backup.recover(target);
  const restored = await connectTo(shadow.url);
  position = await textOf(restored, 'pg_last_wal_replay_lsn()');
  await restored.end();
  workplace = await Workplace.make({});
});

afterAll(async () => {
  await traffic.stop();
  await workplace[Symbol.asyncDispose]();
  await (await sharedConnect()).deleteConnector(PREFIX);
  await source.end();
  await shadow.stop();
  await production.stop();
});

it('refuses where nothing was restored, and a log that does not reach back', async () => {
  await configure('elsewhere', position);
  expect(await workplace.json(['materialize', '--until-caught-up'], 3)).toMatchObject({
    error: { code: 'BACKUP_MISSING', database: 'elsewhere' },
  });
  await configure('shop', 'binlog.000002:4');
  expect(await workplace.json(['materialize', '--until-caught-up'], 3)).toMatchObject({
    error: { code: 'CONFIG_INVALID' },
  });
  await configure('shop', '0/100');
  expect(await workplace.json(['materialize', '--until-caught-up'], 4)).toMatchObject({
    error: { code: 'BACKUP_UNREACHED' },
  });
  const early = await workplace.run(['rollout', 'create', 'early']);
  expect([early.status, early.stderr]).toEqual([4, expect.stringContaining('BOOTSTRAPPING')]);
});

it('takes the backup over, applies what it lacks and nothing twice, and equals production', async () => {
  await configure('shop', position);
  const trunk = await connectTo(databaseUrl(shadow.url, 'shop'));
  const rows = (): Promise<string> => textOf(trunk, 'SELECT count(*) FROM plain');
  // On both sides of it is something.
  expect(Number(await rows())).toBeGreaterThan(40);
  expect(Number(await rows())).toBeLessThan(
    Number(await textOf(source, 'SELECT count(*) FROM plain')),
  );
  await trunk.end();
  const first = await workplace.json<{ degraded: number; applied: { transactions: number } }>([
    'materialize',
    '--until-caught-up',
  ]);
  expect(first).toMatchObject({ degraded: 0, parked: 0, deadLetters: 0 });
  expect(first.applied.transactions).toBeGreaterThan(30);
  await traffic.stop();
  await traffic.settle(await sharedConnect(), PREFIX);
  await workplace.json(['materialize', '--until-caught-up']);
  expect(await canonicalState(databaseUrl(shadow.url, 'shop'))).toEqual(await canonicalState(url));
  expect(await workplace.json(['materialize', '--until-caught-up', '--anew'], 3)).toMatchObject({
    error: { code: 'CONFIG_INVALID' },
  });
});
