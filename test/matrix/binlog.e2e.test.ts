/**
 * The whole way on real parts, for MySQL and MariaDB: production, Debezium, Kafka, the command
 * line, a shadow server. Each test starts where the one before ended.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DoctorReport } from '../../src/doctor/doctor.ts';
import { pollUntil } from '../../src/util/wait.ts';
import { BinlogTraffic, binlogState, MARKS, TRAFFIC_TABLES } from '../support/binlog-traffic.ts';
import { binlogConnector } from '../support/connectors.ts';
import { startMariaDB } from '../support/mariadb.ts';
import type { MySqlServer } from '../support/mysql-server.ts';
import { startMySQL } from '../support/mysql.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { followed, Workplace } from '../support/understudy.ts';

interface Status {
  readonly databases: readonly {
    readonly name: string;
    readonly state: string;
    readonly guarantee: string;
    readonly degraded: string | null;
    readonly lag: { readonly offsets: number | null };
    readonly position: { readonly offsets: Readonly<Record<string, string>> };
    readonly parked: number;
    readonly unknown: number;
  }[];
  readonly logError: string | null;
}
interface Summary {
  readonly applied: { readonly events: number; readonly rows: number };
  readonly waiting: number;
  readonly degraded: number;
  readonly parked: number;
}

/** On a small machine that does much else. */
const WITHIN_MS = 240_000;
const CATCH_UP = ['materialize', '--until-caught-up'];

