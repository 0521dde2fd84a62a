import type { TestProject } from 'vitest/node';
import { startPostgres } from './postgres.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Superuser's URL of the run's PostgreSQL server; read by `test-database.ts`. */
    postgresUrl: string;
  }
}

/**
 * Vitest's globalSetup for every project whose tests need PostgreSQL: one server for the whole
 * run, or the one `TEST_POSTGRES_URL` names (a superuser of a server with `wal_level=logical` and
 * `max_prepared_transactions` above 0). It throws, and so fails the run, if there is none.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const external = process.env['TEST_POSTGRES_URL'];
  if (external !== undefined && external !== '') {
    project.provide('postgresUrl', external);
    return () => Promise.resolve();
  }
  const server = await startPostgres();
  project.provide('postgresUrl', server.url);
  return () => server.stop();
}
