/** Above production's ids for good, and still exact as a JavaScript number. */
const BIGINT_FLOOR = 2n ** 52n;
/** A range this wide has room for BIGINT_FLOOR and as much again beyond it. */
const WIDE = 2n ** 62n;

/**
 * Where a sequence goes on in a rollout so that its values meet none of production's: 2^52 for
 * bigint, three quarters of the way up for what is smaller (int 1.5 * 2^30, smallint 24576), the
 * same below zero for a descending one. Null if it is there already. The step's rhythm is kept.
 */
export function sequenceTarget(sequence: {
  readonly increment: bigint;
  readonly start: bigint;
  readonly low: bigint;
  readonly high: bigint;
  readonly last: bigint | null;
  readonly widths: readonly number[];
}): bigint | null {
  const { increment, start, last, widths } = sequence;
  const width = BigInt(Math.min(8, ...widths));
  const reach = 2n ** (width * 8n - 1n);
  const up = increment > 0n;
  const limit = up ? min(sequence.high + 1n, reach) : min(-sequence.low, reach);
  const distance = limit >= WIDE ? BIGINT_FLOOR : (limit * 3n) / 4n;
  const goal = up ? distance : -distance;
  const steps = (goal - start) / increment;
  const target = start + steps * increment;
  const beyond = up ? target <= (last ?? start) : target >= (last ?? start);
  return beyond || target < sequence.low || target > sequence.high ? null : target;
}

/**
 * Where one goes on that is moved to `target` while there are numbers from there on: after `furthest` of them, in
 * the step's rhythm. At `target` if that leaves none.
 */
export function nextAbove(sequence: {
  readonly increment: bigint;
  readonly target: bigint;
  readonly low: bigint;
  readonly high: bigint;
  readonly widths: readonly number[];
  readonly furthest: bigint | null;
}): bigint {
  const { increment, target, furthest } = sequence;
  if (furthest === null) return target;
  const next = target + ((furthest - target) / increment + 1n) * increment;
  const { low, high } = withinWidth(sequence);
  return next < low || next > high ? target : next;
}

/** A sequence's bounds as far as the columns that it feeds can hold its numbers. */
export function withinWidth(sequence: {
  readonly low: bigint;
  readonly high: bigint;
  readonly widths: readonly number[];
}): { readonly low: bigint; readonly high: bigint } {
  const reach = 2n ** (8n * BigInt(Math.min(8, ...sequence.widths)) - 1n);
  return { low: -min(-sequence.low, reach), high: min(sequence.high, reach - 1n) };
}

/**
 * Share of production's numbers that is used up, and of those a rollout has, of a sequence that goes on at
 * `target` there. `theirs`: production's number that is furthest along, `ours`: the rollout's; null for none.
 */
export function usedShares(sequence: {
  readonly start: bigint;
  readonly target: bigint;
  readonly low: bigint;
  readonly high: bigint;
  readonly theirs: bigint | null;
  readonly ours: bigint | null;
}): { readonly production: number; readonly candidate: number } {
  const { start, target, low, high, theirs, ours } = sequence;
  const end = target > start ? high : low;
  return {
    production: theirs === null ? 0 : share(theirs - start, target - start),
    candidate: ours === null ? 0 : share(ours - target, end - target),
  };
}

function share(done: bigint, all: bigint): number {
  return all === 0n ? 1 : Math.max(0, Number(done) / Number(all));
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