describe.each([
  { engine: 'mysql', start: startMySQL },
  { engine: 'mariadb', start: startMariaDB },
] as const)('a team follows $engine', ({ engine, start }) => {
  const prefix = `${engine}${String(process.pid)}`;
  let production: MySqlServer;
  let shadow: MySqlServer;
  let traffic: BinlogTraffic;
  let workplace: Workplace;

  beforeAll(async () => {
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    production = await start();
    shadow = await start();
    await production.execute(['CREATE DATABASE shop CHARACTER SET utf8mb4']);
    traffic = await BinlogTraffic.open(`${production.url}shop`, 7);
    await traffic.serve(80);
    const source = { server: production, database: 'shop', broker: kafka.broker };
    await connect.createConnector(prefix, await binlogConnector(engine, source, prefix));
    workplace = await Workplace.make({
      ...followed(prefix, {
        ...{ kafka, connect, shadow, connector: engine },
        production: { url: `${production.url}shop` },
      }),
      trunk: { name: 'copy' },
      tables: { include: TRAFFIC_TABLES.map((table) => `shop.${table}`) },
      apply: { leaseSeconds: 3 },
    });
  });

  afterAll(async () => {
    await traffic.stop();
    await workplace[Symbol.asyncDispose]();
    const connect = await sharedConnect();
    await connect.deleteConnector(prefix);
    await Promise.all([production.stop(), shadow.stop()]);
  });

  /** Waits until the connector has in Kafka what was committed up to now, ENDs included. */
  async function settle(): Promise<void> {
    const kafka = await sharedKafka();
    const admin = kafka.client().admin();
    await admin.connect();
    try {
      // The second mark comes after the END of the first, and so of all before.
      for (let marks = 0; marks < 2; marks += 1) {
        const mark = await traffic.mark();
        await pollUntil({
          probe: async () => {
            const topic = `${prefix}.shop.${MARKS}`;
            if (!(await admin.listTopics()).includes(topic)) return undefined;
            const offsets = await admin.fetchTopicOffsets(topic);
            const records = offsets.reduce((sum, { high }) => sum + Number(high), 0);
            return records >= mark ? true : undefined;
          },
          everyMs: 100,
          timeoutMs: WITHIN_MS,
          timeout: () => new Error(`the connector ${prefix} does not get on`),
        });
      }
    } finally {
      await admin.disconnect();
    }
  }

  const trunk = async (): Promise<Status['databases'][number] | undefined> =>
    (await workplace.json<Status>(['status'])).databases[0];

  function until(what: string, holds: () => Promise<boolean>): Promise<true> {
    return pollUntil({
      probe: async () => ((await holds()) ? true : undefined),
      everyMs: 200,
      timeoutMs: WITHIN_MS,
      timeout: () => new Error(`waited in vain: ${what}`),
    });
  }

  async function applied(): Promise<bigint> {
    const offsets = (await trunk())?.position.offsets ?? {};
    return Object.values(offsets).reduce((sum, next) => sum + BigInt(next), 0n);
  }

  async function expectEqual(): Promise<void> {
    expect(await binlogState(`${shadow.url}copy`)).toEqual(
      await binlogState(`${production.url}shop`),
    );
  }

  it('materializes the trunk from snapshot and stream, equal to production', async () => {
    await settle();
    await traffic.serve(150);
    await settle();
    const summary = await workplace.json<Summary>(CATCH_UP);
    expect(summary).toMatchObject({ parked: 0, degraded: 0 });
    expect(summary.applied.events).toBeGreaterThan(150);
    await expectEqual();
    expect(await workplace.json<Summary>(CATCH_UP)).toMatchObject({ applied: { events: 0 } });
  });

  it('has nothing to say against the connector as it is published, and names what is true', async () => {
    const { stdout } = await workplace.run(['doctor', '--json']);
    const report = JSON.parse(stdout) as DoctorReport;
    const said = report.findings.filter(({ level }) => level !== 'ok').map(({ id }) => id);
    // How the tests' broker keeps topics, and how often their worker flushes, is not our subject.
    const ours = said.filter((id) => !id.startsWith('log.') && id !== 'connector.offset-flush');
    // Three foreign keys that act unseen: the shadow carries them out.
    const unseen = engine === 'mariadb' ? Array.from({ length: 3 }, () => 'table.cascades') : [];
    expect(ours.toSorted()).toEqual([...unseen, 'table.key']);
    expect(report.findings.map(({ id }) => id)).toContain('column.float-snapshot');
  });

  it('follows while many write, transaction by transaction', async () => {
    const run = workplace.start(['run']);
    await until('run follows', async () => (await trunk())?.state === 'following');
    const writers = traffic.start(4);
    const before = traffic.transactions;
    await until('they write', () => Promise.resolve(traffic.transactions > before + 400));
    await writers.stop();
    await settle();
    await until('nothing is left', async () => (await trunk())?.lag.offsets === 0);
    expect(await trunk()).toMatchObject({
      state: 'following',
      guarantee: 'transaction',
      degraded: null,
      parked: 0,
      unknown: 0,
    });
    await expectEqual();
    run.kill('SIGTERM');
    expect((await run.ended).status).toBe(0);
  });

  it('lets no statement without rows hold up what comes after it', async () => {
    await traffic.execute(
      `INSERT INTO feed (v) VALUES ('before')`,
      'CREATE TABLE aside (id INT PRIMARY KEY)',
      'TRUNCATE feed',
      `INSERT INTO feed (v) VALUES ('after')`,
      'DROP TABLE aside',
      'ANALYZE TABLE feed',
      `INSERT INTO word VALUES ('last', 1)`,
    );
    await settle();
    const begun = Date.now();
    expect(await workplace.json<Summary>(CATCH_UP)).toMatchObject({ waiting: 0, degraded: 0 });
    // Far below the limit after which what is incomplete goes on anyway.
    expect(Date.now() - begun).toBeLessThan(30_000);
    await expectEqual();
  });

  it('equals production after kill -9 in full flow and a restart', async () => {
    const writers = traffic.start(4);
    for (let kills = 0; kills < 3; kills += 1) {
      const run = workplace.start(['run']);
      const before = await applied();
      await until('it applies', async () => (await applied()) > before + 100n);
      expect(run.process.exitCode).toBeNull();
      run.kill('SIGKILL');
      await run.ended;
    }
    await writers.stop();
    await settle();
    expect(await workplace.json<Summary>(CATCH_UP)).toMatchObject({ degraded: 0 });
    await expectEqual();
  });
});
