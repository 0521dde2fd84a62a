/**
 * The servers of all cases, each started when it is first asked for: production and Kafka Connect,
 * which fill logs, and one shadow server of each kind for both sides. None of them syncs to disk.
 */
import { startConnect, type ConnectServer } from '../../support/connect.ts';
import { startKafka, type KafkaServer } from '../../support/kafka.ts';
import { startMariaDB } from '../../support/mariadb.ts';
import { startMySQL } from '../../support/mysql.ts';
import type { MySqlServer } from '../../support/mysql-server.ts';
import { startPostgres, type PostgresServer } from '../../support/postgres.ts';
import { startRegistry, type RegistryServer } from '../../support/registry.ts';
import { Once } from '../once.ts';

export type BinlogEngine = 'mysql' | 'mariadb';

export class BenchServers implements AsyncDisposable {
  readonly #started = new AsyncDisposableStack();
  readonly #known = new Once();

  kafka(): Promise<KafkaServer> {
    return this.#once('kafka', () => startKafka());
  }

  async connect(): Promise<ConnectServer> {
    const kafka = await this.kafka();
    return this.#once('connect', () => startConnect(kafka));
  }

  registry(): Promise<RegistryServer> {
    return this.#once('registry', () => startRegistry());
  }

  production(): Promise<PostgresServer> {
    return this.#once('production', () => startPostgres({ flags: ['-c', 'max_wal_size=4GB'] }));
  }

  shadow(): Promise<PostgresServer> {
    return this.#once('shadow', () => startPostgres({ flags: ['-c', 'max_wal_size=4GB'] }));
  }

  /** Production and the shadow are databases of two servers, as with PostgreSQL. */
  binlog(engine: BinlogEngine, role: 'production' | 'shadow'): Promise<MySqlServer> {
    const start = engine === 'mysql' ? startMySQL : startMariaDB;
    return this.#once(`${engine} ${role}`, () => start());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#started.disposeAsync();
  }

  #once<T extends { stop(): Promise<void> }>(name: string, start: () => Promise<T>): Promise<T> {
    return this.#known.get(name, async () =>
      this.#started.adopt(await start(), (running) => running.stop()),
    );
  }
}
