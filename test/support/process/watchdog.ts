/**
 * A process of its own that outlives the test process by a few seconds: as soon as its standard
 * input ends (the test process is gone, however it went), it stops the children named there and
 * removes their folders. Lines: `child PID SIGNAL`, `gone PID`, `folder PATH`, `removed PATH`.
 * It ignores the terminal's signals, or Ctrl-C would take it away together with its charge.
 */
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';

const GRACE_MS = 5_000;

const children = new Map<number, NodeJS.Signals>();
const folders = new Set<string>();

function take(line: string): void {
  const [verb, subject = '', ...rest] = line.split(' ');
  switch (verb) {
    case 'child':
      children.set(Number(subject), rest.join(' ') as NodeJS.Signals);
      break;
    case 'gone':
      children.delete(Number(subject));
      break;
    case 'folder':
      folders.add([subject, ...rest].join(' '));
      break;
    case 'removed':
      folders.delete([subject, ...rest].join(' '));
      break;
    default:
  }
}

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}

async function cleanUp(): Promise<void> {
  for (const [pid, name] of children) {
    signal(pid, 'SIGCONT');
    signal(pid, name);
  }
  const deadline = Date.now() + GRACE_MS;
  while ([...children.keys()].some((pid) => signal(pid, 0)) && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const pid of children.keys()) signal(pid, 'SIGKILL');
  for (const folder of folders) {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => undefined);
createInterface({ input: process.stdin })
  .on('line', take)
  .on('close', () => void cleanUp());
