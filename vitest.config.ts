import { defineConfig } from 'vitest/config';

/**
 * One project per kind of test, told apart by place and suffix. None retries: a test that passes
 * only sometimes is broken. `unit` and `property` need nothing but Node; `guards` runs our own
 * checks on planted faults; `db` needs PostgreSQL; `e2e` needs Kafka, Connect and the databases.
 */
const node = { extends: true, test: { environment: 'node' as const } };

export default defineConfig({
  test: {
    retry: 0,
    allowOnly: false,
    // A project without files is a mistake in a pattern, not a success.
    passWithNoTests: false,
    projects: [
      {
        ...node,
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          testTimeout: 60_000,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...node,
        test: {
          name: 'property',
          include: ['test/property/**/*.test.ts'],
          testTimeout: 180_000,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...node,
        test: {
          name: 'guards',
          include: ['test/guards/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        ...node,
        test: {
          name: 'db',
          include: ['test/integration/**/*.db.test.ts'],
          globalSetup: ['test/support/global-stack.ts'],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        ...node,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.e2e.test.ts', 'test/integration/**/*.kafka.test.ts'],
          // A lane of their own, `npm run test:faults`: eight minutes, on a machine that does nothing else.
          exclude: process.env['UNDERSTUDY_FAULTS'] === undefined ? ['test/e2e/faults-*'] : [],
          globalSetup: ['test/support/global-stack.ts'],
          // One file after another: they share brokers, connectors and two cores.
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 600_000,
          sequence: { groupOrder: 3 },
        },
      },
      {
        ...node,
        test: {
          // Every type of every database in every mode, two and more minutes a file.
          name: 'matrix',
          include: ['test/matrix/**/*.e2e.test.ts'],
          globalSetup: ['test/support/global-stack.ts'],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 1_200_000,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
