import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os';

/** What the numbers were measured on, in one line; no host name. */
export function machine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  const memory = (totalmem() / 2 ** 30).toFixed(1);
  const system = `${platform()} ${release()} ${arch()}`;
  return `${availableParallelism()} x ${model}, ${memory} GiB, ${system}, node ${process.version}`;
}
