import { existsSync, globSync } from 'node:fs';
import { rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join, relative } from 'node:path';
import {
  embeddedBinaries,
  type EmbeddedBinaries,
} from '../../../src/dialect/postgres/embedded/binaries.ts';
import { runCommand } from '../process/run-command.ts';
import { debianServer, type DebianServer } from './debian.ts';

const MAJOR = '17';
const BIN = `usr/lib/postgresql/${MAJOR}/bin`;
const SHARE = `usr/share/postgresql/${MAJOR}`;
const EXTENSIONS = [`postgresql-${MAJOR}-postgis-3`, `postgresql-${MAJOR}-pgvector`];

/** The programs of Debian 13's PostgreSQL, with all contrib extensions, PostGIS and pgvector. */
export async function debianPostgres(): Promise<EmbeddedBinaries> {
  const packages = await debianServer(`postgresql-${MAJOR}`, 'trixie', EXTENSIONS);
  // Who may run a PostgreSQL here is the same question for every build of it.
  const { owner } = await embeddedBinaries();
  const root = await runnableCopy(packages);
  return { initdb: join(root, BIN, 'initdb'), postgres: join(root, BIN, 'postgres'), owner };
}

/**
 * A copy that every user can reach, made once, in which a program starts by its own name, with the
 * packages' libraries: `initdb` starts `postgres` itself. Of hard links where that is possible.
 */
async function runnableCopy(packages: DebianServer): Promise<string> {
  const name = `understudy-test-postgres-${packages.version}-${String(userInfo().uid)}`;
  const target = join(tmpdir(), name.replaceAll(/[^\w.-]/g, '_'));
  if (existsSync(target)) return target;
  const partial = `${target}.${String(process.pid)}`;
  try {
    await copyTree(packages.root, partial);
    for (const program of ['initdb', 'postgres']) {
      await wrap(packages, partial, join(BIN, program));
    }
    await linkAlternatives(join(partial, SHARE, 'extension'));
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
  return target;
}

async function copyTree(from: string, to: string): Promise<void> {
  try {
    await runCommand('cp', ['-al', from, to]);
  } catch {
    // Another file system.
    await rm(to, { recursive: true, force: true });
    await runCommand('cp', ['-a', from, to]);
  }
  await runCommand('chmod', ['755', to]);
}

/** Gives PostGIS its name, which Debian leaves to `update-alternatives`. */
async function linkAlternatives(extensions: string): Promise<void> {
  for (const control of globSync('*-3.control', { cwd: extensions })) {
    await symlink(control, join(extensions, control.replace('-3.control', '.control')));
  }
}

/** Puts a script in a program's place that starts it by the loader among the packages. */
async function wrap(packages: DebianServer, root: string, program: string): Promise<void> {
  const { command: loader, args } = packages.command(program);
  // The copy is renamed when it is complete: the script finds everything from its own place.
  const here = (path: string): string => path.replaceAll(packages.root, '$root');
  const [option = '', libraries = ''] = args;
  const script = [
    '#!/bin/sh',
    `root=$(dirname "$0")/${relative(dirname(program), '.')}`,
    `exec "${here(loader)}" ${option} "${here(libraries)}" "$0.real" "$@"`,
  ].join('\n');
  await rename(join(root, program), join(root, `${program}.real`));
  await writeFile(join(root, program), script, { mode: 0o755 });
}
