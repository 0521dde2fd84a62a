/**
 * The frame all benchmarks share. A benchmark is a file test/bench/<name>.ts that describes its
 * cases and ends with `process.exitCode = await benchMain({ … }, process.argv.slice(2))`; its script
 * is `bench:<name>`. `-- --case X` runs one case, `-- --json FILE` also writes the result there.
 *
 * Ours and the peer run in turns within one process run, so that a machine that slows down slows
 * both. A missed goal is reported, not punished: the exit code says only whether it was measured.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { machine } from './machine.ts';
import {
  judge,
  summarizeRuns,
  type BenchResult,
  type Better,
  type CaseResult,
} from './statistics.ts';
import { renderTable } from './table.ts';

/** What one case measures on, opened once for all its runs. */
export interface BenchStage extends AsyncDisposable {
  /** One measured run, from a like state each time; its value in the case's unit, above 0. */
  ours(): Promise<number>;
  /** The same for the peer; or a number: a limit that nobody runs, in the case's unit. */
  readonly theirs: (() => Promise<number>) | number;
}

export interface BenchCase {
  /** What `--case` names. */
  readonly name: string;
  /** The peer or limit: `Debezium JDBC sink`, `limit 300 MiB`. */
  readonly against: string;
  /** Unit of the values: `rows/s`, `ms`, `MiB`. */
  readonly unit: string;
  readonly better: Better;
  /** The ratio ours / theirs to reach: at least (higher) or at most (lower). Null: none is set. */
  readonly goal: number | null;
  open(): Promise<BenchStage>;
}

export interface Bench {
  readonly name: string;
  readonly cases: readonly BenchCase[];
  /** Measured rounds per case, at least 3; each runs both sides. */
  readonly runs: number;
  /** Rounds before, whose values are thrown away. */
  readonly warmups: number;
}

/** Which side ran, and what it measured; `round` is negative while warming up. */
export interface RunNews {
  readonly case: string;
  readonly round: number;
  readonly side: 'ours' | 'theirs';
  readonly value: number;
}

/** Runs `cases` of `bench` one after another. Rejects as soon as a run does, or gives no number. */
export async function runBench(
  bench: Bench,
  cases: readonly BenchCase[],
  onRun: (news: RunNews) => void = () => undefined,
): Promise<BenchResult> {
  if (bench.runs < 3) throw new RangeError('a spread needs at least 3 runs');
  const results: CaseResult[] = [];
  for (const one of cases) results.push(await runCase(bench, one, onRun));
  return { name: bench.name, machine: machine(), cases: results };
}

async function runCase(
  bench: Bench,
  one: BenchCase,
  onRun: (news: RunNews) => void,
): Promise<CaseResult> {
  await using stage = await one.open();
  const { theirs: peer } = stage;
  const values = { ours: [] as number[], theirs: [] as number[] };
  const measure = async (side: 'ours' | 'theirs', round: number): Promise<void> => {
    if (side === 'theirs' && typeof peer === 'number') return;
    const value = side === 'theirs' && typeof peer !== 'number' ? await peer() : await stage.ours();
    if (!Number.isFinite(value) || value <= 0) {
      throw new RangeError(`${one.name}: ${side} measured ${value} ${one.unit}`);
    }
    onRun({ case: one.name, round, side, value });
    if (round >= 0) values[side].push(value);
  };
  for (let round = -bench.warmups; round < bench.runs; round += 1) {
    // Who comes first alternates: the second to run may find warmer or fuller caches.
    const oursFirst = round % 2 === 0;
    await measure(oursFirst ? 'ours' : 'theirs', round);
    await measure(oursFirst ? 'theirs' : 'ours', round);
  }
  return summarizeRuns(one, values.ours, typeof peer === 'number' ? [peer] : values.theirs);
}

/** The command line of a benchmark. Returns the exit code: 0 measured, 3 usage, 6 not measured. */
export async function benchMain(bench: Bench, argv: readonly string[]): Promise<number> {
  let options: { readonly json?: string | undefined; readonly case?: string | undefined };
  try {
    const spec = { json: { type: 'string' }, case: { type: 'string' } } as const;
    options = parseArgs({ args: [...argv], options: spec }).values;
  } catch (error) {
    console.error(`bench ${bench.name}: ${(error as Error).message}`);
    return 3;
  }
  const cases = bench.cases.filter(({ name }) => (options.case ?? name) === name);
  if (cases.length === 0) {
    const names = bench.cases.map(({ name }) => name).join(', ');
    console.error(`bench ${bench.name}: no case "${options.case ?? ''}"; there are: ${names}`);
    return 3;
  }
  try {
    const result = await runBench(bench, cases, ({ case: name, round, side, value }) => {
      const which = round < 0 ? 'warm-up' : `run ${round + 1}/${bench.runs}`;
      console.error(`${name}: ${which}, ${side} ${value.toPrecision(4)}`);
    });
    console.log(renderTable(result));
    const missed = result.cases.filter((one) => judge(one) === 'missed');
    if (missed.length > 0) console.log(`missed: ${missed.map((one) => one.case).join(', ')}`);
    if (options.json !== undefined) {
      await writeFile(options.json, `${JSON.stringify(result, null, 2)}\n`);
    }
    return 0;
  } catch (error) {
    console.error(error);
    return 6;
  }
}
