import { testFaults } from './fault.ts';

testFaults([
  {
    what: 'a type error in src',
    step: 'typecheck',
    edit: ['src/apply/applier.ts', 'return 1;', "return '1';"],
    says: ['src/apply/applier.ts', 'TS2322'],
  },
  {
    what: 'a type error in a test',
    step: 'typecheck',
    edit: ['test/unit/apply/applier.test.ts', "weight('hide')", "weight('hidden')"],
    says: ['test/unit/apply/applier.test.ts', 'TS2345'],
  },
  {
    what: 'an index that may be undefined',
    step: 'typecheck',
    files: { 'src/apply/planted.ts': 'export const first = (l: number[]): number => l[0];\n' },
    says: ['src/apply/planted.ts', 'TS2322'],
  },
  {
    what: 'syntax that Node cannot strip',
    step: 'typecheck',
    files: { 'src/apply/planted.ts': 'export enum Planted {\n  one,\n}\n' },
    says: ['src/apply/planted.ts', 'TS1294'],
  },
  {
    what: 'a failing unit test',
    step: 'test:unit',
    edit: ['test/unit/apply/applier.test.ts', 'toBe(0)', 'toBe(7)'],
    says: ['a hidden change weighs nothing', /expected \+?0 to be 7/],
  },
  {
    what: 'a failing property test',
    step: 'test:unit',
    edit: ['test/property/weight.property.test.ts', '(0);', '(2);'],
    says: ['a weight is never negative'],
  },
  {
    what: 'a test left as the only one',
    step: 'test:unit',
    edit: ['test/unit/apply/applier.test.ts', 'test(', 'test.only('],
    says: [/only/i],
  },
  {
    what: 'an error nobody handled during a test',
    step: 'test:unit',
    edit: [
      'test/unit/apply/applier.test.ts',
      'expect(weight',
      "void Promise.reject(new Error('unheard'));\n  expect(weight",
    ],
    says: ['unheard'],
  },
]);
