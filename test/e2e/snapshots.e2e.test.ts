/**
 * A trunk of rows that no topic ever had, filled by the connector's own snapshots while it follows and
 * writers go on: incremental ones, whose chunks stand between the changes, and blocking ones, after which
 * the connector goes back and streams what their rows have already.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ConnectorConfig } from '../support/connect-rest.ts';
import { binlogConnector, postgresConnector } from '../support/connectors.ts';
import { startMariaDB } from '../support/mariadb.ts';
import { startMySQL } from '../support/mysql.ts';
import { databaseUrl, startPostgres } from '../support/postgres.ts';
import { Random } from '../support/random.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectTo } from '../support/test-database.ts';
import { connectBinlog } from '../support/types/binlog.ts';
import { followed, Workplace } from '../support/understudy.ts';

const ROWS = 3_000;

interface Session extends AsyncDisposable {
  run(sql: string): Promise<readonly unknown[]>;
}

interface Side {
  readonly url: string;
  stop(): Promise<void>;
}

interface Engine {
  readonly name: 'postgresql' | 'mysql' | 'mariadb';
  start(): Promise<Side>;
  /** Of a server's URL and a database there. */
  at(url: string, database: string): string;
  open(url: string): Promise<Session>;
  connector(side: Side, prefix: string, overrides: ConnectorConfig): Promise<ConnectorConfig>;
  /** The schema of tables in database `shop`. */
  readonly schema: string;
}

const POSTGRES: Engine = {
  name: 'postgresql',
  start: startPostgres,
  at: databaseUrl,
  open: async (url) => {
    const client = await connectTo(url);
    return {
      run: async (sql) => (await client.query({ text: sql, rowMode: 'array' })).rows,
      [Symbol.asyncDispose]: () => client.end(),
    };
  },
  connector: ({ url }, prefix, overrides) =>
    postgresConnector(databaseUrl(url, 'shop'), prefix, overrides),
  schema: 'public',
};

function binlog(name: 'mysql' | 'mariadb', start: typeof startMySQL): Engine {
  return {
    ...{ name, start, schema: 'shop' },
    at: (url, database) => `${url}${database}`,
    open: async (url) => {
      const client = await connectBinlog(url);
      return {
        run: async (sql) => {
          const [rows] = await client.query({ sql, rowsAsArray: true });
          return Array.isArray(rows) ? rows : [];
        },
        [Symbol.asyncDispose]: () => client.end(),
      };
    },
    connector: async ({ url }, prefix, overrides) => {
      const { username, password, port } = new URL(url);
      const server = { port: Number(port), user: username, password };
      const source = { server, database: 'shop', broker: (await sharedKafka()).broker };
      return binlogConnector(name, source, prefix, overrides);
    },
  };
}

