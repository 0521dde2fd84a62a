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
  const standbys = async (names: string): Promise<void> => {
    await settings.query(`ALTER SYSTEM SET synchronous_standby_names = '${names}'`);
    await settings.query('SELECT pg_reload_conf()');
  };
  await standbys('nobody');
  await expect
    .poll(
      async () => (await writer.query('SHOW synchronous_standby_names')).rows.at(0) as unknown,
      { timeout: 10_000 },
    )
    .toEqual({ synchronous_standby_names: 'nobody' });
  // A test that fails before it lets go ends with its server.
  for (const client of [settings, writer]) client.on('error', () => undefined);
  const committed = writer.query(statement);
  committed.catch(() => undefined);
  return async () => {
    await standbys('');
    await committed;
    await writer.end();
    await settings.end();
  };
}
