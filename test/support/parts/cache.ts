import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** Where downloaded parts stay between runs. Delete it to have them fetched anew. */
function cacheRoot(): string {
  const cache = process.env['XDG_CACHE_HOME'] ?? '';
  return join(cache === '' ? join(homedir(), '.cache') : cache, 'understudy-test');
}

/**
 * The folder of a part, made on first use. `key` names the part and everything that decides its
 * content (versions), since a folder that is there is never looked into again.
 *
 * Safe among processes: `make` fills a folder of its own, which gets its name when it is complete.
 * Two that need the same part at once both make it; the first one's is kept.
 */
export async function cachedPart(
  key: string,
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const target = join(cacheRoot(), key);
  if (existsSync(target)) return target;
  await mkdir(dirname(target), { recursive: true });
  const partial = await mkdtemp(join(dirname(target), `.${basename(target)}-`));
  try {
    await make(partial);
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
  return target;
}
