/** Where a PostgreSQL shadow is not production's equal, by the loss it stands for. */
import type { Exception } from './exceptions.ts';
import type { PostgresqlRun } from './postgresql.ts';
import { tablesOf } from './postgresql-stage.ts';

/** A table whose values the decoder refuses in some runs, so that nothing of it is written. */
export interface Refusal {
  readonly table: string;
  readonly column: string;
  /** The error's code. */
  readonly code: string;
  readonly when: (run: PostgresqlRun) => boolean;
}

export const POSTGRESQL_REFUSALS: readonly Refusal[] = [];

export const POSTGRESQL_EXCEPTIONS: readonly Exception<PostgresqlRun>[] = [];

/** Names of the tables that a run writes whole. */
export function writtenTables(run: PostgresqlRun): readonly string[] {
  const refused = POSTGRESQL_REFUSALS.filter(({ when }) => when(run)).map(({ table }) => table);
  return tablesOf(run)
    .map(({ name }) => name)
    .filter((name) => !refused.includes(name));
}
