import { readFile } from 'node:fs/promises';

/** Most bytes that the process had resident up to now (Linux's VmHWM). */
export async function peakBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) * 1024;
}
