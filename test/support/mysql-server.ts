import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import mysql from 'mysql2/promise';
import type { DebianServer } from './parts/debian.ts';
import { removeFolder, temporaryFolder } from './process/folders.ts';
import { freePort } from './process/ports.ts';
import { startServerProcess, type ServerProcess } from './process/server-process.ts';

/** How `startMySQL` and `startMariaDB` start a server. */
export interface MySqlOptions {
  /** Further arguments of the server, e.g. `['--lower-case-table-names=1']`. */
  readonly flags?: readonly string[];
  /** A folder of an earlier server to start again, or a new one; `stop` then leaves it there. */
  readonly dataDir?: string;
  readonly port?: number;
  readonly detached?: boolean;
}

/** A running MySQL or MariaDB of our own, with a row binlog and GTIDs. */
export interface MySqlServer {
  /** What the server says it is, e.g. `9.7.4-2`. */
  readonly version: string;
  readonly host: string;
  readonly port: number;
  /** May do everything, from any host. */
  readonly user: string;
  readonly password: string;
  /** `mysql://USER:PASSWORD@127.0.0.1:PORT/`, for mysql2. */
  readonly url: string;
  readonly dataDir: string;
  readonly pid: number;
  readonly process: ServerProcess;
  /** Runs statements one by one, each on the same connection. */
  execute(statements: readonly string[], database?: string): Promise<void>;
  /** Stops it, then removes the data unless `dataDir` was given. Idempotent. */
  stop(): Promise<void>;
}

/** What differs between the two servers. */
export interface MySqlFlavor {
  readonly name: string;
  /** Below the packages' root. */
  readonly program: string;
  readonly flags: (server: DebianServer) => readonly string[];
  /** Fills an empty data folder. */
  readonly initialise: (server: DebianServer, dataDir: string) => Promise<void>;
}

// Not root: both servers make accounts of that name themselves, without a password.
const USER = 'tester';
const PASSWORD = 'test';

const ACCOUNT = `SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS '${USER}'@'%' IDENTIFIED BY '${PASSWORD}';
GRANT ALL PRIVILEGES ON *.* TO '${USER}'@'%' WITH GRANT OPTION;
`;

/** Root's servers refuse to start without being told as whom. */
export const RUN_AS: readonly string[] = process.getuid?.() === 0 ? ['--user=root'] : [];

const FIXED_FLAGS = [
  '--bind-address=127.0.0.1',
  '--skip-name-resolve',
  '--server-id=1',
  '--log-bin=binlog',
  '--binlog-format=ROW',
  '--binlog-row-image=FULL',
  '--default-time-zone=+00:00',
  '--character-set-server=utf8mb4',
  '--innodb-buffer-pool-size=64M',
  '--innodb-flush-log-at-trx-commit=2',
  '--sync-binlog=0',
  '--secure-file-priv=',
  ...RUN_AS,
];

/** Starts a server of either flavor. It dies with this process. */
export async function startMySqlServer(
  flavor: MySqlFlavor,
  packages: DebianServer,
  options: MySqlOptions,
): Promise<MySqlServer> {
  const own = options.dataDir === undefined;
  const home = options.dataDir ?? (await temporaryFolder(flavor.name.toLowerCase()));
  const dataDir = join(home, 'data');
  const port = options.port ?? (await freePort());
  const account = join(home, 'account.sql');
  if (!existsSync(dataDir)) {
    await mkdir(dataDir, { recursive: true });
    await flavor.initialise(packages, dataDir);
  }
  await writeFile(account, ACCOUNT);
  const login = { host: '127.0.0.1', port, user: USER, password: PASSWORD };
  const { command, args } = packages.command(flavor.program);
  const server = await startServerProcess({
    name: flavor.name,
    command,
    args: [
      ...[...args, '--no-defaults', `--datadir=${dataDir}`, `--port=${String(port)}`],
      ...[`--socket=${join(home, 'server.sock')}`, `--pid-file=${join(home, 'server.pid')}`],
      ...[`--init-file=${account}`, ...FIXED_FLAGS, ...flavor.flags(packages)],
      ...(options.flags ?? []),
    ],
    logFile: join(home, 'server.log'),
    ready: async () => {
      const connection = await mysql.createConnection({ ...login, connectTimeout: 2_000 });
      await connection.end();
      return true;
    },
    readyWithinMs: 60_000,
    cwd: home,
    ...(options.detached !== undefined && { detached: options.detached }),
  });
  return {
    ...login,
    version: packages.version,
    url: `mysql://${USER}:${PASSWORD}@127.0.0.1:${String(port)}/`,
    dataDir: home,
    pid: server.pid,
    process: server,
    async execute(statements, database) {
      const target = { ...login, ...(database !== undefined && { database }) };
      const connection = await mysql.createConnection(target);
      try {
        for (const statement of statements) await connection.query(statement);
      } finally {
        await connection.end();
      }
    },
    async stop() {
      await server.stop();
      if (own) await removeFolder(home);
    },
  };
}
