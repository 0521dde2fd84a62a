import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { pollUntil, sleep } from '../../../src/util/wait.ts';
import { guardian } from './guardian.ts';

const TAIL_LINES = 40;

/** How a server is started; see `startServerProcess`. */
export interface ServerProcessOptions {
  /** For messages: "Kafka", "PostgreSQL". */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Standard output and error are appended here. */
  readonly logFile: string;
  /** Asked every 100 ms until it says true; an exception counts as "not yet". */
  readonly ready: () => Promise<boolean>;
  readonly readyWithinMs: number;
  /** The signal that asks it to stop in good order. Default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
  /** The process's whole environment. Default: ours. */
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
  /** It goes on when this process ends, and nobody but its pid knows it. Default false. */
  readonly detached?: boolean;
}

/** A running server that this process started. */
export interface ServerProcess {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** How long the start took, until it was ready. */
  readonly startMs: number;
  isRunning(): boolean;
  /** SIGSTOP: it stays there and answers nothing, as in a long pause of a virtual machine. */
  pause(): Promise<void>;
  /** SIGCONT. */
  resume(): Promise<void>;
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>;
  /** Asks it to stop, waits up to `withinMs` (default 20 s), then kills it. Idempotent. */
  stop(withinMs?: number): Promise<void>;
}

/** The last lines of a log, for an error message. */
export function tailOf(logFile: string): string {
  try {
    return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
  } catch {
    return '(no log)';
  }
}

function ended(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function describeEnd(child: ChildProcess): string {
  return child.signalCode === null
    ? `it ended with exit code ${String(child.exitCode)}`
    : `it was ended by ${child.signalCode}`;
}

async function waitForEnd(child: ChildProcess, withinMs: number): Promise<boolean> {
  if (ended(child)) return true;
  const timeout = new AbortController();
  const exit = once(child, 'exit').then(() => true);
  const late = sleep(withinMs, timeout.signal).then(
    () => false,
    () => true,
  );
  const done = await Promise.race([exit, late]);
  timeout.abort();
  return done;
}

function handle(
  child: ChildProcess,
  pid: number,
  startMs: number,
  options: ServerProcessOptions,
): ServerProcess {
  const deliver = (signal: NodeJS.Signals): Promise<void> =>
    child.kill(signal)
      ? Promise.resolve()
      : Promise.reject(new Error(`${options.name} is not running: ${signal} could not reach it`));
  return {
    name: options.name,
    pid,
    logFile: options.logFile,
    startMs,
    isRunning: () => !ended(child),
    pause: () => deliver('SIGSTOP'),
    resume: () => deliver('SIGCONT'),
    async kill() {
      if (ended(child)) return;
      child.kill('SIGKILL');
      await waitForEnd(child, 10_000);
    },
    async stop(withinMs = 20_000) {
      if (ended(child)) return;
      child.kill('SIGCONT');
      child.kill(options.stopSignal ?? 'SIGTERM');
      if (await waitForEnd(child, withinMs)) return;
      child.kill('SIGKILL');
      await waitForEnd(child, 10_000);
    },
  };
}

/**
 * Starts a server and waits until it is ready. If it ends before, or is not ready in time, it is
 * killed and the error carries the end of its log. It dies with this process unless `detached`.
 */
export async function startServerProcess(options: ServerProcessOptions): Promise<ServerProcess> {
  const began = performance.now();
  const log = openSync(options.logFile, 'a');
  const child = spawn(options.command, options.args, {
    stdio: ['ignore', log, log],
    // In a process group of its own: Ctrl-C at the terminal is for us, who stop it in order.
    detached: true,
    ...(options.env !== undefined && { env: options.env }),
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.uid !== undefined && { uid: options.uid }),
    ...(options.gid !== undefined && { gid: options.gid }),
  });
  closeSync(log);
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  const { pid } = child;
  if (pid === undefined) {
    return failed.catch((cause: unknown) => {
      throw new Error(`${options.name} could not be started: ${options.command}`, { cause });
    });
  }
  failed.catch(() => undefined);
  if (options.detached === true) {
    child.unref();
  } else {
    guardian.child(pid, options.stopSignal ?? 'SIGTERM');
    child.once('exit', () => guardian.gone(pid));
  }
  let notReady: unknown;
  const problem = (what: string): Error =>
    new Error(
      `${options.name} did not start: ${what}. End of ${options.logFile}:\n${tailOf(options.logFile)}`,
      { cause: notReady },
    );
  const isReady = async (): Promise<boolean> => {
    try {
      return await options.ready();
    } catch (error) {
      notReady = error;
      return false;
    }
  };
  try {
    await pollUntil({
      probe: async () => {
        if (ended(child)) throw problem(describeEnd(child));
        return (await isReady()) ? true : undefined;
      },
      everyMs: 100,
      timeoutMs: options.readyWithinMs,
      timeout: () => problem(`not ready after ${String(options.readyWithinMs)} ms`),
    });
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  return handle(child, pid, Math.round(performance.now() - began), options);
}
