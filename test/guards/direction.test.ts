import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { testFaults, type Fault } from './fault.ts';

/** A file at `path` that imports `imported`, where `end` lies; `rule` must name it. */
function importing(
  what: string,
  path: string,
  imported: string,
  rule: string,
  end: Readonly<Record<string, string>> = {},
): Fault {
  return {
    what,
    step: 'direction',
    files: { [path]: `import '${imported}';\n`, ...end },
    says: [`${rule}: ${path} `],
  };
}

const faults: readonly Fault[] = [
  importing(
    'an import upwards',
    'src/overlay/planted.ts',
    '../apply/applier.ts',
    'upward-from-config-observability-decode-mask-order-overlay-report',
  ),
  importing(
    'an import upwards within the lowest rooms',
    'src/util/planted.ts',
    '../overlay/decision.ts',
    'upward-from-util',
  ),
  importing(
    'an import sideways',
    'src/drift/planted.ts',
    '../apply/applier.ts',
    'sideways-in-apply-rollout-drift-doctor-bootstrap',
  ),
  importing('pg outside its dialect', 'src/apply/planted.ts', 'pg', 'fence-dialect-postgres'),
  importing(
    'pg in the demo, but for its candidate',
    'src/demo/planted.ts',
    'pg',
    'fence-dialect-postgres',
  ),
  importing(
    'pg in a neighbour of the candidate',
    'src/demo/candidate.ts.d/planted.ts',
    'pg',
    'fence-dialect-postgres',
  ),
  importing(
    'pg in another dialect',
    'src/dialect/mysql/planted.ts',
    'pg',
    'fence-dialect-postgres',
  ),
  importing(
    'pg-copy-streams outside its dialect',
    'src/drift/planted.ts',
    'pg-copy-streams',
    'fence-dialect-postgres',
  ),
  {
    what: 'a type of pg outside its dialect',
    step: 'direction',
    files: {
      'src/apply/planted.ts': "import type { Pool } from 'pg';\nexport type Planted = Pool;\n",
    },
    says: ['fence-dialect-postgres: src/apply/planted.ts '],
  },
  importing(
    'mysql2 outside its dialect',
    'src/dialect/postgres/planted.ts',
    'mysql2',
    'fence-dialect-mysql',
  ),
  importing(
    'kafkajs outside its source',
    'src/runtime/planted.ts',
    'kafkajs',
    'fence-source-kafka',
  ),
  importing(
    'a codec outside its source',
    'src/decode/planted.ts',
    'snappyjs',
    'fence-source-kafka',
  ),
  importing('avsc outside decode', 'src/source/planted.ts', 'avsc', 'fence-decode'),
  importing('pino outside observability', 'src/apply/planted.ts', 'pino', 'fence-observability'),
  importing(
    'commander outside the command line',
    'src/runtime/planted.ts',
    'commander',
    'fence-cli',
  ),
  importing('a room without a layer', 'src/main.ts', './misc/planted.ts', 'unknown-room', {
    'src/misc/planted.ts': "import '../util/assert.ts';\n",
  }),
  {
    what: 'a cycle of types',
    step: 'direction',
    files: {
      'src/apply/one.ts': "import type { Two } from './two.ts';\nexport type One = Two | 1;\n",
      'src/apply/two.ts': "import type { One } from './one.ts';\nexport type Two = One | 2;\n",
    },
    says: ['no-cycle: src/apply/one.ts '],
  },
  importing(
    "an import of a dialect's inside",
    'src/apply/planted.ts',
    '../dialect/postgres/index.ts',
    'dialect-is-closed',
  ),
  importing(
    'an import of the registry',
    'src/apply/planted.ts',
    '../dialect/registry.ts',
    'registry-only-in-composition',
  ),
  importing(
    'an import of one dialect by another',
    'src/dialect/mysql/planted.ts',
    '../postgres/index.ts',
    'dialects-are-strangers',
  ),
  importing(
    "an import of a source's inside",
    'src/apply/planted.ts',
    '../source/kafka/client.ts',
    'source-is-closed',
    { 'src/source/kafka/client.ts': "import '../../util/assert.ts';\n" },
  ),
  importing(
    'an import of a test',
    'src/apply/planted.ts',
    '../../test/support/global-stack.ts',
    'src-never-imports-test',
  ),
  importing(
    'a development package in src',
    'src/apply/planted.ts',
    'prettier',
    'src-never-imports-dev-packages',
  ),
  importing('an unlisted package', 'src/apply/planted.ts', 'semver', 'no-unlisted-package'),
  importing('an import that leads nowhere', 'src/apply/planted.ts', './nowhere.ts', 'resolvable'),
  {
    what: 'an orphan',
    step: 'direction',
    files: { 'src/apply/planted.ts': 'export const alone = 1;\n' },
    says: ['no-orphan: src/apply/planted.ts '],
  },
  {
    what: 'a cruise that looks at nothing',
    step: 'direction',
    edit: ['.dependency-cruiser.cjs', "'^test/fixtures/'", "'.'"],
    says: ['not-cruised: src/main.ts'],
  },
  {
    what: 'a cruise that overlooks a room',
    step: 'direction',
    edit: ['.dependency-cruiser.cjs', "'^test/fixtures/'", "'^src/apply/'"],
    says: ['not-cruised: src/apply/applier.ts'],
  },
];

testFaults(faults);

test('every rule of direction has a planted fault', () => {
  const config = createRequire(import.meta.url)('../../.dependency-cruiser.cjs') as {
    readonly forbidden: readonly { readonly name: string }[];
  };
  const said = faults.flatMap((fault) => fault.says.map(String));
  const planted = (name: string): boolean => said.some((text) => text.startsWith(`${name}: `));
  const families = /^(upward-from|sideways-in)-/;
  const bare = config.forbidden.filter(({ name }) => !families.test(name) && !planted(name));
  expect(bare.map(({ name }) => name)).toEqual([]);
});
