/**
 * `node --import …/watch-reads.ts PROGRAM`: writes every path that the program opened for reading
 * through `fs` into the file that WATCH_READS names, one a line. What node itself loads as modules
 * is seen by a hook; what other programs read is not seen.
 */
import fs from 'node:fs';
import { registerHooks, syncBuiltinESMExports } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const output = process.env['WATCH_READS'];
if (output === undefined) throw new Error('WATCH_READS is not set');
const paths = new Set<string>();
const { writeFileSync } = fs;

type Opening = (path: unknown, ...rest: unknown[]) => unknown;

function watch(holder: object, names: readonly string[]): void {
  const functions = holder as Record<string, Opening>;
  for (const name of names) {
    const original = functions[name];
    if (original === undefined) throw new Error(`there is no ${name} to watch`);
    functions[name] = function watched(this: unknown, path, ...rest) {
      if (typeof path === 'string') paths.add(resolve(path));
      else if (path instanceof URL) paths.add(fileURLToPath(path));
      return original.call(this, path, ...rest);
    };
  }
}

watch(fs, ['readFile', 'readFileSync', 'open', 'openSync', 'createReadStream', 'copyFile', 'cp']);
watch(fs.promises, ['readFile', 'open', 'copyFile', 'cp', 'opendir', 'readdir']);
syncBuiltinESMExports();
registerHooks({
  load(url, context, next) {
    if (url.startsWith('file:')) paths.add(fileURLToPath(url));
    return next(url, context);
  },
});
process.once('exit', () => {
  writeFileSync(output, [...paths].join('\n'));
});
