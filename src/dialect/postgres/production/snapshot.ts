/**
 * What a PostgreSQL snapshot sees, from its text `xmin:xmax:xip,…` (pg_current_snapshot, 64-bit
 * ids). Pure.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SnapshotView } from '../../dialect.ts';

const EPOCH = 1n << 32n;
const HALF = 1n << 31n;

/**
 * The 64-bit id behind a 32-bit one: the one nearest to `near`. Right as long as they lie less
 * than 2^31 transactions apart, which PostgreSQL itself enforces for ids in use.
 */
export function widen(txId: number, near: bigint): bigint {
  let distance = (BigInt(txId) - near) % EPOCH;
  if (distance < 0n) distance += EPOCH;
  if (distance >= HALF) distance -= EPOCH;
  return near + distance;
}

/** MANIFEST_INVALID if the text is not a snapshot. */
export function parseSnapshot(snapshot: string): SnapshotView {
  const parts = /^(\d+):(\d+):((?:\d+(?:,\d+)*)?)$/.exec(snapshot);
  const [, xminText, xmaxText, xipText] = parts ?? [];
  if (xminText === undefined || xmaxText === undefined || xipText === undefined) {
    throw new UnderstudyError('MANIFEST_INVALID', 'not a snapshot of PostgreSQL', {
      detail: snapshot.slice(0, 100),
    });
  }
  const xmin = BigInt(xminText);
  const xmax = BigInt(xmaxText);
  const running = new Set(xipText === '' ? [] : xipText.split(',').map(BigInt));
  const visible = (txId: number): boolean => {
    const full = widen(txId, xmax);
    return full < xmin || (full < xmax && !running.has(full));
  };
  return {
    snapshot,
    visible,
    sees(source) {
      const txId = 'txId' in source ? source.txId : null;
      return txId === null ? null : visible(txId);
    },
    seesTransaction: (id) => (/^\d+$/.test(id) ? visible(Number(id)) : null),
    complete(txId) {
      const full = widen(txId, xmax);
      if (full < xmin) return true;
      return full < xmax && [...running].every((id) => id > full);
    },
  };
}
