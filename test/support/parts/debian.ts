import { existsSync, globSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../process/run-command.ts';
import { cachedPart } from './cache.ts';
import { requireTool } from './tools.ts';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** A server from a Debian package, unpacked beside the system and not installed. */
export interface DebianServer {
  /** Where the packages' own root lies: `usr/share/…` is below it. */
  readonly root: string;
  /** Of the named package, e.g. `9.7.4-2`. */
  readonly version: string;
  /** How to run a program of the packages with the packages' own libraries. */
  command(program: string): { readonly command: string; readonly args: readonly string[] };
}

/** The mirror this machine's own packages come from: nearest, and reachable from here. */
async function debianMirror(apt: string): Promise<string> {
  const { stdout } = await runCommand(apt, ['--print-uris', 'update']);
  const mirror = /'(\w+:\/\/[^']*\/debian)\/dists\//.exec(stdout)?.[1];
  if (mirror !== undefined) return mirror;
  throw new Error(
    "this machine's apt knows no Debian mirror, from which MySQL and MariaDB are taken: " +
      'run the tests on Debian, or use docker/compose.yaml',
  );
}

/** An apt of its own: neither the machine's package lists nor its installed packages count. */
async function privateApt(folder: string, suite: string, mirror: string): Promise<string[]> {
  for (const name of ['state/lists/partial', 'cache/archives/partial', 'none']) {
    await mkdir(join(folder, name), { recursive: true });
  }
  await writeFile(join(folder, 'state/status'), '');
  const signed = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : '';
  await writeFile(join(folder, 'sources.list'), `deb ${signed}${mirror} ${suite} main\n`);
  const settings = {
    'Dir::State': join(folder, 'state'),
    'Dir::State::status': join(folder, 'state/status'),
    'Dir::Cache': join(folder, 'cache'),
    'Dir::Etc::sourcelist': join(folder, 'sources.list'),
    'Dir::Etc::sourceparts': join(folder, 'none'),
    'Dir::Etc::preferencesparts': join(folder, 'none'),
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    // The sandbox's user may not be able to walk down to our folder.
    'APT::Sandbox::User': 'root',
    'Debug::NoLocking': '1',
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

async function fetchPackages(
  folder: string,
  [name, ...others]: readonly [string, ...string[]],
  suite: string,
): Promise<void> {
  const apt = requireTool('apt-get', name);
  const unpack = requireTool('dpkg-deb', name);
  const work = join(folder, '.apt');
  const options = await privateApt(work, suite, await debianMirror(apt));
  try {
    await runCommand(apt, [...options, 'update']);
    await runCommand(apt, [
      ...[...options, '--yes', '--no-install-recommends', '--download-only'],
      ...['install', name, ...others],
    ]);
  } catch (cause) {
    throw new Error(`apt could not fetch ${name} from Debian ${suite}`, { cause });
  }
  const archives = globSync(join(work, 'cache/archives/*.deb'));
  for (const archive of archives) await runCommand(unpack, ['--extract', archive, folder]);
  const own = archives.find((archive) => archive.includes(`/${name}_`));
  if (own === undefined) throw new Error(`apt fetched no archive of ${name}`);
  const { stdout } = await runCommand(unpack, ['--field', own, 'Version']);
  await writeFile(join(folder, 'VERSION'), stdout.trim());
  await rm(work, { recursive: true });
}

/**
 * A server package of a Debian suite with everything it depends on, the C library included, so
 * that it runs on another release than its own; `others` are unpacked over it. Nothing is
 * installed and no service is started. The version is the one that was there at the first use;
 * delete the cache to have a newer one.
 */
export async function debianServer(
  name: string,
  suite: string,
  others: readonly string[] = [],
): Promise<DebianServer> {
  const root = await cachedPart(`debian-${suite}-${[name, ...others].join('-')}`, (folder) =>
    fetchPackages(folder, [name, ...others], suite),
  );
  const version = await readFile(join(root, 'VERSION'), 'utf8');
  const loader = globSync(join(root, '{usr/lib,lib}/*-linux-gnu/ld-linux-*.so.*'))[0];
  if (loader === undefined) throw new Error(`no dynamic loader among the packages of ${name}`);
  const libraries = globSync(join(root, '{usr/lib,lib}/*-linux-gnu'));
  return {
    root,
    version,
    command: (program) => ({
      command: loader,
      args: ['--library-path', libraries.join(':'), join(root, program)],
    }),
  };
}
