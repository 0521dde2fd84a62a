import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guardian } from './guardian.ts';

/** A new folder under the system's folder for temporary files, removed when the process is gone. */
export async function temporaryFolder(name: string): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), `understudy-${name}-`));
  guardian.folder(path);
  return path;
}

/** Removes a folder made by `temporaryFolder`. */
export async function removeFolder(path: string): Promise<void> {
  if (existsSync(path)) {
    await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
  guardian.removed(path);
}
