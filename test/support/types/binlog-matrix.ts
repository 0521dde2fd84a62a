/** The tests of the type matrix of MySQL or MariaDB. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sharedKafka, sharedRegistry } from '../shared-stack.ts';
import type { CliResult } from '../understudy.ts';
import { BINLOG_PLAYED } from './binlog.ts';
import { BINLOG_EXCEPTIONS, BINLOG_REFUSALS, binlogWrittenTables } from './binlog-exceptions.ts';
import { BinlogStage, type BinlogEngine } from './binlog-stage.ts';
import { judge, refusalIn } from './exceptions.ts';
import { inLanes, refusingRuns } from './runs.ts';

/** Command lines at work at once. */
const LANES = 3;
/** Fifteen connectors on a busy machine. */
const OPEN_WITHIN_MS = 1_200_000;

/** Declares them; to be called at the top of a test file. */
export function testBinlogTypes(engine: BinlogEngine, name: string): void {
  let stage: BinlogStage | undefined;
  const opened = (): BinlogStage => {
    if (stage === undefined) throw new Error('the stage is not open');
    return stage;
  };
  let results: ReadonlyMap<string, Promise<CliResult>> = new Map();

  describe(`every type of ${name}`, () => {
    beforeAll(async () => {
      stage = await BinlogStage.open(engine, {
        kafka: await sharedKafka(),
        registry: await sharedRegistry(),
      });
      results = inLanes(LANES, BINLOG_PLAYED, (run) =>
        opened().materialize(run, run.name, binlogWrittenTables(engine, run)),
      );
    }, OPEN_WITHIN_MS);

    afterAll(async () => {
      await Promise.allSettled(results.values());
      await stage?.close();
    });

    it.each(BINLOG_PLAYED)(
      'is equal in the shadow, but for what is declared: $name $modes',
      async (run) => {
        const result = await results.get(run.name);
        expect(result?.status, result?.stderr).toBe(0);
        const tables = binlogWrittenTables(engine, run);
        const differences = await opened().differences(run.name, tables);
        expect(judge(run, differences, BINLOG_EXCEPTIONS[engine])).toEqual([]);
      },
    );

    it.each(
      BINLOG_REFUSALS[engine].flatMap((refusal) =>
        refusingRuns(BINLOG_PLAYED, refusal.when).map((run) => ({ ...refusal, run })),
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
}
