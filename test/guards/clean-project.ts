/** The faultless small project of the sandbox: path to content. It has a room of most layers. */
export const cleanProject: Readonly<Record<string, string>> = {
  'src/util/assert.ts': `export function unreachable(value: never): never {
  throw new Error(\`unreachable: \${JSON.stringify(value)}\`);
}
`,
  'src/overlay/decision.ts': `export type Decision = 'apply' | 'hide';
`,
  'src/dialect/dialect.ts': `import type { Decision } from '../overlay/decision.ts';

export interface Dialect {
  write(decision: Decision): Promise<number>;
}
`,
  'src/dialect/postgres/index.ts': `import pg from 'pg';
import type { Dialect } from '../dialect.ts';

export function postgresDialect(url: string): Dialect {
  const pool = new pg.Pool({ connectionString: url });
  return {
    async write(decision): Promise<number> {
      const result = await pool.query('SELECT $1', [decision]);
      return result.rowCount ?? 0;
    },
  };
}
`,
  'src/dialect/registry.ts': `import type { Dialect } from './dialect.ts';
import { postgresDialect } from './postgres/index.ts';

export function openDialect(url: string): Dialect {
  return postgresDialect(url);
}
`,
  'src/apply/applier.ts': `import type { Dialect } from '../dialect/dialect.ts';
import type { Decision } from '../overlay/decision.ts';
import { unreachable } from '../util/assert.ts';

export function weight(decision: Decision): number {
  switch (decision) {
    case 'apply':
      return 1;
    case 'hide':
      return 0;
    default:
      return unreachable(decision);
  }
}

export async function apply(dialect: Dialect): Promise<number> {
  return (await dialect.write('apply')) * weight('apply');
}
`,
  'src/main.ts': `import { run } from './runtime/run.ts';

process.exitCode = await run();
`,
  'src/runtime/run.ts': `import { apply } from '../apply/applier.ts';
import { openDialect } from '../dialect/registry.ts';

export async function run(): Promise<number> {
  return apply(openDialect('localhost'));
}
`,
  'test/unit/apply/applier.test.ts': `import { expect, test } from 'vitest';
import { weight } from '../../../src/apply/applier.ts';

test('a hidden change weighs nothing', () => {
  expect(weight('hide')).toBe(0);
});
`,
  'test/property/weight.property.test.ts': `import { expect, test } from 'vitest';
import { weight } from '../../src/apply/applier.ts';

test('a weight is never negative', () => {
  expect(weight('apply')).toBeGreaterThanOrEqual(0);
});
`,
  'test/support/global-postgres.ts': `export default function setup(): void {}
`,
  'test/support/global-stack.ts': `export default function setup(): void {}
`,
};
