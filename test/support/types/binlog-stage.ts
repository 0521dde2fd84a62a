/** The parts on which the type matrix of MySQL or MariaDB plays. */
import type { Kafka } from 'kafkajs';
import { pollUntil } from '../../../src/util/wait.ts';
import { startConnect, type ConnectServer } from '../connect.ts';
import { binlogConnector } from '../connectors.ts';
import { testKafka } from '../kafka-client.ts';
import { startMariaDB } from '../mariadb.ts';
import type { MySqlServer } from '../mysql-server.ts';
import { startMySQL } from '../mysql.ts';
import { avroConverters } from '../registry.ts';
import { tailOf } from '../process/server-process.ts';
import { Workplace, type CliResult } from '../understudy.ts';
import {
  BINLOG,
  BINLOG_PLAYED,
  binlogModeSettings,
  connectBinlog,
  fillBinlog,
  readBinlog,
  type BinlogRun,
} from './binlog.ts';
import { MARIADB_TABLES, MYSQL_TABLES } from './binlog-tables.ts';
import { compareRows, type Difference } from './exceptions.ts';
import { Phases } from './phases.ts';
import { converterSettings, inWaves, type SharedParts } from './runs.ts';
import { snapshotSql, streamSql, type TypeTable } from './type-table.ts';

export type BinlogEngine = 'mysql' | 'mariadb';

/** Production's database. */
const DATABASE = 'types';
/** A table whose rows tell how far a connector has got. */
const MARKS = 'marks';

/** More of them starting at once only wait for one another. */
const CONNECTORS_AT_ONCE = 6;

/** Each of fifteen has to wait for its turn on a small machine. */
const START_WITHIN_MS = 300_000;

/** Tables of a run. Names that no adjustment makes fit for Avro would stop the connector. */
export function binlogTablesOf(
  engine: BinlogEngine,
  { encoding, modes }: BinlogRun,
): readonly TypeTable[] {
  const all = engine === 'mysql' ? MYSQL_TABLES : MARIADB_TABLES;
  return encoding === 'avro' && modes.names === 'none'
    ? all.filter(({ columns }) => columns.every(({ name }) => /^\w+$/.test(name)))
    : all;
}

export class BinlogStage {
  readonly #engine: BinlogEngine;
  readonly #parts: SharedParts;
  readonly #servers: AsyncDisposableStack;
  readonly #production: MySqlServer;
  readonly #shadow: MySqlServer;
  readonly #kafka: Kafka;
  #marks = 1;

  private constructor(
    engine: BinlogEngine,
    parts: SharedParts,
    servers: AsyncDisposableStack,
    both: { readonly production: MySqlServer; readonly shadow: MySqlServer },
  ) {
    this.#engine = engine;
    this.#parts = parts;
    this.#servers = servers;
    this.#production = both.production;
    this.#shadow = both.shadow;
    this.#kafka = testKafka(parts.kafka.broker);
  }

  /** Starts everything, and has all connectors write what they have to; then they are gone. */
  static async open(engine: BinlogEngine, parts: SharedParts): Promise<BinlogStage> {
    await using started = new AsyncDisposableStack();
    const begin = async <T extends { stop(): Promise<void> }>(server: Promise<T>): Promise<T> =>
      started.adopt(await server, (running) => running.stop());
    const start = engine === 'mysql' ? startMySQL : startMariaDB;
    const both = { production: await begin(start()), shadow: await begin(start()) };
    const connect = await begin(
      startConnect(parts.kafka, { group: `types-${engine}`, heapMb: 2500 }),
    );
    const stage = new BinlogStage(engine, parts, started.move(), both);
    try {
      await stage.#fillTopics(connect);
    } catch (error) {
      await stage.close();
      throw error;
    }
    return stage;
  }

  async close(): Promise<void> {
    await this.#servers.disposeAsync();
  }

  prefixOf(run: BinlogRun): string {
    return `types_${this.#engine}_${run.name}_${String(process.pid)}`;
  }

