import { testFaults, type Fault } from './fault.ts';

const file = 'src/apply/planted.ts';
const lint = (
  what: string,
  content: string,
  rule: string,
  others: Readonly<Record<string, string>> = {},
): Fault => ({
  what,
  step: 'lint',
  files: { [file]: content, ...others },
  says: [rule, file],
});

testFaults([
  {
    what: 'an unformatted file',
    step: 'format',
    edit: ['src/apply/applier.ts', 'return 1;', 'return    1'],
    says: ['src/apply/applier.ts'],
  },
  lint(
    'a floating promise',
    `async function work(): Promise<void> {}
export function start(): void {
  work();
}
`,
    'no-floating-promises',
  ),
  lint(
    'a promise where none is awaited',
    `export function start(emitter: { on(listener: () => void): void }): void {
  emitter.on(async () => {});
}
`,
    'no-misused-promises',
  ),
  lint(
    'a switch that forgets a member',
    `export function weight(decision: 'apply' | 'hide'): number {
  switch (decision) {
    case 'apply':
      return 1;
  }
  return 0;
}
`,
    'switch-exhaustiveness-check',
  ),
  lint(
    'a switch whose default swallows a member',
    `export function weight(decision: 'apply' | 'hide'): number {
  switch (decision) {
    case 'apply':
      return 1;
    default:
      return 0;
  }
}
`,
    'switch-exhaustiveness-check',
  ),
  lint('any', 'export const value: any = 1;\n', 'no-explicit-any'),
  lint(
    'a value of type any in use',
    "export const value: string = JSON.parse('1');\n",
    'no-unsafe-assignment',
  ),
  lint('the console in src', "console.log('seen');\n", 'no-console'),
  lint('a barrel', "export * from './applier.ts';\n", 'no-barrel-file'),
  lint(
    'a cycle of types',
    `import type { Other } from './other.ts';
export type Planted = { other: Other | null };
`,
    'no-cycle',
    {
      'src/apply/other.ts': `import type { Planted } from './planted.ts';
export type Other = { planted: Planted | null };
`,
    },
  ),
  lint(
    'the environment outside config',
    "export const home = process.env['HOME'];\n",
    'process-env',
  ),
  lint(
    'an exit outside main',
    'export function stop(): never {\n  process.exit(1);\n}\n',
    'no-process-exit',
  ),
  lint(
    'a non-null assertion',
    'export const first = (list: number[]): number => list[0]!;\n',
    'no-non-null-assertion',
  ),
  lint(
    'a thrown string',
    "export function fail(): never {\n  throw 'no';\n}\n",
    'no-throw-literal',
  ),
  lint('unfinished work', `// ${'TO'}DO: later\nexport const late = 1;\n`, 'no-warning-comments'),
  lint(
    'a swallowed error',
    'export function quiet(): void {\n  try {\n    quiet();\n  } catch {}\n}\n',
    'no-empty',
  ),
  lint('a file above 500 lines', `${'export {};\n'.repeat(501)}`, 'max-lines'),
  lint(
    'an idle disable directive',
    '// oxlint-disable-next-line no-console\nexport const idle = 1;\n',
    'no-console',
  ),
]);
