/**
 * A connector that goes back sends again what it sent, on real parts and with `consistency: key`: of rows
 * that may lie in several partitions (keys that a collation spells in two ways, rows without key) nothing
 * is lost and nothing doubled, also where who follows them starts anew in the middle of it.
 */
import type { Connection, RowDataPacket } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { binlogConnector } from '../support/connectors.ts';
import type { ConnectorOffset } from '../support/connect-rest.ts';
import { startMariaDB } from '../support/mariadb.ts';
import type { MySqlServer } from '../support/mysql-server.ts';
import { startMySQL } from '../support/mysql.ts';
import { until } from '../support/shop-follow.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectBinlog } from '../support/types/binlog.ts';
import { followed, Workplace } from '../support/understudy.ts';

const TABLES = ['word', 'bag', 'mark'] as const;

describe.each([
  { engine: 'mysql', start: startMySQL },
  { engine: 'mariadb', start: startMariaDB },
] as const)('a trunk of $engine', ({ engine, start }) => {
  const prefix = `second${engine}${String(process.pid)}`;
  const cleanUp = new AsyncDisposableStack();
  const topics = TABLES.map((table) => `${prefix}.shop.${table}`);
  let [source, shadow]: [Connection?, Connection?] = [];
  let workplace: Workplace;
  let back: readonly ConnectorOffset[] = [];

  const rowsOf = async (of: Connection | undefined): Promise<string> => {
    const rows: unknown[] = [];
    for (const query of ['w, n FROM shop.word ORDER BY w', 'v FROM shop.bag ORDER BY v']) {
      rows.push((await of?.query<RowDataPacket[]>(`SELECT ${query}`))?.[0]);
    }
    return JSON.stringify(rows);
  };

  /** How many records there are, of all topics. */
  const sent = async (): Promise<number> => {
    const admin = (await sharedKafka()).client().admin();
    await admin.connect();
    // A topic is made with its first record.
    const endsOf = (topic: string) => admin.fetchTopicOffsets(topic).catch(() => []);
    const offsets = await Promise.all(topics.map(endsOf));
    await admin.disconnect();
    return offsets.flat().reduce((sum, { high }) => sum + Number(high), 0);
  };

  const applied = async (): Promise<number> => {
    const [rows = []] =
      (await shadow
        ?.query<RowDataPacket[]>(
          'SELECT SUM(next_offset) AS n FROM shop__understudy.position WHERE topic IN (?)',
          [topics],
        )
        // It is not made yet.
        .catch(() => [])) ?? [];
    return Number(rows[0]?.['n'] ?? 0);
  };

  const mark = async (): Promise<void> => {
    await source?.query('INSERT INTO mark VALUES ()');
  };

  /** All that was sent is applied. */
  const settled = (what: string): Promise<true> =>
    until(what, async () => (await applied()) === (await sent()), 60_000);

  beforeAll(async () => {
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    const [production, target] = await Promise.all([start(), start()]);
    const stop = (server: MySqlServer) => () => server.stop();
    for (const server of [production, target]) cleanUp.defer(stop(server));
    await production.execute([
      'CREATE DATABASE shop CHARACTER SET utf8mb4',
      'CREATE TABLE shop.mark (id INT AUTO_INCREMENT PRIMARY KEY)',
      'CREATE TABLE shop.word (w VARCHAR(30) COLLATE utf8mb4_unicode_ci PRIMARY KEY, n INT)',
      'CREATE TABLE shop.bag (v INT)',
    ]);
    source = cleanUp.adopt(await connectBinlog(`${production.url}shop`), (open) => open.end());
    shadow = cleanUp.adopt(await connectBinlog(target.url), (open) => open.end());
    const from = { server: production, database: 'shop', broker: kafka.broker };
    await connect.createConnector(
      prefix,
      await binlogConnector(engine, from, prefix, {
        'topic.creation.default.partitions': '4',
        'topic.creation.default.replication.factor': '-1',
        'snapshot.mode': 'no_data',
      }),
    );
    cleanUp.defer(() => connect.deleteConnector(prefix));
    workplace = cleanUp.use(
      await Workplace.make({
        ...followed(prefix, {
          ...{ kafka, connect, shadow: target, connector: engine },
          production: { url: `${production.url}shop` },
        }),
        ...{ consistency: 'key', apply: { leaseSeconds: 2 } },
      }),
    );
    // A connector that takes no snapshot sees nothing of what was before it began.
    const begun = async (): Promise<boolean> => {
      await mark();
      return (await sent()) > 0;
    };
    await until('the connector has begun', begun);
    for (const word of ['a', 'b', 'c', 'd', 'e']) {
      await source.query('INSERT INTO word VALUES (?, 0)', [word]);
      await source.query('INSERT INTO bag VALUES (1), (1), (?)', [word.charCodeAt(0)]);
    }
    const committed = async (): Promise<boolean> => {
      back = await connect.offsets(prefix);
      return back.length > 0;
    };
    await until('the connector has saved where it is', committed);
    // What comes now is sent again later.
    for (const word of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) {
      await source.query('REPLACE INTO word VALUES (?, 1)', [word]);
      await source.query('DELETE FROM word WHERE w = ?', [word]);
      await source.query('INSERT INTO word VALUES (?, 2)', [word.toUpperCase()]);
      await source.query('INSERT INTO bag VALUES (2), (2), (?)', [word.charCodeAt(0)]);
      await source.query('DELETE FROM bag WHERE v = 1 LIMIT 1');
      await mark();
    }
  }, 240_000);

  afterAll(() => cleanUp.disposeAsync());

  it('loses and doubles no row when the connector sends again what was applied', async () => {
    const connect = await sharedConnect();
    const run = workplace.start(['run']);
    await settled('all is applied once');
    expect(await rowsOf(shadow)).toBe(await rowsOf(source));
    const before = await sent();
    await connect.stopConnector(prefix);
    await connect.alterOffsets(prefix, back);
    await connect.resumeConnector(prefix);
    await connect.waitRunning(prefix);
    await mark();
    await until('it is sent again', async () => (await sent()) > before + 30);
    // Wherever it is: it goes on with what is left of it.
    run.kill('SIGKILL');
    await run.ended;
    await source?.query(`INSERT INTO word VALUES ('last', 3)`);
    const next = workplace.start(['run']);
    await until('the last is here', async () => (await rowsOf(shadow)).includes('last'));
    await settled('all is applied twice');
    expect(await rowsOf(shadow)).toBe(await rowsOf(source));
    next.kill('SIGTERM');
    expect(await next.ended).toMatchObject({ status: 0 });
  });
});