  async #execute(statements: readonly string[]): Promise<void> {
    const connection = await connectBinlog(`${this.#production.url}${DATABASE}`);
    try {
      for (const statement of statements) await connection.query(statement);
    } finally {
      await connection.end();
    }
  }

  async #fillTopics(connect: ConnectServer): Promise<void> {
    const tables = this.#engine === 'mysql' ? MYSQL_TABLES : MARIADB_TABLES;
    await this.#production.execute([`CREATE DATABASE ${DATABASE} CHARACTER SET utf8mb4`]);
    // The first mark is there before any connector is: whoever has sent it has begun, and streams
    // what comes after it.
    await this.#execute([
      `CREATE TABLE ${MARKS} (id int PRIMARY KEY)`,
      `INSERT INTO ${MARKS} VALUES (1)`,
    ]);
    for (const table of tables) await this.#execute(snapshotSql(table, BINLOG));
    const phases = new Phases(`types of ${this.#engine}`);
    await inWaves(CONNECTORS_AT_ONCE, BINLOG_PLAYED, (run) => this.#startConnector(connect, run));
    phases.done('connectors started');
    await this.#marksArrived(connect);
    phases.done('snapshots begun');
    await this.#settle(connect);
    phases.done('snapshots taken');
    for (const table of tables) await this.#execute(streamSql(table, BINLOG, fillBinlog));
    await this.#settle(connect);
    phases.done('changes streamed');
    // They would go on writing heartbeats, and take a share of the processor.
    await Promise.all(BINLOG_PLAYED.map((run) => connect.deleteConnector(this.prefixOf(run))));
    phases.done('connectors deleted');
  }

  async #startConnector(connect: ConnectServer, run: BinlogRun): Promise<void> {
    const prefix = this.prefixOf(run);
    const { broker } = this.#parts.kafka;
    const source = { server: this.#production, database: DATABASE, broker };
    const tables = [MARKS, ...binlogTablesOf(this.#engine, run).map(({ name }) => name)];
    const config = await binlogConnector(this.#engine, source, prefix, {
      ...converterSettings(run.encoding, avroConverters(this.#parts.registry)),
      ...binlogModeSettings(run),
      'table.include.list': tables.map((name) => `${DATABASE}\\.${name}`).join(','),
      'topic.creation.default.partitions': '1',
      // Nobody writes while the snapshots begin, and the connectors would wait for one another's lock.
      'snapshot.locking.mode': 'none',
      // Fifteen in haste leave no processor for the work.
      'heartbeat.interval.ms': '2000',
      'poll.interval.ms': '200',
    });
    await connect.createConnector(prefix, config, START_WITHIN_MS);
  }

  /**
   * Waits until all connectors have in Kafka what was committed up to now. Those that have not begun
   * may see such a mark in their snapshot, or not at all, if it comes while they begin.
   */
  async #settle(connect: ConnectServer): Promise<void> {
    this.#marks += 1;
    await this.#execute([`INSERT INTO ${MARKS} VALUES (${String(this.#marks)})`]);
    await this.#marksArrived(connect);
  }

  async #marksArrived(connect: ConnectServer): Promise<void> {
    const admin = this.#kafka.admin();
    await admin.connect();
    try {
      for (const run of BINLOG_PLAYED) {
        const connector = this.prefixOf(run);
        const topic = `${connector}.${DATABASE}.${MARKS}`;
        await pollUntil({
          probe: async () => {
            await connect.waitRunning(connector, START_WITHIN_MS);
            // Until its first record there is no such topic, and then for a moment no leader.
            const [partition] = await admin.fetchTopicOffsets(topic).catch(() => []);
            return Number(partition?.high ?? 0) >= this.#marks ? true : undefined;
          },
          everyMs: 500,
          timeoutMs: START_WITHIN_MS,
          timeout: () =>
            new Error(`${connector} does not get on:\n${tailOf(connect.process.logFile)}`),
        });
      }
    } finally {
      await admin.disconnect();
    }
  }

  /** Runs `materialize` in a place of its own, over these tables of a run, into `trunk`. */
  async materialize(run: BinlogRun, trunk: string, tables: readonly string[]): Promise<CliResult> {
    const { kafka, registry } = this.#parts;
    const { time, decimal, binary, bigintUnsigned, names } = run.modes;
    await using workplace = await Workplace.make({
      source: {
        connector: this.#engine,
        topicPrefix: this.prefixOf(run),
        kafka: { brokers: [kafka.broker] },
        ...(run.encoding === 'avro' && { schemaRegistry: { url: registry.url } }),
        modes: { time, decimal, binary, bigintUnsigned, names },
      },
      production: { url: `${this.#production.url}${DATABASE}` },
      shadow: { url: this.#shadow.url },
      trunk: { name: trunk },
      tables: { include: tables.map((table) => `${DATABASE}.${table}`) },
    });
    return await workplace.run(['materialize', '--until-caught-up', '--json']);
  }

  /** What both databases say of these tables, where they do not say the same. */
  async differences(trunk: string, tables: readonly string[]): Promise<readonly Difference[]> {
    const theirs = await connectBinlog(`${this.#production.url}${DATABASE}`);
    const ours = await connectBinlog(`${this.#shadow.url}${trunk}`);
    try {
      const found: Difference[] = [];
      for (const table of tables) {
        const production = await readBinlog(theirs, table);
        const shadow = await readBinlog(ours, table);
        found.push(...compareRows(table, production, shadow));
      }
      return found;
    } finally {
      await Promise.all([theirs.end(), ours.end()]);
    }
  }
}
