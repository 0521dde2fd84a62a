import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The TypeScript files below `room`, sorted, with `room` in front. By readdir and not by `glob` of
 * node:fs: knip takes files that a script globs for used, and would report no dead code any more.
 */
export async function sourceFiles(room: string): Promise<string[]> {
  const files = await readdir(room, { recursive: true });
  return files
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(room, file))
    .toSorted();
}
