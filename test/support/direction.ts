/**
 * `npm run direction`: judges what dependency-cruiser, piped in as JSON, found in src and test. It
 * fails on every violation of .dependency-cruiser.cjs, and also when a TypeScript file was not
 * cruised: a cruiser that cannot read TypeScript looks at nothing and would report success.
 */
import { text } from 'node:stream/consumers';
import { sourceFiles } from './source-files.ts';

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

const rooms = await Promise.all(['src', 'test'].map(sourceFiles));
const files = rooms.flat().filter((file) => !file.startsWith('test/fixtures/'));
const { modules, summary } = JSON.parse(await text(process.stdin)) as Cruise;
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
