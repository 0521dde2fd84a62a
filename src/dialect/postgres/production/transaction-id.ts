const EPOCH = 1n << 32n;
const HALF = 1n << 31n;

/**
 * The later of two 32-bit transaction ids that lie less than 2^31 apart, as ids in use always do:
 * past 2^32 counting starts again.
 */
export function newerTxId(a: bigint, b: bigint): bigint {
  const ahead = (((b - a) % EPOCH) + EPOCH) % EPOCH;
  return ahead !== 0n && ahead < HALF ? b : a;
}
