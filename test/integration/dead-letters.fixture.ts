/** A trunk that follows production's own log, and sets aside what it refuses. */
import type { FollowerParts } from '../../src/apply/follower-parts.ts';
import { expect } from 'vitest';
import type { Follower } from '../../src/apply/follower.ts';
import type { DecodedRecord } from '../../src/change/record.ts';
import type { DeadLetter } from '../../src/dialect/dead-letters.ts';
import { followSlotLog, loggedUntilNow } from '../support/follow-slot-log.ts';
import type { SlotTrunk } from './slot-trunk.fixture.ts';

export type Writes = FollowerParts['database'];

interface Following {
  readonly follower: Follower;
  readonly done: Promise<void>;
  /** Waits until all is applied that production has committed. */
  readonly catchUp: () => Promise<void>;
}

export async function follow(
  at: SlotTrunk,
  options: {
    readonly max?: number;
    readonly writes?: Writes | undefined;
    readonly decode?: (record: DecodedRecord) => DecodedRecord;
  } = {},
): Promise<Following> {
  const { max = 10, writes, decode = (record) => record } = options;
  const { follower, done } = await followSlotLog(at, {
    writes,
    decode: (record) => decode(at.log.decode(record)),
    dead: { box: at.database.deadLetters, catalogue: await at.database.catalogue(), max },
    batchEvents: 50,
  });
  return { follower, done, catchUp: () => catchUp(at, follower) };
}

export async function catchUp(at: SlotTrunk, follower: Follower): Promise<void> {
  const { ends, starts } = await loggedUntilNow(at.production, at.log);
  await follower.until(() => follower.caughtUp(ends, starts));
  expect(follower.state.kind).not.toBe('stopped');
}

/** All that is written, as a whole transaction each. */
export async function commit(at: SlotTrunk, ...transactions: readonly string[]): Promise<void> {
  for (const sql of transactions) await at.production.query(`BEGIN; ${sql}; COMMIT`);
}

export const letters = (at: SlotTrunk): Promise<readonly DeadLetter[]> =>
  at.database.deadLetters.list();
