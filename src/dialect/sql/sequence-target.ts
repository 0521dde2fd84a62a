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

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
