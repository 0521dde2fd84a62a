/** The benchmarks' arithmetic. Pure. */

export type Better = 'higher' | 'lower';

/** One line of a benchmark's result; the names are a contract with whoever reads `--json`. */
export interface CaseResult {
  readonly case: string;
  readonly against: string;
  /** ours / theirs: the median of the rounds' ratios, each of two runs beside each other. */
  readonly ratio: number;
  /** (max - min) / median of the runs; of the side that varies more. */
  readonly spread: number;
  /** The ratio to reach, or null where none is set. */
  readonly goal: number | null;
  readonly better: Better;
  readonly unit: string;
  /** Median of our runs, in `unit`. */
  readonly ours: number;
  /** Median of the peer's runs, or the limit, in `unit`. */
  readonly theirs: number;
}

/** What `--json` writes. */
export interface BenchResult {
  readonly name: string;
  readonly machine: string;
  readonly cases: readonly CaseResult[];
}

/** The middle value; between the two middle ones of an even number. Throws on none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  if (upper === undefined || lower === undefined) throw new RangeError('a median of no values');
  return (lower + upper) / 2;
}

/** (max - min) / median: 0 for a single value, such as a limit. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}

/**
 * The line of a case from the values of both sides, round by round; a limit is one value of theirs.
 * Ratios are made within a round: a machine that slows down slows both of its runs.
 */
export function summarizeRuns(
  spec: {
    readonly name: string;
    readonly against: string;
    readonly unit: string;
    readonly better: Better;
    readonly goal: number | null;
  },
  oursRuns: readonly number[],
  theirsRuns: readonly number[],
): CaseResult {
  const ours = median(oursRuns);
  const theirs = median(theirsRuns);
  return {
    case: spec.name,
    against: spec.against,
    ratio: median(oursRuns.map((value, round) => value / (theirsRuns[round] ?? theirs))),
    spread: Math.max(spread(oursRuns), spread(theirsRuns)),
    goal: spec.goal,
    better: spec.better,
    unit: spec.unit,
    ours,
    theirs,
  };
}

/** Whether the ratio reaches the goal; exactly the goal reaches it. */
export function judge(
  result: Pick<CaseResult, 'ratio' | 'goal' | 'better'>,
): 'met' | 'missed' | 'no goal' {
  if (result.goal === null) return 'no goal';
  switch (result.better) {
    case 'higher':
      return result.ratio >= result.goal ? 'met' : 'missed';
    case 'lower':
      return result.ratio <= result.goal ? 'met' : 'missed';
  }
}
