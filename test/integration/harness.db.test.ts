import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { expect, it, onTestFinished } from 'vitest';
import { pollUntil } from '../../src/util/wait.ts';
import { requireTool } from '../support/parts/tools.ts';
import { startPostgres } from '../support/postgres.ts';

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

it('leaves neither server nor data behind when its process is killed', async () => {
  const script = fileURLToPath(new URL('../support/process/leave-a-server.ts', import.meta.url));
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { pid, dataDir } = JSON.parse(line) as { pid: number; dataDir: string };
  expect(isAlive(pid)).toBe(true);
  child.kill('SIGKILL');
  await pollUntil({
    probe: () => Promise.resolve(isAlive(pid) || existsSync(dataDir) ? undefined : true),
    everyMs: 50,
    timeoutMs: 15_000,
    timeout: () => new Error(`the server (${String(pid)}) or its data (${dataDir}) is still there`),
  });
});

it('tells why a server did not start', async () => {
  const start = startPostgres({ flags: ['-c', 'no_such_setting=1'] });
  await expect(start).rejects.toThrow(/exit code 1.*no_such_setting/s);
});

it('names a missing program and the cure', () => {
  const path = process.env['PATH'];
  onTestFinished(() => {
    process.env['PATH'] = path;
  });
  process.env['PATH'] = '/nowhere';
  expect(() => requireTool('mvn', 'Kafka')).toThrow(/mvn was not found.*Kafka.*install Maven/);
});

it('runs several servers at once, ready for logical replication and prepared transactions', async () => {
  const servers = await Promise.all([startPostgres(), startPostgres({ durable: true })]);
  const identifiers = new Set<string>();
  for (const server of servers) {
    const client = new pg.Client(server.url);
    await client.connect();
    const { rows } = await client.query<Record<string, string>>(
      `SELECT system_identifier::text AS id, current_setting('wal_level') AS wal,
         current_setting('fsync') AS fsync, current_setting('max_prepared_transactions') AS prepared
       FROM pg_control_system()`,
    );
    identifiers.add(rows[0]?.['id'] ?? '');
    expect(rows[0]).toMatchObject({ wal: 'logical', prepared: '64' });
    expect(rows[0]?.['fsync']).toBe(server === servers[1] ? 'on' : 'off');
    await client.end();
    await server.stop();
    expect(existsSync(server.dataDir)).toBe(false);
  }
  expect(identifiers.size).toBe(2);
});
