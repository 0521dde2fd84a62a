import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * Sees to it that nothing started by this process outlives it, even after `kill -9`.
 *
 * The watchdog is started with the first charge and ends with this process; it does not keep the
 * event loop alive.
 */
class Guardian {
  #watchdog: ChildProcess | undefined;

  /** The child is stopped with `signal`, then killed, when this process is gone. */
  child(pid: number, signal: NodeJS.Signals): void {
    this.#tell(`child ${String(pid)} ${signal}`);
  }

  /** The child has ended: its process id may soon belong to another process. */
  gone(pid: number): void {
    this.#tell(`gone ${String(pid)}`);
  }

  /** The folder is removed when this process is gone. */
  folder(path: string): void {
    this.#tell(`folder ${path}`);
  }

  removed(path: string): void {
    this.#tell(`removed ${path}`);
  }

  #tell(line: string): void {
    this.#watchdog ??= this.#start();
    this.#watchdog.stdin?.write(`${line}\n`);
  }

  #start(): ChildProcess {
    const script = fileURLToPath(new URL('watchdog.ts', import.meta.url));
    const watchdog = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script], {
      stdio: ['pipe', 'ignore', 'inherit'],
      detached: true,
    });
    watchdog.unref();
    // A pipe's handle would keep the process alive; the types know only the stream.
    (watchdog.stdin as unknown as { unref?: () => void } | null)?.unref?.();
    return watchdog;
  }
}

/** One for the process: its charges end when the process does, so it has the process's life. */
export const guardian = new Guardian();
