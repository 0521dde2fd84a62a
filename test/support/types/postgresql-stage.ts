/** The parts on which PostgreSQL's type matrix plays: production, all its connectors, a shadow. */
import pg from 'pg';
import { startConnect, type ConnectServer } from '../connect.ts';
import { postgresConnector } from '../connectors.ts';
import { debianPostgres } from '../parts/debian-postgres.ts';
import { createDatabase, databaseUrl, startPostgres, type PostgresServer } from '../postgres.ts';
import { avroConverters } from '../registry.ts';
import { settleConnector } from '../settle.ts';
import { Workplace, type CliResult } from '../understudy.ts';
import { compareRows, type Difference } from './exceptions.ts';
import {
  fillPostgresql,
  POSTGRESQL,
  POSTGRESQL_PUBLISHED,
  POSTGRESQL_PLAYED,
  postgresqlModeSettings,
  readPostgresql,
  type PostgresqlRun,
} from './postgresql.ts';
import { POSTGRESQL_SETUP, POSTGRESQL_TABLES } from './postgresql-tables.ts';
import { Phases } from './phases.ts';
import { converterSettings, inWaves, type SharedParts } from './runs.ts';
import { snapshotSql, streamSql, type TypeTable } from './type-table.ts';

/** More of them starting at once only wait for one another. */
const CONNECTORS_AT_ONCE = 6;

/** Each of eighteen has to wait for its turn on a small machine. */
const START_WITHIN_MS = 300_000;
const SETTLE_WITHIN_MS = 300_000;

/** Of the published settings' run: nothing in them is known to stop a connector that may not warn. */
const CONVERTIBLE: ReadonlySet<string> = new Set(['t_num', 't_range', 't_default']);

/** Tables of a run. Names that no adjustment makes fit for Avro would stop the connector. */
export function tablesOf(run: PostgresqlRun): readonly TypeTable[] {
  if (run === POSTGRESQL_PUBLISHED) {
    return POSTGRESQL_TABLES.filter(({ name }) => CONVERTIBLE.has(name));
  }
  const { encoding, modes } = run;
  return encoding === 'avro' && modes.names === 'none'
    ? POSTGRESQL_TABLES.filter(({ columns }) => columns.every(({ name }) => /^\w+$/.test(name)))
    : POSTGRESQL_TABLES;
}

export class PostgresqlStage {
  readonly #parts: SharedParts;
  readonly #servers: AsyncDisposableStack;
  readonly #production: string;
  readonly #shadow: string;
  /** Topic prefixes are the run's names with this. */
  readonly #suffix: string;

  private constructor(
    parts: SharedParts,
    servers: AsyncDisposableStack,
    urls: { readonly production: string; readonly shadow: string },
    suffix: string,
  ) {
    this.#parts = parts;
    this.#servers = servers;
    this.#production = urls.production;
    this.#shadow = urls.shadow;
    this.#suffix = suffix;
  }

