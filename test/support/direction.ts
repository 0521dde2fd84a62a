/**
 * `npm run direction`: runs dependency-cruiser by .dependency-cruiser.cjs over src and test, and
 * fails also when a TypeScript file of theirs was not cruised. Without that a cruiser that cannot
 * read TypeScript looks at nothing and reports success.
 */
import { execFile } from 'node:child_process';
import { glob } from 'node:fs/promises';
import { promisify } from 'node:util';

interface Cruise {
  readonly modules: readonly { readonly source: string }[];
  readonly summary: {
    readonly totalDependenciesCruised: number;
    readonly violations: readonly {
      readonly from: string;
      readonly to: string;
      readonly rule: { readonly name: string; readonly severity: string };
      readonly cycle?: readonly { readonly name: string }[];
    }[];
  };
}

const rooms = ['src', 'test'];

async function cruise(): Promise<Cruise> {
  const { stdout } = await promisify(execFile)(
    'depcruise',
    ['--config', '.dependency-cruiser.cjs', '--output-type', 'json', ...rooms],
    { maxBuffer: 256 * 1024 * 1024 },
  );
  return JSON.parse(stdout) as Cruise;
}

const files: string[] = [];
for await (const file of glob(rooms.map((room) => `${room}/**/*.ts`))) {
  if (!file.startsWith('test/fixtures/')) files.push(file);
}
const { modules, summary } = await cruise();
const seen = new Set(modules.map((module) => module.source));
const unseen = files.filter((file) => !seen.has(file));

for (const violation of summary.violations) {
  const path = violation.cycle?.map((step) => step.name).join(' → ') ?? violation.to;
  console.error(`${violation.rule.name}: ${violation.from} → ${path}`);
}
for (const file of unseen) console.error(`not-cruised: ${file}`);
if (files.length === 0) console.error('not-cruised: found no file at all');

const findings = summary.violations.length + unseen.length;
console.error(
  `${files.length} files, ${summary.totalDependenciesCruised} imports, ${findings} findings`,
);
process.exitCode = findings > 0 || files.length === 0 ? 1 : 0;
