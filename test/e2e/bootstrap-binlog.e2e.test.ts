/**
 * A trunk of MySQL and MariaDB without old topics: the connector sends no snapshot, production has rows
 * that no topic ever held, and traffic goes on before, while and after the copy is made, cut off and
 * resumed. One table has no key, so that a change applied twice would show.
 */
import type { RowDataPacket } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BinlogTraffic, binlogState, TRAFFIC_TABLES } from '../support/binlog-traffic.ts';
import { binlogConnector } from '../support/connectors.ts';
import { startMariaDB } from '../support/mariadb.ts';
import type { MySqlServer } from '../support/mysql-server.ts';
import { startMySQL } from '../support/mysql.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectBinlog } from '../support/types/binlog.ts';
import { followed, Workplace } from '../support/understudy.ts';

/** Truncates of `feed` come too often to copy it: see test/integration/bootstrap-binlog.db.test.ts. */
const FOLLOWED = TRAFFIC_TABLES.filter((table) => table !== 'feed');

interface Status {
  readonly databases: readonly {
    readonly state: string;
    readonly holder: string | null;
    readonly lag: { readonly offsets: number };
    readonly bootstrap: { readonly phase: string; readonly tablesDone: number } | null;
  }[];
}

interface Repaired {
  readonly databases: readonly {
    readonly keys: number | null;
    readonly inserted: number;
    readonly overwritten: number;
    readonly deleted: number;
  }[];
}

