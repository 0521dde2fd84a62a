/**
 * Every type of PostgreSQL through the real Debezium in every mode and encoding, snapshot and
 * stream, into a shadow by the command line; then both databases are asked whether they are equal.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sharedKafka, sharedRegistry } from '../support/shared-stack.ts';
import type { CliResult } from '../support/understudy.ts';
import { judge, refusalIn } from '../support/types/exceptions.ts';
import { POSTGRESQL_PLAYED } from '../support/types/postgresql.ts';
import {
  POSTGRESQL_EXCEPTIONS,
  POSTGRESQL_REFUSALS,
  writtenTables,
} from '../support/types/postgresql-exceptions.ts';
import { PostgresqlStage } from '../support/types/postgresql-stage.ts';
import { inLanes, refusingRuns } from '../support/types/runs.ts';

/** Command lines at work at once. */
const LANES = 3;
/** Eighteen connectors on a busy machine. */
const OPEN_WITHIN_MS = 1_200_000;

let stage: PostgresqlStage | undefined;
const opened = (): PostgresqlStage => {
  if (stage === undefined) throw new Error('the stage is not open');
  return stage;
};
let results: ReadonlyMap<string, Promise<CliResult>> = new Map();

describe('every type of PostgreSQL', () => {
  beforeAll(async () => {
    stage = await PostgresqlStage.open({
      kafka: await sharedKafka(),
      registry: await sharedRegistry(),
    });
    results = inLanes(LANES, POSTGRESQL_PLAYED, (run) =>
      opened().materialize(run, run.name, writtenTables(run)),
    );
  }, OPEN_WITHIN_MS);

  afterAll(async () => {
    await Promise.allSettled(results.values());
    await stage?.close();
  });

  it.each(POSTGRESQL_PLAYED)(
    'is equal in the shadow, but for what is declared: $name $modes',
    async (run) => {
      const result = await results.get(run.name);
      expect(result?.status, result?.stderr).toBe(0);
      const tables = writtenTables(run);
      const differences = await opened().differences(run.name, tables);
      const exceptions = POSTGRESQL_EXCEPTIONS.filter(({ table }) => tables.includes(table));
      expect(judge(run, differences, exceptions)).toEqual([]);
    },
  );

  it.each(
    POSTGRESQL_REFUSALS.flatMap((refusal) =>
      refusingRuns(POSTGRESQL_PLAYED, refusal.when).map((run) => ({ ...refusal, run })),
    ),
  )(
    'refuses $column of $table with $code in $run.encoding',
    async ({ table, column, code, run }) => {
      const result = await opened().materialize(run, `refused_${run.name}_${table}`, [table]);
      const refusal = refusalIn(result);
      expect(refusal).toContain(code);
      expect(refusal).toContain(column);
    },
  );
});
