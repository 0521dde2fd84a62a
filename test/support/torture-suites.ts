import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { TortureSuite } from './seeds.ts';

/** The folder whose modules are the suites. */
export const SUITES = join(import.meta.dirname, '..', 'torture');

/** The names of all suites in `folder`, sorted. */
export async function suiteNames(folder = SUITES): Promise<string[]> {
  const files = await readdir(folder);
  return files
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.slice(0, -'.ts'.length))
    .toSorted();
}

/** Loads the suite `name`. Throws if its module is missing or its default export is no suite. */
export async function loadSuite(name: string, folder = SUITES): Promise<TortureSuite> {
  const module = (await import(pathToFileURL(join(folder, `${name}.ts`)).href)) as {
    readonly default?: Partial<TortureSuite>;
  };
  const suite = module.default;
  if (
    suite?.name !== name ||
    typeof suite.promise !== 'string' ||
    typeof suite.deadlineMs !== 'number' ||
    typeof suite.open !== 'function'
  ) {
    throw new TypeError(`${name}.ts does not export a torture suite of that name by default`);
  }
  return suite as TortureSuite;
}
