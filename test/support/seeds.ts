/**
 * Seeded torture: a suite runs the same scenario under many seeds, and every seed must pass. This
 * file holds the suite's interface, the seeded random source and the runner; torture.ts is its
 * command line, test/integration/torture.db.test.ts its lane in CI. See test/torture/README.md.
 */
import { randomInt } from 'node:crypto';
import { Random } from './random.ts';

/** What a suite's run is given beside its seed. */
export interface TortureContext {
  /** All randomness of a run comes from here: the same seed then gives the same schedule. */
  readonly random: Random;
  /** Aborts when the seed's deadline has passed or the person interrupts. Hand it to every wait. */
  readonly signal: AbortSignal;
  /** Remembers one line of what the run did. Printed only if this seed fails. */
  note(line: string): void;
}

/** The opened real parts a suite runs on: one for many seeds, closed at the end. */
export interface TortureStage extends AsyncDisposable {
  /**
   * Plays one seed from a clean state of its own making and resolves if the promise held. Throws
   * otherwise; the runner then disposes the stage and opens a new one for the next seed.
   */
  run(seed: number, context: TortureContext): Promise<void>;
}

/** One suite: the default export of a module test/torture/<name>.ts. */
export interface TortureSuite {
  /** Equals the module's file name without `.ts`; what `--suite` names. */
  readonly name: string;
  /** One sentence: what holds for every seed. Printed before the run. */
  readonly promise: string;
  /** Milliseconds one seed may take; a seed that takes longer has failed. */
  readonly deadlineMs: number;
  /** Seeds that `npm test` plays; 10 if not given. */
  readonly seedsInTests?: number;
  /** Starts or finds what the suite needs. Called outside vitest too: it depends on no globalSetup. */
  open(): Promise<TortureStage>;
}

/** A failed seed, with what it threw and what it had noted. */
export interface FailedSeed {
  readonly seed: number;
  readonly error: unknown;
  readonly notes: readonly string[];
}

export interface TortureOutcome {
  readonly suite: string;
  /** Seeds that ran to an end, well or not. Smaller than asked for only if interrupted. */
  readonly ran: number;
  readonly failed: readonly FailedSeed[];
  readonly interrupted: boolean;
}

/** Seeds are whole numbers in [0, SEED_LIMIT), so that they fit fast-check's 32-bit seeds too. */
export const SEED_LIMIT = 2 ** 31;

/** A fresh base seed, or the one in `given` (UNDERSTUDY_SEED, --seed). Throws if that is no seed. */
export function baseSeed(given: string | undefined): number {
  if (given === undefined || given === '') return randomInt(SEED_LIMIT);
  if (!/^\d{1,10}$/.test(given) || Number(given) >= SEED_LIMIT) {
    throw new RangeError(`not a seed: "${given}" (a whole number below ${SEED_LIMIT})`);
  }
  return Number(given);
}

/** The `count` seeds of a run: `base`, `base + 1`, … wrapping at SEED_LIMIT. */
export function seedsFrom(base: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => (base + index) % SEED_LIMIT);
}

/**
 * Plays `seeds` one after another. Never rejects for a failing seed: it is counted. Rejects if the
 * stage cannot be opened, since then nothing was tested.
 */
export async function runTorture(
  suite: TortureSuite,
  seeds: readonly number[],
  hooks: {
    readonly signal?: AbortSignal | undefined;
    /** After each seed; `failure` is undefined if it held. */
    readonly onSeed?: (done: number, seed: number, failure: FailedSeed | undefined) => void;
  } = {},
): Promise<TortureOutcome> {
  const failed: FailedSeed[] = [];
  let ran = 0;
  let stage: TortureStage | undefined;
  const interrupted = (): boolean => hooks.signal?.aborted === true;
  try {
    for (const seed of seeds) {
      if (interrupted()) break;
      stage ??= await suite.open();
      const failure = await playSeed(suite, stage, seed, hooks.signal);
      // A seed that broke off because the person interrupted says nothing about the suite.
      if (failure !== undefined && interrupted()) break;
      ran += 1;
      if (failure !== undefined) {
        failed.push(failure);
        const broken = stage;
        stage = undefined;
        await broken[Symbol.asyncDispose]();
      }
      hooks.onSeed?.(ran, seed, failure);
    }
  } finally {
    await stage?.[Symbol.asyncDispose]();
  }
  return { suite: suite.name, ran, failed, interrupted: ran < seeds.length };
}

async function playSeed(
  suite: TortureSuite,
  stage: TortureStage,
  seed: number,
  interrupt: AbortSignal | undefined,
): Promise<FailedSeed | undefined> {
  const notes: string[] = [];
  const deadline = new AbortController();
  const signal =
    interrupt === undefined ? deadline.signal : AbortSignal.any([deadline.signal, interrupt]);
  const broken = Promise.withResolvers<never>();
  const onAbort = (): void => broken.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => {
    deadline.abort(new Error(`seed ${seed} took longer than ${suite.deadlineMs} ms`));
  }, suite.deadlineMs);
  try {
    const context: TortureContext = {
      random: new Random(seed),
      signal,
      note: (line) => void notes.push(line),
    };
    // A run that ignores its signal must not hang the runner, hence the race.
    await Promise.race([stage.run(seed, context), broken.promise]);
    return undefined;
  } catch (error) {
    return { seed, error, notes };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

/** The closing line: `suite S: N seeds, K failed (seeds a, b)`. */
export function summarize(outcome: TortureOutcome): string {
  const { suite, ran, failed } = outcome;
  const which = failed.length === 0 ? '' : ` (seeds ${failed.map((f) => f.seed).join(', ')})`;
  const cut = outcome.interrupted ? ', interrupted' : '';
  return `suite ${suite}: ${ran} seeds, ${failed.length} failed${which}${cut}`;
}

/** What a failed seed did and threw, and the command that plays it again. */
export function describeFailure(suite: string, failure: FailedSeed): string {
  const { error, notes, seed } = failure;
  return [
    `seed ${seed} failed: ${told(error)}`,
    ...notes.map((line) => `  | ${line}`),
    `  again: npm run torture -- --suite ${suite} --seeds 1 --seed ${seed}`,
  ].join('\n');
}

/** With what caused it, and what it hides: of two failures, both. */
function told(error: unknown, depth = 0): string {
  if (!(error instanceof Error)) return String(error);
  const { code, context } = error as { readonly code?: string; readonly context?: unknown };
  const facts = [code, context === undefined ? undefined : JSON.stringify(context)];
  const said = facts.flatMap((one) => (one === undefined ? [] : [`\n    ${one}`])).join('');
  const more: readonly (readonly [how: string, error: unknown])[] =
    error instanceof SuppressedError
      ? [
          ['first', error.suppressed as unknown],
          ['then', error.error as unknown],
        ]
      : error.cause === undefined
        ? []
        : [['caused by', error.cause]];
  if (depth > 4) return error.message;
  return [
    `${error.stack ?? error.message}${said}`,
    ...more.map(([how, one]) => `  ${how}: ${told(one, depth + 1)}`),
  ].join('\n');
}
