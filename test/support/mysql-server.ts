import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import mysql from 'mysql2/promise';
import { startContainer, usesContainers } from './parts/containers.ts';
import type { DebianServer } from './parts/debian.ts';
import { removeFolder, temporaryFolder } from './process/folders.ts';
import { freePort } from './process/ports.ts';
import { startServerProcess, type ServerProcess } from './process/server-process.ts';

/** How `startMySQL` and `startMariaDB` start a server. */
export interface MySqlOptions {
  /** Further arguments of the server, e.g. `['--lower-case-table-names=1']`. */
  readonly flags?: readonly string[];
  /**
   * A folder of an earlier server to start again, or a new one; `stop` then leaves it there. Such
   * a server never runs in a container.
   */
  readonly dataDir?: string;
  readonly port?: number;
  readonly detached?: boolean;
}

/** A running MySQL or MariaDB of our own, with a row binlog and GTIDs. */
export interface MySqlServer {
  /** Of the package, e.g. `9.7.4-2`, or the container's image. */
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
  /** Stops it, or kills it and removes the data unless `dataDir` was given. Idempotent. */
  stop(): Promise<void>;
}

/** What differs between the two servers. */
export interface MySqlFlavor {
  readonly name: string;
  readonly image: string;
  /** Where its packages come from, and in which version. */
  readonly packages: () => Promise<DebianServer>;
  /** Below the packages' root. */
  readonly program: string;
  readonly flags: readonly string[];
  /** Where the unpacked server finds its messages, character sets and plugins. */
  readonly places: (server: DebianServer) => readonly string[];
  /** Fills an empty data folder. */
  readonly initialise: (server: DebianServer, dataDir: string) => Promise<void>;
}

// Not root: both servers make accounts of that name themselves, without a password.
const USER = 'tester';
const PASSWORD = 'test';

const ACCOUNT = [
  'SET SESSION sql_log_bin = 0;',
  `CREATE USER IF NOT EXISTS '${USER}'@'%' IDENTIFIED BY '${PASSWORD}';`,
  `GRANT ALL PRIVILEGES ON *.* TO '${USER}'@'%' WITH GRANT OPTION;`,
];

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
];

interface Start {
  readonly home: string;
  readonly port: number;
  readonly name: string;
  readonly logFile: string;
  readonly readyWithinMs: number;
  readonly flags: readonly string[];
}

interface Started {
  readonly server: ServerProcess;
  readonly version: string;
}

async function canLogIn(port: number, user: string): Promise<boolean> {
  const connection = await mysql.createConnection({
    ...{ host: '127.0.0.1', port, user, password: PASSWORD },
    connectTimeout: 2_000,
  });
  await connection.end();
  return true;
}

async function startNative(
  flavor: MySqlFlavor,
  { home, port, flags, ...common }: Start,
  detached: boolean | undefined,
): Promise<Started> {
  const packages = await flavor.packages();
  const dataDir = join(home, 'data');
  const account = join(home, 'account.sql');
  if (!existsSync(dataDir)) {
    await mkdir(dataDir, { recursive: true });
    await flavor.initialise(packages, dataDir);
  }
  await writeFile(account, ACCOUNT.join('\n'));
  const { command, args } = packages.command(flavor.program);
  const server = await startServerProcess({
    ...common,
    command,
    args: [
      ...[...args, '--no-defaults', `--datadir=${dataDir}`],
      ...[`--socket=${join(home, 'server.sock')}`, `--pid-file=${join(home, 'server.pid')}`],
      // MariaDB clears away at its start what others have in a folder that they share.
      `--tmpdir=${home}`,
      ...[`--init-file=${account}`, ...flavor.places(packages), ...RUN_AS, ...flags],
    ],
    ready: () => canLogIn(port, USER),
    cwd: home,
    ...(detached !== undefined && { detached }),
  });
  return { server, version: packages.version };
}

async function startInContainer(
  flavor: MySqlFlavor,
  { port, flags, ...common }: Start,
): Promise<Started> {
  const server = await startContainer({
    ...common,
    image: flavor.image,
    environment: { MYSQL_ROOT_PASSWORD: PASSWORD, MYSQL_ROOT_HOST: '%' },
    args: flags,
    ready: () => canLogIn(port, 'root'),
  });
  const login = { host: '127.0.0.1', port, user: 'root', password: PASSWORD };
  const connection = await mysql.createConnection(login);
  try {
    for (const statement of ACCOUNT) await connection.query(statement);
  } finally {
    await connection.end();
  }
  return { server, version: flavor.image };
}

/** Starts a server of either flavor. It dies with this process. */
export async function startMySqlServer(
  flavor: MySqlFlavor,
  options: MySqlOptions,
): Promise<MySqlServer> {
  const own = options.dataDir === undefined;
  const home = options.dataDir ?? (await temporaryFolder(flavor.name.toLowerCase()));
  await mkdir(home, { recursive: true });
  const port = options.port ?? (await freePort());
  const start: Start = {
    home,
    port,
    name: flavor.name,
    logFile: join(home, 'server.log'),
    readyWithinMs: 60_000,
    flags: [
      ...[`--port=${String(port)}`, ...FIXED_FLAGS, ...flavor.flags],
      ...(options.flags ?? []),
    ],
  };
  const { server, version } =
    own && (await usesContainers())
      ? await startInContainer(flavor, start)
      : await startNative(flavor, start, options.detached);
  const login = { host: '127.0.0.1', port, user: USER, password: PASSWORD };
  return {
    ...login,
    version,
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
      // An orderly stop waits ten seconds for a replica that has gone; nobody reads the data again.
      await (own ? server.kill() : server.stop());
      if (own) await removeFolder(home);
    },
  };
}
