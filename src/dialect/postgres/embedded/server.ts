/**
 * A real PostgreSQL beside the configuration: `.understudy/` holds its data, a fixed port, a
 * random password and who uses it. The first command that needs it starts it, commands that
 * come meanwhile attach, and the last to end stops it. A server whose users all died is adopted; one
 * that died is started again.
 *
 * Whether it runs is told by its own `postmaster.pid`: what we would write down ourselves is not
 * yet written when a start is interrupted.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, fstatSync, openSync } from 'node:fs';
import { chown, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { pollUntil, sleep } from '../../../util/wait.ts';
import { embeddedBinaries, isReachableByAll, type EmbeddedBinaries } from './binaries.ts';

const run = promisify(execFile);

/** How long a server that another command has just started may take to answer. */
const STARTING_MS = 20_000;

export interface EmbeddedServer {
  readonly url: string;
  /** Stops the server if no other process uses it and it was not to be kept. */
  release(): Promise<void>;
}

interface State {
  readonly port: number;
  readonly password: string;
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
    const binaries = await embeddedBinaries();
    const data = dataFolder(home, binaries);
    const state = (await readState(home)) ?? {
      port: await freePort(),
      password: randomBytes(18).toString('base64url'),
      users: [],
    };
    // Before the data is made with this password, or an interruption would lock us out of it.
    await writeState(home, { ...state, users: [...othersOf(state), process.pid] });
    const url = `postgres://postgres:${state.password}@127.0.0.1:${state.port}/postgres`;
    if (!(await runs(data, url))) await start({ home, data, state, url, binaries });
    return { url, release: () => withLock(home, () => leave({ home, data }, options.keep)) };
  });
}

/** The last user stops the server. */
async function leave(
  place: { readonly home: string; readonly data: string },
  keep: boolean,
): Promise<void> {
  const state = await readState(place.home);
  if (state === null) return;
  const users = othersOf(state);
  if (!keep && users.length === 0) await stop(place.data);
  await writeState(place.home, { ...state, users });
}

/** Whether it answers; one that lives and is still starting is waited for. */
async function runs(data: string, url: string): Promise<boolean> {
  for (const deadline = Date.now() + STARTING_MS; Date.now() < deadline; await sleep(50)) {
    if (!isAlive(await postmasterPid(data))) return false;
    if (await answers(url)) return true;
  }
  // If it is the server after all, the start is refused, and says so.
  return false;
}

/** The process of the server, dead or alive, as it says itself; null after an orderly end. */
async function postmasterPid(data: string): Promise<number | null> {
  try {
    const [pid = ''] = (await readFile(path.join(data, 'postmaster.pid'), 'utf8')).split('\n');
    return Number(pid) > 0 ? Number(pid) : null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Living users but this process. */
function othersOf(state: State): readonly number[] {
  return state.users.filter((pid) => pid !== process.pid && isAlive(pid));
}

async function start(parts: {
  readonly home: string;
  readonly data: string;
  readonly state: State;
  readonly url: string;
  readonly binaries: EmbeddedBinaries;
}): Promise<void> {
  const { home, data, state, url, binaries } = parts;
  if (!existsSync(data)) await initialise(data, state.password, binaries);
  const log = path.join(home, 'postgres.log');
  // For our eyes only: a server's log quotes statements.
  const output = openSync(log, 'a', 0o600);
  const before = fstatSync(output).size;
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
      if (!isAlive(pid)) throw await startFailure(log, before);
      return (await answers(url)) ? true : undefined;
    },
    everyMs: 50,
    timeoutMs: 60_000,
    timeout: () =>
      new UnderstudyError('SHADOW_UNREACHABLE', 'the embedded PostgreSQL does not answer', {
        detail: `see ${log}`,
      }),
  });
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

/**
 * Makes the data under a name of its own first: half of it must not be taken for all of it, and an
 * `initdb` whose starter was killed goes on for a while.
 */
async function initialise(
  data: string,
  password: string,
  binaries: EmbeddedBinaries,
): Promise<void> {
  const partial = await mkdtemp(`${data}.new-`);
  const passwordFile = `${data}.password`;
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (binaries.owner !== undefined) {
    await chown(partial, binaries.owner.uid, binaries.owner.gid);
    await chown(passwordFile, binaries.owner.uid, binaries.owner.gid);
  }
  try {
    await run(
      binaries.initdb,
      [
        `--pgdata=${partial}`,
        '--username=postgres',
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C.UTF-8',
        '--no-sync',
      ],
      { ...binaries.owner },
    );
    await rename(partial, data);
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

/** What this start wrote: what stands before it may quote rows. */
async function startFailure(log: string, before: number): Promise<UnderstudyError> {
  const lines = (await readFile(log)).subarray(before).toString().trimEnd().split('\n');
  return new UnderstudyError('SHADOW_UNREACHABLE', 'the embedded PostgreSQL did not start', {
    detail: lines.slice(-3).join(' | '),
  });
}

/** Waits for the file to go, not for the process: where nobody reaps, it stays as a zombie. */
async function stop(data: string): Promise<void> {
  const pid = await postmasterPid(data);
  if (pid === null || !isAlive(pid)) return;
  process.kill(pid, 'SIGINT'); // fast shutdown
  await pollUntil({
    probe: async () => ((await postmasterPid(data)) === null || !isAlive(pid) ? true : undefined),
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
