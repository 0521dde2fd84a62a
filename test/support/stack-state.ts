import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';

/** One part of the stack that `npm run stack -- up` left running. */
export interface StackPart {
  readonly name: string;
  readonly pid: number;
  /** In the process's command line: tells it from a later process with the same id. */
  readonly mark: string;
  readonly address: string;
  readonly logFile: string;
  readonly startMs: number;
}

/** What `status` and `down` need to know. */
export interface StackState {
  readonly parts: readonly StackPart[];
  /** For people: the configuration and the next command. */
  readonly notes: string;
}

/** Not below the home folder: PostgreSQL's own user may not be able to walk down there. */
export const STACK_FOLDER = join(tmpdir(), `understudy-stack-${String(userInfo().uid)}`);
const STATE_FILE = join(STACK_FOLDER, 'state.json');

export function readState(): StackState | undefined {
  if (!existsSync(STATE_FILE)) return undefined;
  return JSON.parse(readFileSync(STATE_FILE, 'utf8')) as StackState;
}

export function writeState(state: StackState): void {
  writeFileSync(STATE_FILE, JSON.stringify(state, undefined, 2));
}

function commandLine(pid: number): string {
  const file = `/proc/${String(pid)}/cmdline`;
  if (existsSync('/proc/self/cmdline')) {
    return existsSync(file) ? readFileSync(file, 'utf8').replaceAll('\0', ' ') : '';
  }
  return spawnSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)]).stdout.toString();
}

/** Whether the process that `up` started still lives. */
export function isAlive({ pid, mark }: StackPart): boolean {
  return commandLine(pid).includes(mark);
}
