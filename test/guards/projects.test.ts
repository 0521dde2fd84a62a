/** Every test file belongs to exactly one project: one that none includes would never run. */
import { matchesGlob } from 'node:path';
import { expect, test } from 'vitest';
import config from '../../vitest.config.ts';
import { sourceFiles } from '../support/source-files.ts';

interface Projects {
  readonly test: {
    readonly projects: readonly { readonly test: { name: string; include: readonly string[] } }[];
  };
}

const { projects } = (config as unknown as Projects).test;

/** Each file with the names of the projects that run it, where that is not one. */
function misplaced(files: readonly string[]): (readonly [string, readonly string[]])[] {
  return files
    .map((file) => {
      const homes = projects.filter((project) =>
        project.test.include.some((pattern) => matchesGlob(file, pattern)),
      );
      return [file, homes.map((project) => project.test.name)] as const;
    })
    .filter(([, homes]) => homes.length !== 1);
}

test('every test file is run by exactly one project', async () => {
  const files = (await sourceFiles('test')).filter((file) => file.endsWith('.test.ts'));
  expect(files).toContain('test/guards/projects.test.ts');
  expect(misplaced(files)).toEqual([]);
});

test('a test file without its suffix is noticed', () => {
  const lost = 'test/integration/planted.test.ts';
  expect(misplaced([lost, 'test/integration/kept.db.test.ts'])).toEqual([[lost, []]]);
});
