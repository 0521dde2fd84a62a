import pg from 'pg';
import { pollUntil } from '../../src/util/wait.ts';
import type { ConnectRest } from './connect-rest.ts';
import { lsnOf } from './demo/log-order.ts';

/**
 * Waits until the PostgreSQL connector has everything in Kafka that was committed up to now in its
 * database at `url`. Leaves a logical decoding message behind, no row.
 */
export async function settleConnector(
  url: string,
  connect: ConnectRest,
  connector: string,
  signal?: AbortSignal,
  withinMs = 60_000,
): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  // The query in hand rejects by itself when the server goes.
  client.on('error', () => undefined);
  await client.connect();
  let marker: bigint;
  try {
    const { rows } = await client.query<{ lsn: string }>(
      `SELECT pg_logical_emit_message(true, 'test', 'settle') - '0/0'::pg_lsn AS lsn`,
    );
    marker = BigInt(rows[0]?.lsn ?? 0);
  } finally {
    await client.end();
  }
  await pollUntil({
    probe: async () => {
      const offsets = await connect.offsets(connector);
      // One of a snapshot tells where it began, also of one that began anew after it had failed.
      return offsets.some(
        ({ offset }) => offset?.['snapshot'] === undefined && lsnOf(offset) >= marker,
      )
        ? true
        : undefined;
    },
    everyMs: 100,
    timeoutMs: withinMs,
    timeout: () => new Error(`connector ${connector} does not get on`),
    signal,
  });
}
