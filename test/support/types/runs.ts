/** The runs of a type matrix: each value of each mode at least once per encoding, in few runs. */
import { Random } from '../random.ts';
import { baseSeed } from '../seeds.ts';
import type { ConnectorConfig } from '../connect-rest.ts';

/** What a matrix shares with other tests. */
export interface SharedParts {
  readonly kafka: { readonly broker: string };
  readonly registry: { readonly url: string; readonly port: number };
}

export const ENCODINGS = ['schema', 'bare', 'avro'] as const;
/** JSON with schemas, JSON without, Avro. */
export type Encoding = (typeof ENCODINGS)[number];

/** By setting of the connector: the values that are to be seen. */
export type ModeValues = Readonly<Record<string, readonly string[]>>;

export interface Run<Mode extends string = string> {
  /** Lower case letters, digits and underscores. */
  readonly name: string;
  readonly encoding: Encoding;
  /** By mode: the value in this run. */
  readonly modes: Readonly<Record<Mode, string>>;
}

/**
 * As many runs per encoding as the mode of most values has. Values are dealt out round and round,
 * each mode from a start of its own, so that short modes are not all in step.
 */
export function packRuns<Values extends ModeValues>(
  values: Values,
): readonly Run<keyof Values & string>[] {
  const modes = Object.entries(values);
  const count = Math.max(...modes.map(([, all]) => all.length));
  return ENCODINGS.flatMap((encoding, turn) =>
    Array.from({ length: count }, (_, i) => {
      const dealt = modes.map(([mode, all], at) => {
        // The longest mode stands still; the others shift from encoding to encoding, and those of
        // two values also take turns with one another.
        const shift = all.length === count ? 0 : turn + (at % 2) * Math.floor(i / all.length);
        return [mode, all[(i + shift) % all.length] ?? ''] as const;
      });
      return {
        name: `${encoding}${String(i + 1)}`,
        encoding,
        modes: Object.fromEntries(dealt) as Record<keyof Values & string, string>,
      };
    }),
  );
}

/** Every value of every mode occurs in every encoding; throws with what does not. */
export function assertComplete(values: ModeValues, runs: readonly Run[]): void {
  for (const encoding of ENCODINGS) {
    for (const [mode, all] of Object.entries(values)) {
      for (const value of all) {
        const there = runs.some((run) => run.encoding === encoding && run.modes[mode] === value);
        if (!there) throw new Error(`no run of ${encoding} has ${mode} ${value}`);
      }
    }
  }
}

/** `all`, or names of runs with commas between. */
const CHOICE = process.env['UNDERSTUDY_MATRIX'] ?? '';

/**
 * Those that are played: all, or those named by UNDERSTUDY_MATRIX, or else, since all of them take
 * three times as long, one of each encoding by the base seed, and those of other names.
 */
export function playedRuns<R extends Run>(runs: readonly R[], choice = CHOICE): readonly R[] {
  if (choice === 'all') return runs;
  if (choice !== '') {
    const names = new Set(choice.split(','));
    const named = runs.filter(({ name }) => names.has(name));
    if (named.length < names.size) throw new Error(`no such runs: UNDERSTUDY_MATRIX=${choice}`);
    return named;
  }
  const random = new Random(baseSeed(process.env['UNDERSTUDY_SEED']));
  const packed = new Set(
    ENCODINGS.map((encoding) =>
      random.pick(runs.filter((run) => run.encoding === encoding && isPacked(run))),
    ),
  );
  return runs.filter((run) => packed.has(run) || !isPacked(run));
}

/**
 * Where a refusal is to be seen: in one run of each encoding in which it occurs, or in one of all
 * where not all runs are played.
 */
export function refusingRuns<R extends Run>(
  played: readonly R[],
  when: (run: R) => boolean,
): readonly R[] {
  const found = ENCODINGS.flatMap((encoding) =>
    // Published settings are tried on fewer tables.
    played.filter((run) => run.encoding === encoding && isPacked(run) && when(run)).slice(0, 1),
  );
  return CHOICE === '' ? found.slice(0, 1) : found;
}

function isPacked({ name, encoding }: Run): boolean {
  return name.startsWith(encoding);
}

/** The converters' settings for an encoding; Avro's are the registry's own. */
export function converterSettings(encoding: Encoding, avro: ConnectorConfig): ConnectorConfig {
  switch (encoding) {
    case 'schema':
      return {};
    case 'bare':
      return {
        'key.converter.schemas.enable': 'false',
        'value.converter.schemas.enable': 'false',
      };
    case 'avro':
      return avro;
  }
}

/** Does `work` for all runs, so many at a time, in order. A failure is that run's own. */
export function inLanes<R extends Run, T>(
  count: number,
  runs: readonly R[],
  work: (run: R) => Promise<T>,
): ReadonlyMap<string, Promise<T>> {
  const lanes: Promise<unknown>[] = Array.from({ length: count }, () => Promise.resolve());
  const results = new Map<string, Promise<T>>();
  for (const [i, run] of runs.entries()) {
    const result = (lanes[i % count] ?? Promise.resolve()).then(() => work(run));
    results.set(run.name, result);
    lanes[i % count] = result.catch(() => undefined);
  }
  return results;
}

/** Does `work` for all runs, so many at a time; the next begin when all of these are done. */
export async function inWaves<R extends Run>(
  count: number,
  runs: readonly R[],
  work: (run: R) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < runs.length; at += count) {
    await Promise.all(runs.slice(at, at + count).map((run) => work(run)));
  }
}
