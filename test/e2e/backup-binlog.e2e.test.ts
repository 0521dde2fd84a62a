/**
 * A trunk of MySQL and MariaDB on top of a dump: made under traffic, restored with its triggers, and
 * followed from its GTIDs, or its place in the binlog, by what Debezium sends. One table has no key, so
 * that a change applied twice would show.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dumpInto } from '../support/binlog-dump.ts';
import { BinlogTraffic, binlogState, TRAFFIC_TABLES } from '../support/binlog-traffic.ts';
import { binlogConnector } from '../support/connectors.ts';
import { startMariaDB } from '../support/mariadb.ts';
import type { MySqlServer } from '../support/mysql-server.ts';
import { startMySQL } from '../support/mysql.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { until } from '../support/shop-follow.ts';
import { followed, Workplace } from '../support/understudy.ts';

/** Truncates of `feed` come too often to dump it. */
const FOLLOWED = TRAFFIC_TABLES.filter((table) => table !== 'feed');

describe.each([
  { engine: 'mysql', start: startMySQL, by: 'gtids' },
  { engine: 'mariadb', start: startMariaDB, by: 'place' },
] as const)('a trunk of $engine', ({ engine, start, by }) => {
  const prefix = `backup${engine}${String(process.pid)}`;
  let production: MySqlServer;
  let shadow: MySqlServer;
  let traffic: BinlogTraffic;
  let workplace: Workplace;
  let dump: { readonly file: string; readonly pos: string; readonly gtids: string };

  const configure = async (backupPosition: string): Promise<void> => {
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    await workplace.configure({
      ...followed(prefix, {
        ...{ kafka, connect, shadow, connector: engine },
        production: { url: `${production.url}shop` },
      }),
      trunk: { name: 'copy', bootstrap: 'backup', backupPosition },
      tables: { include: FOLLOWED.map((table) => `shop.${table}`) },
    });
  };

  beforeAll(async () => {
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    [production, shadow] = await Promise.all([start(), start()]);
    await production.execute(['CREATE DATABASE shop CHARACTER SET utf8mb4']);
    traffic = await BinlogTraffic.open(`${production.url}shop`, 12);
    await traffic.serve(150);
    const source = { server: production, database: 'shop', broker: kafka.broker };
    await connect.createConnector(
      prefix,
      await binlogConnector(engine, source, prefix, {
        'snapshot.mode': 'no_data',
        'connect.keep.alive.interval.ms': '2000',
      }),
    );
    await until('it has begun', async () => (await connect.offsets(prefix)).length > 0);
    await traffic.serve(60);
    const writers = traffic.start(2);
    dump = await dumpInto(
      `${production.url}shop`,
      { server: shadow.url, database: 'copy', tables: FOLLOWED },
      () => traffic.serve(60),
    );
    await writers.stop();
    await shadow.execute([
      'USE copy',
      'CREATE TRIGGER doubles AFTER INSERT ON item FOR EACH ROW INSERT INTO bare (n) VALUES (999)',
      `CREATE EVENT wipes ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' DO DELETE FROM bare`,
    ]);
    await traffic.serve(60);
    workplace = await Workplace.make({});
  });

  afterAll(async () => {
    await traffic.stop();
    await workplace[Symbol.asyncDispose]();
    await (await sharedConnect()).deleteConnector(prefix);
    await Promise.all([production.stop(), shadow.stop()]);
  });

  it('is taken over as of its position, and equals production', async () => {
    await configure(by === 'gtids' ? dump.gtids : `${dump.file}:${dump.pos}`);
    const summary = await workplace.json<{ notCarried: { what: string }[]; applied: object }>([
      'materialize',
      '--until-caught-up',
    ]);
    expect(summary.notCarried.map(({ what }) => what).join()).toMatch(
      /trigger doubles.*event wipes/,
    );
    expect(summary).toMatchObject({ degraded: 0, parked: 0, deadLetters: 0 });
    await traffic.serve(30);
    const poll = { timeout: 60_000, interval: 500 };
    await expect
      .poll(async () => {
        await workplace.json(['materialize', '--until-caught-up']);
        const ours = await binlogState(`${shadow.url}copy`, FOLLOWED);
        return (
          JSON.stringify(ours) ===
          JSON.stringify(await binlogState(`${production.url}shop`, FOLLOWED))
        );
      }, poll)
      .toBe(true);
  });
});
