import { spawn } from 'node:child_process';

/** What a finished command left. */
export interface CommandOutput {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. Rejects with both outputs if it cannot be run or exits non-zero. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: {
    readonly cwd?: string;
    readonly env?: NodeJS.ProcessEnv;
    readonly uid?: number;
    readonly gid?: number;
    /** For its standard input. Default: none. */
    readonly input?: string;
  } = {},
): Promise<CommandOutput> {
  return new Promise((resolve, reject) => {
    const { input = '', ...rest } = options;
    const child = spawn(command, args, { ...rest, stdio: ['pipe', 'pipe', 'pipe'] });
    // A command that ends without reading its input is judged by its exit code.
    child.stdin.on('error', () => undefined).end(input);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.once('error', (cause) => {
      reject(new Error(`${command} could not be run`, { cause }));
    });
    child.once('close', (code, signal) => {
      if (code === 0) {
        resolve({ stdout, stderr });
        return;
      }
      const how = signal ?? `exit code ${String(code)}`;
      const line = [command, ...args].join(' ');
      reject(new Error(`${line} failed (${how})\n${stdout.slice(-4_000)}${stderr.slice(-4_000)}`));
    });
  });
}
