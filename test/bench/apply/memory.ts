/** How much memory the process takes at most, for a transaction that does not fit into it. */
import { pollUntil } from '../../../src/util/wait.ts';
import { databaseUrl } from '../../support/postgres.ts';
import { postgresConnector } from '../../support/connectors.ts';
import { peakBytes } from '../../support/peak-memory.ts';
import { settleConnector } from '../../support/settle.ts';
import { FILL_MS } from './accounts-log.ts';
import { besideRun } from './beside-run.ts';
import { forgetDatabase, makeDatabase, onDatabase } from './door.ts';
import type { BenchServers } from './servers.ts';

const PREFIX = 'memory';
const MIB = 1024 * 1024;
/** Rows with a value of nearly 1 MiB. */
const LARGE_ROWS = 64;
const LARGE_CHARACTERS = MIB - 16 * 1024;

/** What the process may have: 300 MiB, and four times the largest record, which is of 1 MiB. */
export const MEMORY_LIMIT_MIB = 304;

export interface Memory {
  /** One run: the most MiB that `understudy run` had resident. */
  run(name: string): Promise<number>;
}

/** One transaction of `rows` rows in Kafka, some of them large. */
export async function openMemory(servers: BenchServers, rows: number): Promise<Memory> {
  const [production, shadow] = [await servers.production(), await servers.shadow()];
  const [kafka, connect] = [await servers.kafka(), await servers.connect()];
  const url = await makeDatabase(production.url, PREFIX);
  await onDatabase(url, (door) => door.query('CREATE TABLE item (id int PRIMARY KEY, body text)'));
  await connect.createConnector(PREFIX, await postgresConnector(url, PREFIX));
  await settleConnector(url, connect, PREFIX);
  const config = (name: string): object => ({
    source: { topicPrefix: PREFIX, kafka: { brokers: [kafka.broker] } },
    production: { url },
    shadow: { url: shadow.url },
    trunk: { name },
  });
  await onDatabase(url, (door) =>
    door.query(`INSERT INTO item SELECT i,
        CASE WHEN i % ${Math.ceil(rows / LARGE_ROWS)} = 0 THEN repeat('x', ${LARGE_CHARACTERS})
          ELSE md5(i::text) END
      FROM generate_series(1, ${rows}) i`),
  );
  await settleConnector(url, connect, PREFIX, undefined, FILL_MS);
  await connect.deleteConnector(PREFIX);
  return {
    async run(name) {
      try {
        return await besideRun(config(name), async (pid) => {
          await pollUntil({
            probe: async () =>
              (await hasRow(databaseUrl(shadow.url, name), rows)) ? true : undefined,
            ...{ everyMs: 250, timeoutMs: FILL_MS },
            timeout: () => new Error('the transaction was not written'),
          });
          return (await peakBytes(pid)) / MIB;
        });
      } finally {
        await forgetDatabase(shadow.url, name);
      }
    },
  };
}

/** False too while the database is not there. */
function hasRow(url: string, id: number): Promise<boolean> {
  return onDatabase(url, async (door) => {
    return (await door.query(`SELECT 1 FROM item WHERE id = ${id}`)).length === 1;
  }).catch(() => false);
}