  /** Starts everything, and has all connectors write what they have to; then they are gone. */
  static async open(parts: SharedParts): Promise<PostgresqlStage> {
    await using started = new AsyncDisposableStack();
    const begin = async <T extends { stop(): Promise<void> }>(server: Promise<T>): Promise<T> =>
      started.adopt(await server, (running) => running.stop());
    const binaries = await debianPostgres();
    const options = { binaries, flags: ['-c', 'jit=off'] };
    const production: PostgresServer = await begin(startPostgres(options));
    const shadow = await begin(startPostgres(options));
    const connect = await begin(startConnect(parts.kafka, { group: 'types', heapMb: 2500 }));
    const urls = {
      production: await createDatabase(production.url, 'types'),
      shadow: shadow.url,
    };
    const stage = new PostgresqlStage(parts, started.move(), urls, String(process.pid));
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

  prefixOf(run: PostgresqlRun): string {
    return `types_${run.name}_${this.#suffix}`;
  }

  async #execute(statements: readonly string[]): Promise<void> {
    const client = new pg.Client({ connectionString: this.#production });
    await client.connect();
    try {
      for (const statement of statements) await client.query(statement);
    } finally {
      await client.end();
    }
  }

  async #fillTopics(connect: ConnectServer): Promise<void> {
    const settle = async (): Promise<void> => {
      for (const run of POSTGRESQL_PLAYED) {
        await settleConnector(
          this.#production,
          connect,
          this.prefixOf(run),
          undefined,
          SETTLE_WITHIN_MS,
        );
      }
    };
    await this.#execute(POSTGRESQL_SETUP);
    for (const table of POSTGRESQL_TABLES) {
      await this.#execute([
        ...snapshotSql(table, POSTGRESQL),
        `ALTER TABLE ${pg.escapeIdentifier(table.name)} REPLICA IDENTITY FULL`,
      ]);
    }
    const phases = new Phases('types of PostgreSQL');
    await inWaves(CONNECTORS_AT_ONCE, POSTGRESQL_PLAYED, (run) =>
      this.#startConnector(connect, run),
    );
    phases.done('connectors started');
    await settle();
    phases.done('snapshots taken');
    for (const table of POSTGRESQL_TABLES) {
      await this.#execute(streamSql(table, POSTGRESQL, fillPostgresql));
    }
    await settle();
    phases.done('changes streamed');
    // They would go on writing heartbeats, and take a share of the processor.
    await Promise.all(POSTGRESQL_PLAYED.map((run) => connect.deleteConnector(this.prefixOf(run))));
    phases.done('connectors deleted');
  }

  async #startConnector(connect: ConnectServer, run: PostgresqlRun): Promise<void> {
    const prefix = this.prefixOf(run);
    const config = await postgresConnector(this.#production, prefix, {
      ...converterSettings(run.encoding, avroConverters(this.#parts.registry)),
      ...postgresqlModeSettings(run),
      'table.include.list': tablesOf(run)
        .map(({ name }) => `public\\.${name}`)
        .join(','),
      'topic.creation.default.partitions': '1',
      // Eighteen in haste leave no processor for the work.
      'heartbeat.interval.ms': '2000',
      'poll.interval.ms': '200',
    });
    await connect.createConnector(prefix, config, START_WITHIN_MS);
  }

  /** Runs `materialize` in a place of its own, over these tables of a run, into `trunk`. */
  async materialize(
    run: PostgresqlRun,
    trunk: string,
    tables: readonly string[],
  ): Promise<CliResult> {
    const { kafka, registry } = this.#parts;
    const { time, decimal, binary, hstore, interval, names } = run.modes;
    await using workplace = await Workplace.make({
      source: {
        connector: 'postgresql',
        topicPrefix: this.prefixOf(run),
        kafka: { brokers: [kafka.broker] },
        ...(run.encoding === 'avro' && { schemaRegistry: { url: registry.url } }),
        modes: { time, decimal, binary, hstore, interval, names },
      },
      production: { url: this.#production },
      shadow: { url: this.#shadow },
      trunk: { name: trunk },
      tables: { include: tables.map((table) => `public.${table}`) },
    });
    return await workplace.run(['materialize', '--until-caught-up', '--json']);
  }

  /** What both databases say of these tables, where they do not say the same. */
  async differences(trunk: string, tables: readonly string[]): Promise<readonly Difference[]> {
    const theirs = new pg.Client({ connectionString: this.#production });
    const ours = new pg.Client({ connectionString: databaseUrl(this.#shadow, trunk) });
    await Promise.all([theirs.connect(), ours.connect()]);
    try {
      const found: Difference[] = [];
      for (const table of tables) {
        const production = await readPostgresql(theirs, table);
        const shadow = await readPostgresql(ours, table);
        found.push(...compareRows(table, production, shadow));
      }
      return found;
    } finally {
      await Promise.all([theirs.end(), ours.end()]);
    }
  }
}
