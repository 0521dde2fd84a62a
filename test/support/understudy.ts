import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
/** After `npm run build`: what users have, without the sources' types in memory. */
export const BUILT_MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

export interface CliResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * What a configuration says of a production that is followed into the trunk `shop`. `prefix`: of the
 * topics, and the connector's name. `connector`: PostgreSQL's by default.
 */
export function followed(
  prefix: string,
  parts: {
    readonly kafka: { readonly broker: string } | { readonly brokers: readonly string[] };
    readonly connect: { readonly url: string };
    readonly production: { readonly url: string };
    readonly shadow: { readonly url: string };
    readonly connector?: 'postgresql' | 'mysql' | 'mariadb';
  },
): object {
  const { kafka, connect, production, shadow, connector = 'postgresql' } = parts;
  return {
    source: {
      connector,
      topicPrefix: prefix,
      kafka: { brokers: 'brokers' in kafka ? kafka.brokers : [kafka.broker] },
      connect: { url: connect.url, name: prefix },
    },
    production: { url: production.url },
    shadow: { url: shadow.url },
    trunk: { name: 'shop' },
  };
}

/** A folder with an `understudy.yaml`, where the command line is run as a user would run it. */
export class Workplace implements AsyncDisposable {
  readonly directory: string;
  readonly #main: string;
  readonly #children = new Set<ChildProcess>();

  private constructor(directory: string, main: string) {
    this.directory = directory;
    this.#main = main;
  }

  static async make(config: object, main = MAIN): Promise<Workplace> {
    const workplace = new Workplace(await mkdtemp(path.join(tmpdir(), 'understudy-work-')), main);
    await workplace.configure(config);
    return workplace;
  }

  configure(config: object): Promise<void> {
    return writeFile(path.join(this.directory, 'understudy.yaml'), stringify(config));
  }

  /** Starts `understudy ARGS` and lets it run. */
  start(args: readonly string[], env: Readonly<Record<string, string>> = {}): RunningCli {
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', this.#main, ...args],
      {
        cwd: this.directory,
        env: { ...process.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return new RunningCli(child);
  }

  /** Runs `understudy ARGS` to its end. */
  run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CliResult> {
    return this.start(args, env).ended;
  }

  /** The same, expecting an exit status, and parsing the JSON it printed. */
  async json<T>(args: readonly string[], status = 0): Promise<T> {
    const result = await this.run([...args, '--json']);
    if (result.status !== status) {
      throw new Error(
        `understudy ${args.join(' ')} exited with ${result.status}, not ${status}:\n` +
          `${result.stdout}\n${result.stderr}`,
      );
    }
    return JSON.parse(result.stdout) as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      child.kill('SIGCONT');
      child.kill('SIGKILL');
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}

export class RunningCli {
  readonly process: ChildProcess;
  readonly ended: Promise<CliResult>;
  #stdout = '';
  #stderr = '';

  constructor(child: ChildProcess) {
    this.process = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    this.ended = new Promise((resolve) => {
      child.once('close', (status) =>
        resolve({ status, stdout: this.#stdout, stderr: this.#stderr }),
      );
    });
  }

  get stderr(): string {
    return this.#stderr;
  }

  get stdout(): string {
    return this.#stdout;
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /** Dies without a chance to do anything, and is gone when this resolves. */
  async die(): Promise<void> {
    this.kill('SIGKILL');
    await this.ended;
  }
}