describe.each([
  { engine: 'mysql', start: startMySQL },
  { engine: 'mariadb', start: startMariaDB },
] as const)('a trunk of $engine', ({ engine, start }) => {
  const prefix = `boot${engine}${String(process.pid)}`;
  let production: MySqlServer;
  let shadow: MySqlServer;
  let traffic: BinlogTraffic;
  let workplace: Workplace;

  const trunkStatus = async (): Promise<Status['databases'][number] | undefined> =>
    (await workplace.json<Status>(['status'])).databases[0];

  beforeAll(async () => {
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    [production, shadow] = await Promise.all([start(), start()]);
    await production.execute(['CREATE DATABASE shop CHARACTER SET utf8mb4']);
    traffic = await BinlogTraffic.open(`${production.url}shop`, 11);
    await traffic.serve(150);
    const source = { server: production, database: 'shop', broker: kafka.broker };
    await connect.createConnector(
      prefix,
      await binlogConnector(engine, source, prefix, {
        'snapshot.mode': 'no_data',
        // An idle server tells where its binlog ends so often, about.
        'connect.keep.alive.interval.ms': '2000',
      }),
    );
    workplace = await Workplace.make({
      ...followed(prefix, {
        ...{ kafka, connect, shadow, connector: engine },
        production: { url: `${production.url}shop` },
      }),
      trunk: { name: 'copy', bootstrap: 'production', bootstrapJobs: 2 },
      tables: { include: FOLLOWED.map((table) => `shop.${table}`) },
      apply: { leaseSeconds: 3 },
    });
  });

  afterAll(async () => {
    await traffic.stop();
    await workplace[Symbol.asyncDispose]();
    await (await sharedConnect()).deleteConnector(prefix);
    await Promise.all([production.stop(), shadow.stop()]);
  });

  it('is copied under traffic, goes on after SIGKILL, and equals production', async () => {
    const poll = { timeout: 120_000, interval: 500 };
    const connect = await sharedConnect();
    await connect.pauseConnector(prefix);
    const states = async (): Promise<readonly string[]> =>
      (await connect.status(prefix)).tasks.map(({ state }) => state);
    await expect.poll(states, poll).toEqual(['PAUSED']);
    // So that there is something it has not got to.
    await traffic.mark();
    const killed = workplace.start(['run']);
    await expect
      .poll(async () => (await trunkStatus())?.state, poll)
      .toBe('bootstrapping: waiting-for-connector');
    // The copy will come as far as this table, and not beyond.
    const trunk = await connectBinlog(`${shadow.url}copy`);
    await trunk.query('LOCK TABLES word READ');
    traffic.start(2);
    await connect.resumeConnector(prefix);
    await expect
      .poll(async () => (await trunkStatus())?.bootstrap?.tablesDone, poll)
      .toBeGreaterThan(0);
    killed.kill('SIGKILL');
    await killed.ended;
    await trunk.end();
    expect(await trunkStatus()).toMatchObject({
      state: 'stopped bootstrapping',
      bootstrap: { phase: 'copying' },
    });
    const run = workplace.start(['run']);
    await expect.poll(() => run.stderr, poll).toContain('the copy is complete');
    await traffic.serve(30);
    await traffic.stop();
    await expect.poll(async () => (await trunkStatus())?.bootstrap, poll).toBeNull();
    await expect
      .poll(async () => {
        const [ours, theirs] = [`${shadow.url}copy`, `${production.url}shop`];
        const state = await binlogState(ours, FOLLOWED);
        return JSON.stringify(state) === JSON.stringify(await binlogState(theirs, FOLLOWED));
      }, poll)
      .toBe(true);
    expect(await trunkStatus()).toMatchObject({ lag: { offsets: 0 } });
    run.kill('SIGTERM');
    expect(await run.ended).toMatchObject({ status: 0 });
  });

  it('is repaired, a table or a row, while production and all else go on', async () => {
    const run = workplace.start(['run']);
    const trunk = await connectBinlog(`${shadow.url}copy`);
    await trunk.query(`INSERT INTO item (id, code, flags) VALUES (900001, 'foreign', 5)`);
    await trunk.query(`UPDATE item SET body = X'00', price = 1 WHERE id % 3 = 0`);
    await trunk.query('DELETE FROM item WHERE id % 7 = 0');
    await trunk.query('UPDATE word SET n = -1');
    const writers = traffic.start(2);
    const item = await workplace.json<Repaired>(['repair', 'shop.item']);
    expect(item.databases).toMatchObject([{ name: 'copy', kind: 'trunk', keys: null }]);
    expect(item.databases[0]?.deleted).toBeGreaterThan(0);
    await writers.stop();
    const [words] = await trunk.query<RowDataPacket[]>('SELECT w FROM word WHERE n = -1');
    for (const word of words.map((row) => String(row['w']))) {
      const one = await workplace.json<Repaired>(['repair', 'shop.word', '--key', word]);
      expect(one.databases[0]).toMatchObject({ keys: 1, overwritten: 1, inserted: 0, deleted: 0 });
    }
    await trunk.end();
    // A truncate that comes last is told by the connector with what comes after it.
    await traffic.mark();
    const check = await workplace.json<{ verdict: string; reasons: unknown[] }>(['drift', 'check']);
    expect(check).toMatchObject({ verdict: 'equal', reasons: [] });
    const [ours, theirs] = [`${shadow.url}copy`, `${production.url}shop`];
    expect(await binlogState(ours, FOLLOWED)).toEqual(await binlogState(theirs, FOLLOWED));
    run.kill('SIGTERM');
    expect(await run.ended).toMatchObject({ status: 0 });
  });

  it('loses what was not read of a table, and is refilled with it and its family', async () => {
    const kafka = await sharedKafka();
    await traffic.serve(60);
    const settled = workplace.start(['run']);
    await expect.poll(async () => (await trunkStatus())?.lag.offsets, { timeout: 60_000 }).toBe(0);
    settled.kill('SIGTERM');
    expect(await settled.ended).toMatchObject({ status: 0 });
    await traffic.serve(60);
    const topic = `${prefix}.shop.line`;
    const admin = kafka.client().admin();
    await admin.connect();
    const trunk = await connectBinlog(`${shadow.url}copy`);
    const [[place]] = await trunk.query<RowDataPacket[]>(
      'SELECT next_offset AS next FROM copy__understudy.position WHERE topic = ?',
      [topic],
    );
    // It has something that was not read.
    await expect
      .poll(async () => Number((await admin.fetchTopicOffsets(topic))[0]?.high), {
        timeout: 60_000,
      })
      .toBeGreaterThan(Number(place?.['next']));
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '-1' }] });
    await admin.disconnect();
    const stopped = await workplace.run(['run']);
    expect(stopped.status, stopped.stderr).toBe(4);
    expect(stopped.stderr).toContain('LOG_GAP');
    await trunk.query(`INSERT INTO word VALUES ('left alone', 1)`);
    const writers = traffic.start(2);
    const refill = ['materialize', '--refill', '--until-caught-up'];
    const { refilled } = await workplace.json<{ refilled: string[] }>(refill);
    // Where what foreign keys do is in the log, each table can be copied alone.
    const family = engine === 'mysql' ? [] : ['shop.file', 'shop.folder'];
    expect(refilled.toSorted()).toEqual([...family, 'shop.line']);
    await writers.stop();
    const run = workplace.start(['run']);
    await expect
      .poll(async () => (await trunkStatus())?.bootstrap, { timeout: 120_000 })
      .toBeNull();
    const [left] = await trunk.query<RowDataPacket[]>(`SELECT n FROM word WHERE w = 'left alone'`);
    expect(left).toEqual([{ n: 1 }]);
    await trunk.query(`DELETE FROM word WHERE w = 'left alone'`);
    await trunk.end();
    const [ours, theirs] = [`${shadow.url}copy`, `${production.url}shop`];
    await expect
      .poll(
        async () => {
          const state = await binlogState(ours, FOLLOWED);
          return JSON.stringify(state) === JSON.stringify(await binlogState(theirs, FOLLOWED));
        },
        { timeout: 120_000, interval: 500 },
      )
      .toBe(true);
    // A truncate that comes last is told by the connector with what comes after it.
    await traffic.mark();
    const check = await workplace.json<{ verdict: string; reasons: unknown[] }>(['drift', 'check']);
    expect(check).toMatchObject({ verdict: 'equal', reasons: [] });
    run.kill('SIGTERM');
    expect(await run.ended).toMatchObject({ status: 0 });
  });
});
