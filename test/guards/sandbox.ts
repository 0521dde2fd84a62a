/**
 * A small project in a temporary folder that carries our own check configuration, word for word,
 * and passes it. A guard's test plants one fault in it and runs the same step of `npm run check`.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { cleanProject } from './clean-project.ts';

const ROOT = resolve(import.meta.dirname, '..', '..');

/** The configuration under test and the scripts that run it; copied, never rewritten. */
const SAME = [
  '.dependency-cruiser.cjs',
  '.oxlintrc.json',
  '.prettierignore',
  '.prettierrc.json',
  'knip.jsonc',
  'tsconfig.json',
  'vitest.config.ts',
  'test/support/check.ts',
  'test/support/direction.ts',
  'test/support/engine-names.ts',
  'test/support/source-files.ts',
];

/** Packages the clean project uses; package.json keeps of its own lists only these. */
const USED = new Set([
  'pg',
  '@types/node',
  '@types/pg',
  'dependency-cruiser',
  'knip',
  'node',
  'oxlint',
  'oxlint-tsgolint',
  'prettier',
  'typescript',
  'vitest',
]);

/** The scripts that the check runs; others' files are not in the sandbox. */
const SCRIPTS = new Set([
  'check',
  'deadcode',
  'direction',
  'engine-names',
  'format',
  'lint',
  'test:unit',
  'typecheck',
]);

interface Manifest {
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}

/** What a step said, standard output and error together, and how it ended. */
export interface StepOutcome {
  readonly code: number;
  readonly output: string;
}

export class Sandbox implements AsyncDisposable {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<Sandbox> {
    const sandbox = new Sandbox(await mkdtemp(join(tmpdir(), 'understudy-guard-')));
    await sandbox.#linkPackages();
    await Promise.all(SAME.map((file) => cp(join(ROOT, file), join(sandbox.folder, file))));
    await sandbox.#writeManifest();
    await sandbox.plant(cleanProject);
    return sandbox;
  }

  /** Writes files: path within the project to content. */
  async plant(files: Readonly<Record<string, string>>): Promise<void> {
    for (const [path, content] of Object.entries(files)) {
      const target = join(this.folder, path);
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, content);
    }
  }

  /** Changes one of the project's files in place. Throws if `from` is not in it. */
  async edit(path: string, from: string, to: string): Promise<void> {
    const text = await readFile(join(this.folder, path), 'utf8');
    if (!text.includes(from)) throw new Error(`${path} does not contain ${from}`);
    await this.plant({ [path]: text.replace(from, () => to) });
  }

  /** Runs `npm run check -- <steps>` here; without steps, all of it. */
  check(...steps: readonly string[]): Promise<StepOutcome> {
    // Of vitest's own environment nothing may leak into the tests that a step runs.
    const inherited = Object.entries(process.env).filter(
      ([name]) => !/^(VITEST|NODE_ENV$|NODE_OPTIONS$|TEST$|MODE$|DEV$|PROD$|SSR$)/.test(name),
    );
    return new Promise((done, fail) => {
      const child = execFile(
        process.execPath,
        ['test/support/check.ts', ...steps],
        { cwd: this.folder, env: Object.fromEntries(inherited), maxBuffer: 64 * 1024 * 1024 },
        (error, stdout, stderr) => {
          if (child.exitCode === null) fail(error ?? new Error('the check did not end by itself'));
          else done({ code: child.exitCode, output: stdout + stderr });
        },
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** One link per package, so that caches in node_modules stay the sandbox's own. */
  async #linkPackages(): Promise<void> {
    const from = join(ROOT, 'node_modules');
    const to = join(this.folder, 'node_modules');
    await mkdir(to);
    const names = (await readdir(from)).filter((name) => !/^\.(cache|vite)/.test(name));
    await Promise.all(names.map((name) => symlink(join(from, name), join(to, name))));
  }

  async #writeManifest(): Promise<void> {
    const real = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as Manifest;
    const pick = (list: Record<string, string>, kept: ReadonlySet<string>) =>
      Object.fromEntries(Object.entries(list).filter(([name]) => kept.has(name)));
    const manifest = {
      name: 'sandbox',
      version: '0.0.0',
      type: 'module',
      scripts: pick(real.scripts, SCRIPTS),
      dependencies: pick(real.dependencies, USED),
      devDependencies: pick(real.devDependencies, USED),
    };
    await this.plant({ 'package.json': `${JSON.stringify(manifest, null, 2)}\n` });
  }
}
