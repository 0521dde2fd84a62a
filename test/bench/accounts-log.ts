/**
 * A real event log of the accounts table, and the servers to apply it into: production, Kafka and
 * Connect with Debezium's PostgreSQL connector (JSON with schemas, as we publish it), and one
 * PostgreSQL for both sides. None of the two PostgreSQL servers syncs to disk.
 */
import { startConnect, type ConnectServer } from '../support/connect.ts';
import { postgresConnector } from '../support/connectors.ts';
import { startKafka } from '../support/kafka.ts';
import { createDatabase, startPostgres } from '../support/postgres.ts';
import { settleConnector } from '../support/settle.ts';
import {
  changeAccounts,
  createAccounts,
  digestAccounts,
  fillAccounts,
  LAST_KEY,
  type Digest,
} from './accounts.ts';

/** What the log is to hold. */
export interface LogContent {
  /** Rows of the table before any change. */
  readonly rows: number;
  /** Changes made to them; 0: the log holds the snapshot of the rows, and nothing else. */
  readonly changes: number;
}

export interface AccountsLog extends AsyncDisposable {
  /** Change events in the log. */
  readonly events: number;
  /** Rows that both sides begin with: those of the log's table before its first event. */
  readonly prefilled: number;
  /** Of the row that the log's last event brings. */
  readonly lastKey: number;
  /** What applying all events leads to. */
  readonly goal: Digest;
  readonly topicPrefix: string;
  readonly broker: string;
  readonly connect: ConnectServer;
  /** Of the databases' superusers. */
  readonly productionUrl: string;
  readonly shadowUrl: string;
}

const PREFIX = 'bench';

/** Debezium writes some thousand rows a second. */
const FILL_MS = 1_200_000;

/** Starts everything and fills the log; the connector is gone before this returns. */
export async function makeAccountsLog({ rows, changes }: LogContent): Promise<AccountsLog> {
  await using started = new AsyncDisposableStack();
  const begin = async <T extends { stop(): Promise<void> }>(server: Promise<T>): Promise<T> =>
    started.adopt(await server, (running) => running.stop());
  // One after another: what was started is stopped if the next one fails.
  const production = await begin(startPostgres());
  const shadow = await begin(startPostgres({ flags: ['-c', 'max_wal_size=4GB'] }));
  const kafka = await begin(startKafka());
  const connect = await begin(startConnect(kafka));

  const productionUrl = await createDatabase(production.url, 'bank');
  await createAccounts(productionUrl);
  await fillAccounts(productionUrl, rows);
  const snapshotMode = changes === 0 ? 'initial' : 'no_data';
  await connect.createConnector(
    PREFIX,
    await postgresConnector(productionUrl, PREFIX, { 'snapshot.mode': snapshotMode }),
  );
  await settleConnector(productionUrl, connect, PREFIX, undefined, FILL_MS);
  if (changes > 0) {
    await changeAccounts(productionUrl, rows, changes);
    await settleConnector(productionUrl, connect, PREFIX, undefined, FILL_MS);
  }
  // It would go on writing heartbeats, and take a share of the processor.
  await connect.deleteConnector(PREFIX);

  const goal = await digestAccounts(productionUrl);
  const servers = started.move();
  return {
    events: changes === 0 ? rows : changes,
    prefilled: changes === 0 ? 0 : rows,
    lastKey: changes === 0 ? rows : LAST_KEY,
    goal,
    topicPrefix: PREFIX,
    broker: kafka.broker,
    connect,
    productionUrl,
    shadowUrl: shadow.url,
    [Symbol.asyncDispose]: () => servers.disposeAsync(),
  };
}
