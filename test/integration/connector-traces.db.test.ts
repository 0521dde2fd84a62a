/** Whether production is the server that the connector reads, by what that has committed. */
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import type { ConnectorTraces } from '../../src/dialect/connector-traces.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import { assertFollowed } from '../../src/runtime/followed-server.ts';
import { startMariaDB } from '../support/mariadb.ts';
import type { MySqlServer } from '../support/mysql-server.ts';
import { startMySQL } from '../support/mysql.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';

const production = await testDatabase('production');

async function unlike(url: string, traces: Partial<ConnectorTraces>): Promise<string | null> {
  await using found = await dialectFor(url).connectProduction(url, () => true);
  return await found.unlike({ slot: null, offsets: [], ...traces });
}

describe.each([
  { engine: 'mysql', start: startMySQL },
  { engine: 'mariadb', start: startMariaDB },
] as const)('on $engine', ({ engine, start }) => {
  let server: MySqlServer;
  let at: { readonly file: string; readonly pos: number; readonly gtids: string };

  beforeAll(async () => {
    server = await start();
    await server.execute(['CREATE DATABASE shop', 'CREATE TABLE shop.t (id INT PRIMARY KEY)']);
    await using found = await dialectFor(server.url).connectProduction(
      `${server.url}shop`,
      () => true,
    );
    const { snapshot } = await found.pin();
    const [, file = '', pos = '', gtids = ''] = /^(\S+):(\d+) (\S+)$/.exec(snapshot) ?? [];
    at = { file, pos: Number(pos), gtids };
  });
  afterAll(() => server.stop());

  const why = (offset: Record<string, unknown>): Promise<string | null> =>
    unlike(`${server.url}shop`, { offsets: [offset] });

  it('takes what it may have written itself', async () => {
    expect(at.gtids).not.toBe('');
    expect(await why(at)).toBeNull();
    expect(await why({ ...at, gtids: undefined })).toBeNull();
    expect(await unlike(`${server.url}shop`, {})).toBeNull();
  });

  it('tells GTIDs and binlogs of another server', async () => {
    const foreign = engine === 'mysql' ? '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7' : '7-9-100';
    expect(await why({ ...at, gtids: foreign })).toContain(foreign.slice(0, 3));
    expect(await why({ ...at, gtids: `${at.gtids},${foreign}` })).not.toBeNull();
    expect(await why({ file: 'elsewhere.000001', pos: 4 })).toContain('elsewhere.000001');
    expect(await why({ file: at.file, pos: 4_000_000_000 })).toContain('4000000000');
    // With GTIDs, and on a replica, another one's files say nothing.
    const moved = await why({ ...at, file: 'elsewhere.000001' });
    expect(moved === null).toBe(engine === 'mysql');
  });

  it('lets nothing be compared with another server', async () => {
    await using found = await dialectFor(server.url).connectProduction(
      `${server.url}shop`,
      () => true,
    );
    const committed = (file: string) => ({
      description: 'test',
      committed: () => Promise.resolve(null),
      stored: () => Promise.resolve([{ file, pos: 4 }]),
    });
    await assertFollowed({ connect: null }, found, committed(at.file));
    await expect(
      assertFollowed({ connect: null }, found, committed('elsewhere.000001')),
    ).rejects.toMatchObject({ code: 'PRODUCTION_NOT_FOLLOWED' });
  });
});

test('on PostgreSQL the connector’s slot tells', async () => {
  const client = await connectTo(production.url);
  const slot = `traces_${String(process.pid)}`;
  await client.query('SELECT pg_create_logical_replication_slot($1, $2)', [slot, 'pgoutput']);
  expect(await unlike(production.url, { slot })).toBeNull();
  await client.query('SELECT pg_drop_replication_slot($1)', [slot]);
  expect(await unlike(production.url, { slot })).toContain(slot);
  await client.end();
});
