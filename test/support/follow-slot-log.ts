import { expect, onTestFinished } from 'vitest';
import { Follower } from '../../src/apply/follower.ts';
import type { FollowerParts } from '../../src/apply/follower-parts.ts';
import type { OffsetMap } from '../../src/change/position.ts';
import type { Fence, ShadowDatabase } from '../../src/dialect/dialect.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { TransactionAssembler } from '../../src/order/assembler.ts';
import { BatchBuilder } from '../../src/order/batch-builder.ts';
import type { ChangeSource } from '../../src/source/change-source.ts';
import type pg from 'pg';
import type { SlotLog } from './slot-log.ts';

/** A log that reads its records itself. */
type Log = ChangeSource & Pick<FollowerParts, 'decode'>;

/** How a test's follower differs from the usual. */
interface FollowOptions {
  /** What is written to, if not the database itself. */
  readonly writes?: FollowerParts['database'] | undefined;
  readonly decode?: FollowerParts['decode'];
  readonly dead?: FollowerParts['dead'];
  readonly batchEvents: number;
  /** Default 10 s. */
  readonly giveUpAfterMs?: number;
}

/** Follows from where the database stands, as a process that has just started; stops with the test. */
export async function followSlotLog(
  at: { readonly database: ShadowDatabase; readonly fence: Fence; readonly log: Log },
  { writes, decode, dead, batchEvents, giveUpAfterMs = 10_000 }: FollowOptions,
): Promise<{ readonly follower: Follower; readonly done: Promise<void> }> {
  const { database, fence, log } = at;
  const catalogue = await database.catalogue();
  const { position, ahead, delivered } = await database.resumePoint();
  const follower = new Follower(
    {
      ...{ database: writes ?? database, fence, source: log, ahead, logger: silentLogger },
      decode: decode ?? ((record) => log.decode(record)),
      mask: (event) => event,
      assembler: new TransactionAssembler({
        ...{ mode: 'transaction', isSubscribed: () => true, stallLimitMs: 30_000, delivered },
      }),
      builder: (from) => new BatchBuilder({ catalogue, position: from }),
      ...(dead !== undefined && { dead }),
      limits: { batchEvents, batchBytes: 1e7, budgetBytes: 1e8, giveUpAfterMs },
    },
    position,
  );
  const done = follower.run();
  done.catch(() => undefined);
  onTestFinished(async () => {
    follower.stop();
    await done.catch(() => undefined);
  });
  return { follower, done };
}

/** Where the log ends when it has all that production committed up to now. */
export async function loggedUntilNow(
  production: pg.Client,
  log: SlotLog,
): Promise<{ readonly ends: OffsetMap; readonly starts: OffsetMap }> {
  const { rows } = await production.query<{ lsn: string }>(
    `SELECT pg_logical_emit_message(true, 'test', 'mark') - '0/0'::pg_lsn AS lsn`,
  );
  await expect
    .poll(() => log.committed(), { timeout: 10_000 })
    .toBeGreaterThanOrEqual(BigInt(rows[0]?.lsn ?? 0));
  return { ends: await log.ends(), starts: await log.starts() };
}