describe.each([POSTGRES, binlog('mysql', startMySQL), binlog('mariadb', startMariaDB)])(
  'a trunk of $name',
  (engine) => {
    const prefix = `snap${engine.name}${String(process.pid)}`;
    const random = new Random(17);
    let production: Side;
    let shadow: Side;
    let workplace: Workplace;
    let session: Session;
    let pings = 0;

    /** Until `stop`: rows come, change and go, and get other keys. */
    function write(table: string): { stop(): Promise<void> } {
      let stopping = false;
      let next = ROWS;
      const acts = (id: number): readonly string[] => [
        `UPDATE ${table} SET v = v + 1 WHERE id = ${String(id)}`,
        `UPDATE ${table} SET v = v + 1 WHERE id BETWEEN ${String(id)} AND ${String(id + 5)}`,
        `DELETE FROM ${table} WHERE id = ${String(id)}`,
        `UPDATE ${table} SET id = ${String((next += 1))} WHERE id = ${String(id)}`,
        `INSERT INTO ${table} VALUES (${String((next += 1))}, 'new', 0)`,
        `INSERT INTO bare VALUES (${String(id)}, 'new')`,
      ];
      const writing = (async () => {
        await using mine = await engine.open(engine.at(production.url, 'shop'));
        while (!stopping) {
          await mine.run(random.pick(acts(random.integer(1, ROWS))));
          await sleep(3);
        }
      })();
      return {
        stop: () => {
          stopping = true;
          return writing;
        },
      };
    }

    const rowsIn = async (url: string, table: string): Promise<readonly unknown[]> => {
      await using reader = await engine.open(url);
      return await reader.run(`SELECT * FROM ${table} ORDER BY ${table === 'ping' ? '1' : '1, 2'}`);
    };

    const signal = (
      id: string,
      type: 'incremental' | 'blocking',
      table: string,
    ): Promise<unknown> =>
      session.run(
        `INSERT INTO signals VALUES ('${id}', 'execute-snapshot',
          '{"type": "${type}", "data-collections": ["${engine.schema}.${table}"]}')`,
      );

    const equals = async (table: string): Promise<boolean> => {
      const [ours, theirs] = await Promise.all([
        rowsIn(engine.at(shadow.url, 'copy'), table),
        rowsIn(engine.at(production.url, 'shop'), table),
      ]);
      return JSON.stringify(ours) === JSON.stringify(theirs);
    };

    /** Until what is written now is seen in the trunk: a signal of before the stream is lost. */
    const followedOn = async (): Promise<void> => {
      const before = pings;
      const isSeen = async (): Promise<boolean> => {
        await session.run(`INSERT INTO ping VALUES (${String((pings += 1))})`);
        const seen = await rowsIn(engine.at(shadow.url, 'copy'), 'ping').catch(() => []);
        return seen.some((row) => Number((row as unknown[])[0]) > before);
      };
      await expect.poll(isSeen, { timeout: 60_000, interval: 300 }).toBe(true);
    };

    beforeAll(async () => {
      const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
      [production, shadow] = await Promise.all([engine.start(), engine.start()]);
      await using server = await engine.open(production.url);
      await server.run('CREATE DATABASE shop');
      session = await engine.open(engine.at(production.url, 'shop'));
      for (const sql of [
        'CREATE TABLE note (id int PRIMARY KEY, t varchar(20), v int)',
        'CREATE TABLE other (id int PRIMARY KEY, t varchar(20), v int)',
        'CREATE TABLE bare (id int, t varchar(20))',
        'CREATE TABLE ping (id int PRIMARY KEY)',
        'CREATE TABLE signals (id varchar(60) PRIMARY KEY, type varchar(32), data varchar(2048))',
        ...['note', 'other'].map((table) => {
          const values = Array.from({ length: ROWS }, (_, i) => `(${String(i)}, 'old', 0)`);
          return `INSERT INTO ${table} VALUES ${values.join(', ')}`;
        }),
      ]) {
        await session.run(sql);
      }
      await connect.createConnector(
        prefix,
        await engine.connector(production, prefix, {
          'snapshot.mode': 'no_data',
          'signal.data.collection': engine.schema === 'public' ? 'public.signals' : 'shop.signals',
          // Many, with changes between them.
          'incremental.snapshot.chunk.size': '128',
        }),
      );
      workplace = await Workplace.make({
        ...followed(prefix, {
          ...{ kafka, connect, connector: engine.name },
          shadow: { url: shadow.url },
          production: { url: engine.at(production.url, 'shop') },
        }),
        trunk: { name: 'copy' },
      });
    });

    afterAll(async () => {
      await session[Symbol.asyncDispose]();
      await workplace[Symbol.asyncDispose]();
      await (await sharedConnect()).deleteConnector(prefix);
      await Promise.all([production.stop(), shadow.stop()]);
    });

    it.each([
      ['incremental', 'note'],
      ['blocking', 'other'],
    ] as const)('gets rows by its %s snapshot under traffic', async (type, table) => {
      const run = workplace.start(['run']);
      await followedOn();
      const writers = write(table);
      await signal(`${type}-1`, type, table);
      // Under traffic: from it on only what is behind may differ.
      await sleep(4_000);
      await writers.stop();
      await expect.poll(() => equals(table), { timeout: 90_000, interval: 500 }).toBe(true);
      await expect.poll(() => equals('bare'), { timeout: 60_000, interval: 500 }).toBe(true);
      run.kill('SIGTERM');
      expect(await run.ended).toMatchObject({ status: 0 });
    });
  },
);
