/** Logs of the accounts table, made by Debezium from a production that has nothing else to do. */
import { binlogConnector, postgresConnector } from '../../support/connectors.ts';
import { settleConnector } from '../../support/settle.ts';
import { pollUntil } from '../../../src/util/wait.ts';
import { accounts, type Accounts } from './accounts.ts';
import type { BenchLog } from './bench-log.ts';
import { makeDatabase, onDatabase } from './door.ts';
import { settingsOf, type Form } from './forms.ts';
import type { BenchServers, BinlogEngine } from './servers.ts';

/** Debezium writes some thousand rows a second. */
export const FILL_MS = 1_800_000;

/** The snapshot of `rows` rows, or `changes` changes of them. The connector is gone afterwards. */
export async function accountsLog(
  servers: BenchServers,
  form: Form,
  content: { readonly rows: number; readonly changes: number; readonly unique?: boolean },
): Promise<BenchLog> {
  const { changes, rows, unique = false } = content;
  const tables = accounts({ ...content, engine: 'postgresql' });
  const [production, shadow] = [await servers.production(), await servers.shadow()];
  const [kafka, connect] = [await servers.kafka(), await servers.connect()];
  const prefix = `${changes === 0 ? 'snapshot' : unique ? 'unique' : 'changes'}_${form}`;
  const url = await makeDatabase(production.url, `bank_${prefix}`);
  await onDatabase(url, (door) => begin(tables, door, changes === 0));
  const { converters, source } = await settingsOf(form, servers);
  const mode = changes === 0 ? 'initial' : 'no_data';
  await connect.createConnector(
    prefix,
    await postgresConnector(url, prefix, { 'snapshot.mode': mode, ...converters }),
  );
  await settleConnector(url, connect, prefix, undefined, FILL_MS);
  if (changes > 0) {
    await onDatabase(url, (door) => tables.change(door));
    await settleConnector(url, connect, prefix, undefined, FILL_MS);
  }
  // It would go on writing heartbeats, and take a share of the processor.
  await connect.deleteConnector(prefix);
  return {
    ...{ connector: 'postgresql', topicPrefix: prefix, broker: kafka.broker, form: source },
    ...{ events: changes === 0 ? rows : changes, tables },
    goal: await onDatabase(url, (door) => tables.digest(door)),
    ...{ productionUrl: url, shadowUrl: shadow.url },
  };
}

/** The snapshot of `rows` rows of MySQL or MariaDB, as JSON with schemas. */
export async function binlogAccountsLog(
  servers: BenchServers,
  engine: BinlogEngine,
  rows: number,
): Promise<BenchLog> {
  const tables = accounts({ engine, rows, changes: 0 });
  const production = await servers.binlog(engine, 'production');
  const shadow = await servers.binlog(engine, 'shadow');
  const [kafka, connect] = [await servers.kafka(), await servers.connect()];
  const prefix = `snapshot_${engine}`;
  const url = await makeDatabase(production.url, 'bank');
  await onDatabase(url, (door) => begin(tables, door, true));
  const source = { server: production, database: 'bank', broker: kafka.broker };
  await connect.createConnector(prefix, await binlogConnector(engine, source, prefix));
  const admin = kafka.client().admin();
  await admin.connect();
  try {
    await pollUntil({
      probe: async () => {
        const topic = `${prefix}.bank.accounts`;
        if (!(await admin.listTopics()).includes(topic)) return undefined;
        const offsets = await admin.fetchTopicOffsets(topic);
        return offsets.reduce((sum, { high }) => sum + Number(high), 0) >= rows ? true : undefined;
      },
      ...{ everyMs: 200, timeoutMs: FILL_MS },
      timeout: () => new Error(`connector ${prefix} does not get on`),
    });
  } finally {
    await admin.disconnect();
  }
  await connect.deleteConnector(prefix);
  return {
    ...{ connector: engine, topicPrefix: prefix, broker: kafka.broker, form: {}, tables },
    ...{ events: rows, goal: await onDatabase(url, (door) => tables.digest(door)) },
    ...{ productionUrl: url, shadowUrl: shadow.url },
  };
}

async function begin(
  tables: Accounts,
  door: Parameters<Accounts['fill']>[0],
  isSnapshot: boolean,
): Promise<void> {
  await tables.create(door);
  await (isSnapshot ? tables.change(door) : tables.fill(door));
}
