import type pg from 'pg';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { connect } from './comparison.ts';

/**
 * Carries `statement` out in a transaction whose commit waits for a standby that is not there: it
 * is in the log, and no snapshot sees it. Call what this resolves with to let it, and all others,
 * go. Of a server of one's own: no other commit on it returns meanwhile.
 */
export async function hangCommit(url: string, statement: string): Promise<() => Promise<void>> {
  const settings = await connect(url);
  const writer = await connect(url);
  // A test that fails before it lets go ends with its server.
  for (const client of [settings, writer]) client.on('error', () => undefined);
  const standbys = async (names: string): Promise<void> => {
    await settings.query(`ALTER SYSTEM SET synchronous_standby_names = '${names}'`);
    await settings.query('SELECT pg_reload_conf()');
  };
  await standbys('nobody');
  await untilCommitsHang(settings, writer);
  const committed = writer.query(statement);
  committed.catch(() => undefined);
  return async () => {
    await standbys('');
    await committed;
    await writer.end();
    await settings.end();
  };
}

/** Commits wait once the checkpointer has read the setting too, which no session can be asked. */
async function untilCommitsHang(settings: pg.Client, writer: pg.Client): Promise<void> {
  const { rows } = await writer.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const pid = rows[0]?.pid;
  const hangs = async (): Promise<boolean> => {
    let returned = false;
    const probe = writer.query(`SELECT pg_logical_emit_message(true, 'test', 'probe')`);
    probe.then(
      () => (returned = true),
      () => (returned = true),
    );
    for (;;) {
      const { rowCount } = await settings.query(
        `SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'`,
        [pid],
      );
      if (rowCount === 1) break;
      if (returned) return false;
      await sleep(5);
    }
    await settings.query('SELECT pg_cancel_backend($1)', [pid]);
    await probe;
    return true;
  };
  await expect.poll(hangs, { timeout: 10_000 }).toBe(true);
}
