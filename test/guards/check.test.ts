import { expect, test } from 'vitest';
import { Sandbox } from './sandbox.ts';

const steps = [
  'deadcode',
  'direction',
  'engine-names',
  'format',
  'lint',
  'test:unit',
  'typecheck',
] as const;

test('a clean project passes every step', async () => {
  await using sandbox = await Sandbox.create();
  const { code, output } = await sandbox.check();
  expect(output).toMatch(/check: all 7 steps passed in/);
  for (const step of steps) expect(output).toMatch(new RegExp(`^ok +${step} `, 'm'));
  expect(code).toBe(0);
});

test('one fault fails the whole check, whose summary names the step', async () => {
  await using sandbox = await Sandbox.create();
  await sandbox.plant({ 'src/apply/applier.ts': 'export const unsteady: string = 1;\n' });
  const { code, output } = await sandbox.check('format', 'typecheck');
  expect(output).toMatch(/^ok +format /m);
  expect(output).toMatch(/check: 1 of 2 steps failed \(typecheck\)/);
  expect(code).toBe(1);
});

test('a step that does not exist is a mistake, not a success', async () => {
  await using sandbox = await Sandbox.create();
  const { code, output } = await sandbox.check('tpyecheck');
  expect(output).toContain('no such step: tpyecheck');
  expect(code).toBe(3);
});

test('a step whose tool is missing fails', async () => {
  await using sandbox = await Sandbox.create();
  await sandbox.edit('package.json', '"prettier --check ."', '"prettierr --check ."');
  const { code, output } = await sandbox.check('format');
  expect(output).toContain('FAIL format');
  expect(code).toBe(1);
});
