/** A real file system that is small, to be filled: what it says then is the kernel's own ENOSPC. */
import { chown, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { removeFolder, temporaryFolder } from './process/folders.ts';
import { runCommand } from './process/run-command.ts';

export interface SmallDisk extends AsyncDisposable {
  /** A folder on it, owned by whom it was made for. */
  readonly folder: string;
  /** Takes all the room that is left. */
  fill(): Promise<void>;
  /** Gives that room back. */
  free(): Promise<void>;
}

/** A tmpfs of so many MiB. The tests run as root, or may use sudo without a password. */
export async function smallDisk(
  mebibytes: number,
  owner?: { readonly uid: number; readonly gid: number },
): Promise<SmallDisk> {
  const root = await temporaryFolder('disk');
  const asRoot = async (command: string, ...args: readonly string[]): Promise<void> => {
    const root = process.getuid?.() === 0;
    await runCommand(root ? command : 'sudo', root ? args : ['-n', command, ...args], { cwd: '/' });
  };
  await asRoot('mount', '-t', 'tmpfs', '-o', `size=${String(mebibytes)}m,mode=0777`, 'tmpfs', root);
  const folder = path.join(root, 'data');
  await mkdir(folder);
  if (owner !== undefined) await chown(folder, owner.uid, owner.gid);
  const ballast = path.join(root, 'ballast');
  return {
    folder,
    async fill() {
      // Larger than the disk: what does not fit is what it is for.
      const all = writeFile(ballast, Buffer.alloc(mebibytes * 1024 * 1024));
      await all.catch((error: unknown) => {
        if ((error as { code?: string }).code !== 'ENOSPC') throw error;
      });
    },
    free: () => rm(ballast, { force: true }),
    async [Symbol.asyncDispose]() {
      await asRoot('umount', '-l', root);
      await removeFolder(root);
    },
  };
}
