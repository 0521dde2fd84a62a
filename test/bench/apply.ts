/**
 * `npm run bench:apply`: a log of real Debezium events applied into PostgreSQL, by us and by
 * Debezium's own JDBC sink, from the same topic into databases of one server.
 *
 * Cases: `snapshot`, the events of a table's initial snapshot; `changes`, updates, inserts and
 * deletes in transactions. `BENCH_ROWS` sets the table's rows (default 100000; two fifths as many
 * changes): with few, what is measured is how fast either side starts.
 */
import { env } from 'node:process';
import { makeAccountsLog, type LogContent } from './accounts-log.ts';
import { benchMain, type BenchCase, type BenchStage } from './frame.ts';
import { runJdbcSink } from './jdbc-sink.ts';
import { runUnderstudy } from './our-run.ts';

const rows = Number(env['BENCH_ROWS'] ?? 100_000);
if (!Number.isInteger(rows) || rows < 100 || rows % 100 !== 0) {
  throw new RangeError('BENCH_ROWS: expected a multiple of 100');
}

async function openStage(content: LogContent): Promise<BenchStage> {
  const log = await makeAccountsLog(content);
  let runs = 0;
  // Each run has a database, and the sink a consumer group, that no run had before.
  const name = (side: string): string => `${side}_${String((runs += 1))}`;
  return {
    ours: () => runUnderstudy(log, name('ours')),
    theirs: () => runJdbcSink(log, name('sink')),
    [Symbol.asyncDispose]: () => log[Symbol.asyncDispose](),
  };
}

const common = {
  against: 'Debezium JDBC sink',
  unit: 'rows/s',
  better: 'higher',
  // None is set until the cases have been measured often enough on a machine with nothing else to do.
  goal: null,
} as const;

const cases: readonly BenchCase[] = [
  { name: 'snapshot', ...common, open: () => openStage({ rows, changes: 0 }) },
  {
    name: 'changes',
    ...common,
    open: () => openStage({ rows, changes: (rows * 2) / 5 }),
  },
];

process.exitCode = await benchMain(
  { name: 'apply', cases, runs: 5, warmups: 1 },
  process.argv.slice(2),
);
