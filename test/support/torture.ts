/**
 * `npm run torture -- --suite S --seeds N [--seed BASE]`: plays a torture suite under N seeds. The
 * base seed is fresh and printed, or comes from --seed or UNDERSTUDY_SEED. Without --suite it lists
 * the suites. Exit codes: 0 all held, 1 a seed failed, 3 usage, 5 interrupted, 6 nothing tested.
 */
import { parseArgs } from 'node:util';
import {
  baseSeed,
  describeFailure,
  runTorture,
  seedsFrom,
  summarize,
  type TortureOutcome,
} from './seeds.ts';
import { loadSuite, suiteNames, SUITES } from './torture-suites.ts';

interface Arguments {
  readonly suite: string | undefined;
  readonly count: number;
  readonly base: number;
  readonly folder: string;
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      suite: { type: 'string' },
      seeds: { type: 'string', default: '100' },
      seed: { type: 'string' },
      // Where the suites lie; the runner's own tests point it at theirs.
      folder: { type: 'string', default: SUITES },
    },
  });
  if (!/^[1-9]\d*$/.test(values.seeds)) throw new RangeError(`not a count: "${values.seeds}"`);
  const base = baseSeed(values.seed ?? process.env['UNDERSTUDY_SEED']);
  return { suite: values.suite, count: Number(values.seeds), base, folder: values.folder };
}

/** A line that says how far we are: in place on a terminal, every tenth of the way elsewhere. */
function progress(count: number): (done: number, failed: number) => void {
  const started = performance.now();
  const step = Math.max(1, Math.floor(count / 10));
  return (done, failed) => {
    const perSecond = done / ((performance.now() - started) / 1000);
    const left = ((count - done) / perSecond).toFixed(0);
    const line = `${done}/${count} seeds, ${failed} failed, ${perSecond.toFixed(1)}/s, ${left} s left`;
    if (process.stdout.isTTY)
      process.stdout.write(`\r\u001b[K${line}${done === count ? '\n' : ''}`);
    else if (done % step === 0 || done === count) console.log(line);
  };
}

async function play(name: string, { count, base, folder }: Arguments): Promise<TortureOutcome> {
  const suite = await loadSuite(name, folder);
  console.log(`suite ${name}: ${suite.promise}`);
  console.log(`base seed ${base}, ${count} seeds`);
  const interrupt = new AbortController();
  process.once('SIGINT', () => interrupt.abort(new Error('interrupted')));
  process.once('SIGTERM', () => interrupt.abort(new Error('terminated')));
  const show = progress(count);
  let failed = 0;
  const outcome = await runTorture(suite, seedsFrom(base, count), {
    signal: interrupt.signal,
    onSeed: (done, _seed, failure) => {
      if (failure !== undefined) {
        failed += 1;
        console.error(`${process.stdout.isTTY ? '\n' : ''}${describeFailure(name, failure)}`);
      }
      show(done, failed);
    },
  });
  console.log(summarize(outcome));
  return outcome;
}

function exitCode(outcome: TortureOutcome): number {
  if (outcome.failed.length > 0) return 1;
  return outcome.interrupted ? 5 : 0;
}

async function main(): Promise<number> {
  let given: Arguments;
  try {
    given = readArguments();
  } catch (error) {
    console.error(`torture: ${(error as Error).message}`);
    return 3;
  }
  const names = await suiteNames(given.folder);
  if (given.suite === undefined || !names.includes(given.suite)) {
    const asked = given.suite === undefined ? '' : `torture: no suite "${given.suite}"; `;
    console.error(`${asked}suites: ${names.length === 0 ? 'none' : names.join(', ')}`);
    return given.suite === undefined ? 0 : 3;
  }
  try {
    return exitCode(await play(given.suite, given));
  } catch (error) {
    console.error(error);
    return 6;
  }
}

// A stage's servers may leave handles open after a seed that ignored its signal: end all the same.
process.exit(await main());
