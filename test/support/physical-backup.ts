/**
 * A physical backup of a running PostgreSQL, by the files themselves as pg_basebackup takes them, and
 * its recovery to a place in the log.
 */
import { cp, chown, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { embeddedBinaries } from '../../src/dialect/postgres/embedded/binaries.ts';
import { startPostgres, type PostgresServer } from './postgres.ts';
import { temporaryFolder } from './process/folders.ts';
import { connectTo } from './test-database.ts';

/** What a base backup leaves out. */
const LEFT_OUT = new Set(['postmaster.pid', 'postmaster.opts', 'pg_replslot', 'pg_wal']);

export interface PhysicalBackup {
  /** Starts a server on it that has recovered to the target and takes writes. */
  recover(target: string): Promise<PostgresServer>;
}

/** `meanwhile` runs while the files are being copied. */
export async function backUp(
  server: PostgresServer,
  meanwhile: () => Promise<void>,
): Promise<PhysicalBackup> {
  const dataDir = join(await temporaryFolder('backup'), 'data');
  await mkdir(dataDir, { mode: 0o700 });
  const session = await connectTo(server.url);
  await session.query(`SELECT pg_backup_start('test', true)`);
  for (const name of await readdir(server.dataDir)) {
    if (LEFT_OUT.has(name)) continue;
    await cp(join(server.dataDir, name), join(dataDir, name), {
      recursive: true,
      // Files of the server's that come and go.
      filter: (path) => !/pgsql_tmp|\.tmp$|pg_internal\.init/.test(path),
    });
  }
  await meanwhile();
  const { rows } = await session.query<{ label: string }>(
    'SELECT labelfile AS label FROM pg_backup_stop(false)',
  );
  await session.end();
  await writeFile(join(dataDir, 'backup_label'), rows[0]?.label ?? '');
  await mkdir(join(dataDir, 'pg_replslot'));
  return {
    async recover(target) {
      await mkdir(join(dataDir, 'pg_wal'));
      for (const name of await readdir(join(server.dataDir, 'pg_wal'))) {
        if (!/^[0-9A-F]{24}$/.test(name)) continue;
        await cp(join(server.dataDir, 'pg_wal', name), join(dataDir, 'pg_wal', name));
      }
      await writeFile(join(dataDir, 'recovery.signal'), '');
      await give(dataDir);
      const recovered = await startPostgres({
        dataDir,
        flags: [
          ...['-c', 'restore_command=false', '-c', `recovery_target_lsn=${target}`],
          ...['-c', 'recovery_target_action=promote'],
        ],
      });
      const client = await connectTo(recovered.url);
      for (let busy = true; busy;) {
        const found = await client.query<{ busy: boolean }>('SELECT pg_is_in_recovery() AS busy');
        busy = found.rows[0]?.busy === true;
      }
      await client.end();
      return {
        ...recovered,
        async stop() {
          await recovered.stop();
          await rm(dataDir, { recursive: true, force: true });
        },
      };
    },
  };
}

/** The server runs as somebody else where we are root. */
async function give(dataDir: string): Promise<void> {
  const { owner } = await embeddedBinaries();
  if (owner === undefined) return;
  for (const entry of await readdir(dataDir, { recursive: true, withFileTypes: true })) {
    await chown(join(entry.parentPath, entry.name), owner.uid, owner.gid);
  }
  for (const folder of [dataDir, dirname(dataDir)]) await chown(folder, owner.uid, owner.gid);
}
