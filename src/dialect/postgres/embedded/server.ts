/**
 * A real PostgreSQL beside the configuration: `.understudy/` holds its data, a fixed port, a
 * random password and the process ids. The first command that needs it starts it, commands that
 * come meanwhile attach, and the last to end stops it. A server whose users all died is adopted; a
 * process id that no longer lives is recovered by starting again.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync } from 'node:fs';
import { chmod, chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { pollUntil, sleep } from '../../../util/wait.ts';
import { embeddedBinaries, isReachableByAll, type EmbeddedBinaries } from './binaries.ts';

const run = promisify(execFile);

export interface EmbeddedServer {
  readonly url: string;
  /** Stops the server if no other process uses it and it was not to be kept. */
  release(): Promise<void>;
}

interface State {
  readonly port: number;
  readonly password: string;
  readonly serverPid: number | null;
  /** Processes that use it; those that died without a word are passed over. */
  readonly users: readonly number[];
}

/**
 * The embedded server of a configuration folder, started if it is not running.
 * `keep` leaves it running after `release`. Errors: UNSUPPORTED, SHADOW_UNREACHABLE.
 */
export async function ensureEmbeddedServer(options: {
  readonly directory: string;
  readonly keep: boolean;
}): Promise<EmbeddedServer> {
  const home = path.join(options.directory, '.understudy');
  await mkdir(home, { recursive: true });
  return withLock(home, async () => {
    const state = (await readState(home)) ?? {
      port: await freePort(),
      password: randomBytes(18).toString('base64url'),
      serverPid: null,
      users: [],
    };
    const url = `postgres://postgres:${state.password}@127.0.0.1:${state.port}/postgres`;
    const running = isAlive(state.serverPid) && (await answers(url));
    const serverPid = running ? state.serverPid : await start(home, state, url);
    await writeState(home, { ...state, serverPid, users: [...othersOf(state), process.pid] });
    return { url, release: () => withLock(home, () => leave(home, options.keep)) };
  });
}

/** The last user stops the server. */
async function leave(home: string, keep: boolean): Promise<void> {
  const state = await readState(home);
  if (state === null) return;
  const users = othersOf(state);
  const stopping = !keep && users.length === 0;
  if (stopping) await stop(state.serverPid);
  await writeState(home, { ...state, serverPid: stopping ? null : state.serverPid, users });
}

/** Living users but this process. */
function othersOf(state: State): readonly number[] {
  return state.users.filter((pid) => pid !== process.pid && isAlive(pid));
}

async function start(home: string, state: State, url: string): Promise<number> {
  const binaries = await embeddedBinaries();
  const data = dataFolder(home, binaries);
  const log = path.join(home, 'postgres.log');
  if (!existsSync(path.join(data, 'PG_VERSION'))) await initialise(data, state.password, binaries);
  // A lock file of a server that died with the machine would refuse the start.
  const output = openSync(log, 'a');
  const child = spawn(
    binaries.postgres,
    ['-D', data, '-p', String(state.port), ...SETTINGS.flatMap((setting) => ['-c', setting])],
    {
      // Its own process group: an interrupt at the terminal must not stop it before we are done.
      detached: true,
      stdio: ['ignore', output, output],
      ...binaries.owner,
    },
  );
  closeSync(output);
  child.unref();
  const pid = child.pid;
  if (pid === undefined) {
    throw new UnderstudyError('SHADOW_UNREACHABLE', 'the embedded PostgreSQL did not start');
  }
  await pollUntil({
    probe: async () => {
      if (!isAlive(pid)) throw await startFailure(log);
      return (await answers(url)) ? true : undefined;
    },
    everyMs: 50,
    timeoutMs: 60_000,
    timeout: () =>
      new UnderstudyError('SHADOW_UNREACHABLE', 'the embedded PostgreSQL does not answer', {
        detail: `see ${log}`,
      }),
  });
  return pid;
}

/** In `.understudy/`, or, where the server's own user cannot get there, in a public place. */
function dataFolder(home: string, binaries: EmbeddedBinaries): string {
  const data = path.join(home, 'postgres');
  if (binaries.owner === undefined || isReachableByAll(data)) return data;
  const name = createHash('sha256').update(home).digest('hex').slice(0, 16);
  return path.join(tmpdir(), `understudy-embedded-${name}`);
}

const SETTINGS = [
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  'max_connections=200',
  'timezone=UTC',
];

async function initialise(
  data: string,
  password: string,
  binaries: EmbeddedBinaries,
): Promise<void> {
  await mkdir(data, { recursive: true });
  await chmod(data, 0o700);
  const passwordFile = `${data}.password`;
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (binaries.owner !== undefined) {
    await chown(data, binaries.owner.uid, binaries.owner.gid);
    await chown(passwordFile, binaries.owner.uid, binaries.owner.gid);
  }
  try {
    await run(
      binaries.initdb,
      [
        `--pgdata=${data}`,
        '--username=postgres',
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C.UTF-8',
        '--no-sync',
      ],
      { ...binaries.owner },
    );
  } catch (error) {
    const detail = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1) ?? '';
    throw new UnderstudyError(
      'SHADOW_UNREACHABLE',
      'the embedded PostgreSQL could not be initialised',
      { detail },
      error,
    );
  } finally {
    await rm(passwordFile, { force: true });
  }
}

async function startFailure(log: string): Promise<UnderstudyError> {
  const lines = (await readFile(log, 'utf8')).trimEnd().split('\n');
  return new UnderstudyError('SHADOW_UNREACHABLE', 'the embedded PostgreSQL did not start', {
    detail: lines.slice(-3).join(' | '),
  });
}

async function stop(pid: number | null): Promise<void> {
  if (pid === null || !isAlive(pid)) return;
  process.kill(pid, 'SIGINT'); // fast shutdown
  await pollUntil({
    probe: () => Promise.resolve(isAlive(pid) ? undefined : true),
    everyMs: 20,
    timeoutMs: 30_000,
    timeout: () =>
      new UnderstudyError('SHADOW_UNREACHABLE', `the embedded PostgreSQL (${pid}) does not stop`),
  });
}

function isAlive(pid: number | null): boolean {
  if (pid === null) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') {
    throw new UnderstudyError('INTERNAL', 'no free port was given');
  }
  return address.port;
}

async function readState(home: string): Promise<State | null> {
  try {
    return JSON.parse(await readFile(path.join(home, 'server.json'), 'utf8')) as State;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new UnderstudyError(
      'CONFIG_INVALID',
      `${path.join(home, 'server.json')} is damaged`,
      { detail: 'remove the folder .understudy to start afresh' },
      error,
    );
  }
}

async function writeState(home: string, state: State): Promise<void> {
  const file = path.join(home, 'server.json');
  await writeFile(`${file}.new`, `${JSON.stringify(state)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/** One process at a time; a lock whose process died is taken over. */
async function withLock<T>(home: string, act: () => Promise<T>): Promise<T> {
  const file = path.join(home, 'lock');
  for (let attempt = 0; ; attempt += 1) {
    try {
      await writeFile(file, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const owner = Number(await readFile(file, 'utf8').catch(() => ''));
      if (owner > 0 && !isAlive(owner)) await rm(file, { force: true });
      else if (attempt > 600) {
        throw new UnderstudyError('SHADOW_UNREACHABLE', `${file} is held by process ${owner}`);
      } else await sleep(100);
    }
  }
  try {
    return await act();
  } finally {
    await rm(file, { force: true });
  }
}
