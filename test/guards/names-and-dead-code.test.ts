import { testFaults, type Fault } from './fault.ts';

const naming = (what: string, content: string): Fault => ({
  what,
  step: 'engine-names',
  files: { 'src/apply/planted.ts': content },
  says: [/engine-name: src\/apply\/planted\.ts:\d+ /],
});

testFaults([
  naming('an engine in a string', "export const engine = 'mariadb';\n"),
  naming('an engine in a template', 'export const at = (n: number) => `MySQL ${n}`;\n'),
  naming('an engine in an identifier', 'export const isPostgres = true;\n'),
  naming('an engine in a regular expression', 'export const pattern = /^postgres/;\n'),
  naming('an engine in a package name', "import 'mysql2';\n"),
  {
    what: 'an engine in a file name',
    step: 'engine-names',
    files: { 'src/apply/postgres-applier.ts': 'export const value = 1;\n' },
    says: ['engine-name: src/apply/postgres-applier.ts:0 '],
  },
  {
    what: 'an unused export',
    step: 'deadcode',
    edit: ['src/util/assert.ts', 'export function', 'export const idle = 1;\n\nexport function'],
    says: ['Unused exports', 'idle', 'src/util/assert.ts'],
  },
  {
    what: 'an unused file',
    step: 'deadcode',
    files: { 'src/apply/planted.ts': 'export const value = 1;\n' },
    says: ['Unused files', 'src/apply/planted.ts'],
  },
  {
    what: 'a file of src that only tests use',
    step: 'deadcode',
    files: {
      'src/apply/planted.ts': 'export const value = 1;\n',
      'test/unit/apply/planted.test.ts': `import { expect, test } from 'vitest';
import { value } from '../../../src/apply/planted.ts';

test('a value', () => {
  expect(value).toBe(1);
});
`,
    },
    says: ['Unused files', 'src/apply/planted.ts'],
  },
  {
    what: 'an unused dependency',
    step: 'deadcode',
    edit: ['package.json', '"dependencies": {', '"dependencies": {\n    "yaml": "2.9.1",'],
    says: ['Unused dependencies', 'yaml'],
  },
  {
    what: 'an unused development dependency',
    step: 'deadcode',
    edit: ['package.json', '"devDependencies": {', '"devDependencies": {\n    "semver": "7.0.0",'],
    says: ['Unused devDependencies', 'semver'],
  },
  {
    what: 'an unlisted dependency',
    step: 'deadcode',
    edit: ['src/main.ts', 'import', "import 'zod';\nimport"],
    says: ['Unlisted dependencies', 'zod'],
  },
]);
