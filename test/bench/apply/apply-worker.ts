/**
 * PostgreSQL's own logical replication: its apply worker writes the same backlog, read from
 * production's log itself, one transaction after another.
 */
import { postgresConnector } from '../../support/connectors.ts';
import { settleConnector } from '../../support/settle.ts';
import { pollUntil } from '../../../src/util/wait.ts';
import { FILL_MS } from './accounts-log.ts';
import { assertReached, secondsToLast, type BenchLog } from './bench-log.ts';
import { forgetDatabase, makeDatabase, onDatabase } from './door.ts';
import { settingsOf, type Form } from './forms.ts';
import type { BenchServers } from './servers.ts';
import { tpcb, TPCB_CHANGES, TPCB_TABLES } from './tpcb.ts';

const PUBLICATION = 'tpcb_peer';
/** Stands before the backlog; each run gets a copy of it. */
const SLOT = 'tpcb_peer';

/** The backlog in Kafka, with transaction metadata, in a form each; and in production's log. */
export async function tpcbLogs(
  servers: BenchServers,
  forms: readonly Form[],
  content: { readonly rows: number; readonly transactions: number },
): Promise<ReadonlyMap<Form, BenchLog>> {
  const tables = tpcb(content.rows, content.transactions);
  const [production, shadow] = [await servers.production(), await servers.shadow()];
  const [kafka, connect] = [await servers.kafka(), await servers.connect()];
  const url = await makeDatabase(production.url, 'bank_tpcb');
  await onDatabase(url, async (door) => {
    await tables.create(door);
    await tables.fill(door);
    await door.query(`CREATE PUBLICATION ${PUBLICATION} FOR TABLE ${TPCB_TABLES.join(', ')}`);
    await door.query(`SELECT pg_create_logical_replication_slot('${SLOT}', 'pgoutput')`);
  });
  for (const form of forms) {
    const { converters } = await settingsOf(form, servers);
    const settings = { 'snapshot.mode': 'no_data', ...converters };
    const prefix = `tpcb_${form}`;
    await connect.createConnector(prefix, await postgresConnector(url, prefix, settings));
    await settleConnector(url, connect, prefix, undefined, FILL_MS);
  }
  await onDatabase(url, (door) => door.query(tables.run));
  const goal = await onDatabase(url, (door) => tables.digest(door));
  const logs = new Map<Form, BenchLog>();
  for (const form of forms) {
    const prefix = `tpcb_${form}`;
    await settleConnector(url, connect, prefix, undefined, FILL_MS);
    await connect.deleteConnector(prefix);
    logs.set(form, {
      ...{ connector: 'postgresql', topicPrefix: prefix, broker: kafka.broker, tables, goal },
      form: (await settingsOf(form, servers)).source,
      ...{ events: content.transactions * TPCB_CHANGES },
      ...{ productionUrl: url, shadowUrl: shadow.url },
    });
  }
  return logs;
}

/** One run: changes per second, from the subscription being made to the last one being there. */
export async function runApplyWorker(log: BenchLog, name: string): Promise<number> {
  const url = await makeDatabase(log.shadowUrl, name);
  await onDatabase(log.productionUrl, (door) =>
    door.query(`SELECT pg_copy_logical_replication_slot('${SLOT}', '${name}')`),
  );
  try {
    const seconds = await onDatabase(url, async (door) => {
      await log.tables.create(door);
      await log.tables.fill(door);
      const began = performance.now();
      await door.query(`CREATE SUBSCRIPTION ${name} CONNECTION '${log.productionUrl}'
        PUBLICATION ${PUBLICATION} WITH (create_slot = false, copy_data = false, slot_name = '${name}')`);
      return secondsToLast('the apply worker', log, door, began);
    });
    await assertReached('the apply worker', url, log);
    return log.events / seconds;
  } finally {
    await onDatabase(url, async (door) => {
      await door.query(`ALTER SUBSCRIPTION ${name} DISABLE`);
      await door.query(`ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`);
      await door.query(`DROP SUBSCRIPTION ${name}`);
    });
    await dropSlot(log.productionUrl, name);
    await forgetDatabase(log.shadowUrl, name);
  }
}

/** Its worker may be a moment in ending. */
async function dropSlot(url: string, name: string): Promise<void> {
  await onDatabase(url, (door) =>
    pollUntil({
      probe: async () => {
        const [slot] = await door.query(
          `SELECT active FROM pg_replication_slots WHERE slot_name = '${name}'`,
        );
        if (slot?.['active'] === true) return undefined;
        await door.query(`SELECT pg_drop_replication_slot('${name}')`);
        return true;
      },
      ...{ everyMs: 100, timeoutMs: 30_000 },
      timeout: () => new Error(`the slot ${name} is in use`),
    }),
  );
}
