/** How much processor time a server has had. */
import { readdir, readFile } from 'node:fs/promises';

/**
 * Milliseconds of a process and of its children, all threads together, as Linux's scheduler counts them
 * (the first number of `schedstat`, in nanoseconds). Of what ended in between nothing is counted.
 */
export async function cpuMs(pid: number): Promise<number> {
  const parents = await parentsOf();
  const family = [...parents.keys()].filter((one) => one === pid || parents.get(one) === pid);
  const times = await Promise.all(family.map(processNs));
  return times.reduce((sum, ns) => sum + ns, 0) / 1e6;
}

async function parentsOf(): Promise<ReadonlyMap<number, number>> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const parents = new Map<number, number>();
  for (const pid of pids) {
    // A name may have parentheses; what comes behind the last one has none.
    const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => '');
    const parent = /^ \S (\d+)/.exec(stat.slice(stat.lastIndexOf(')') + 1))?.[1];
    if (parent !== undefined) parents.set(pid, Number(parent));
  }
  return parents;
}

async function processNs(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${String(pid)}/task`).catch(() => []);
  let sum = 0;
  for (const thread of threads) {
    const path = `/proc/${String(pid)}/task/${thread}/schedstat`;
    sum += Number((await readFile(path, 'utf8').catch(() => '0')).split(' ')[0]);
  }
  return sum;
}
