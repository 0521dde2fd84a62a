/**
 * Production emptied a captured table, or one partition of it, while keys may wait. What waits of it goes: the
 * truncate supersedes it. Where a candidate that is at the table keeps it from being locked, each row that
 * production has is deleted instead, and those that the candidate is at wait to be.
 */
import type { ClientBase } from 'pg';
import { tableName } from '../../../change/table-id.ts';
import type { TableSchema } from '../../../schema/table-schema.ts';
import { applyStaged } from './apply-rows.ts';
import { clearStage } from './apply-sql.ts';
import type { ApplyTable } from './apply-table.ts';
import { partitionCondition, truncateCaptured } from './apply-truncate.ts';
import { attempt, withWaiting } from './park-locked.ts';
import { ensureStages } from './stage.ts';
import type { StepContext, StepOutcome } from './step.ts';
import { forgetWaiting, stageAll } from './waiting-sql.ts';

/** As `truncateCaptured`, in the caller's transaction. */
export async function truncateParking(
  context: StepContext,
  captured: ApplyTable,
  truncated: TableSchema,
): Promise<StepOutcome> {
  const { client, source, waiting } = context;
  const table = withWaiting(captured, waiting);
  const act = async (): Promise<StepOutcome> => {
    const done = await truncateCaptured(client, table, { truncated, source });
    if (table.waiting !== null) {
      await client.query(forgetWaiting(table, await within(client, table, truncated)));
    }
    return { ...done, repairs: 0 };
  };
  if (waiting?.parks !== true) return act();
  const done = await attempt(client, act);
  if (done !== null) return done;
  await ensureStages(client, [table], { known: new Set(), used: new Set(), made: new Set() });
  await client.query(clearStage(table));
  await client.query(stageAll(table, await within(client, table, truncated)));
  return applyStaged(context, table);
}

async function within(
  client: ClientBase,
  table: ApplyTable,
  truncated: TableSchema,
): Promise<string> {
  return tableName(truncated.id) === table.label ? 'true' : partitionCondition(client, truncated);
}
