import type { ClientBase } from 'pg';
import pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { PlanStatement, ShadowPlan } from '../../../schema/shadow-plan.ts';
import { tellable } from '../session/errors.ts';

/**
 * Runs a plan on an empty database, in one transaction: all of it is there afterwards, or none.
 * An optional statement that fails, or that needs one that failed, is skipped and named in the
 * result. Session settings a plan makes do not outlive it. The client must be idle.
 * `adapt` runs last in the same transaction; what it leaves out is added to the result.
 * Errors: SCHEMA_FAILED naming the statement; SHADOW_UNREACHABLE if the connection breaks.
 */
export async function runPlan(
  client: ClientBase,
  plan: ShadowPlan,
  onProgress?: (done: number, total: number) => void,
  adapt?: () => Promise<readonly string[]>,
): Promise<{ readonly skipped: readonly string[] }> {
  const skipped = new Map<string, string>();
  let leftOut: readonly string[] = [];
  const total = plan.statements.length;
  await client.query('BEGIN');
  try {
    for (const [done, statement] of plan.statements.entries()) {
      onProgress?.(done, total);
      const why = await runStatement(client, statement, skipped);
      if (why !== null && !skipped.has(statement.what)) skipped.set(statement.what, why);
    }
    if (adapt !== undefined) leftOut = await adapted(adapt);
    await client.query('COMMIT');
  } catch (error) {
    await abandon(client);
    if (error instanceof UnderstudyError) throw error;
    throw new UnderstudyError('SHADOW_UNREACHABLE', 'lost it while making the schema', {}, error);
  }
  // A plan from a file may have set what outlives the transaction.
  await client.query('RESET ALL');
  onProgress?.(total, total);
  return { skipped: [...[...skipped].map(([what, why]) => `${what}: ${why}`), ...leftOut] };
}

async function adapted(adapt: () => Promise<readonly string[]>): Promise<readonly string[]> {
  try {
    return await adapt();
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    const what = 'cannot adapt the schema to the account';
    throw new UnderstudyError('SCHEMA_FAILED', what, { detail: tellable(error) }, error);
  }
}

/** Null if it ran, else why it was skipped. */
async function runStatement(
  client: ClientBase,
  statement: PlanStatement,
  skipped: ReadonlyMap<string, string>,
): Promise<string | null> {
  const missing = (statement.needs ?? []).filter((need) => skipped.has(need));
  if (skipped.has(statement.what)) return skipped.get(statement.what) ?? null;
  if (missing.length > 0 && statement.optional) return `it needs ${missing.join(', ')}`;
  if (!statement.optional) {
    try {
      await client.query(statement.sql);
      return null;
    } catch (error) {
      throw failure(error, statement, missing);
    }
  }
  await client.query('SAVEPOINT optional');
  try {
    await client.query(statement.sql);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw failure(error, statement, missing);
    await client.query('ROLLBACK TO SAVEPOINT optional');
    await client.query('RELEASE SAVEPOINT optional');
    return tellable(error);
  }
  await client.query('RELEASE SAVEPOINT optional');
  return null;
}

function failure(
  error: unknown,
  statement: PlanStatement,
  missing: readonly string[],
): UnderstudyError {
  if (!(error instanceof pg.DatabaseError)) {
    return new UnderstudyError('SHADOW_UNREACHABLE', `lost it at ${statement.what}`, {}, error);
  }
  const because = missing.length === 0 ? '' : `; it needs ${missing.join(', ')}, which failed`;
  return new UnderstudyError(
    'SCHEMA_FAILED',
    `cannot make ${statement.what}`,
    { detail: `${tellable(error)}${because}` },
    error,
  );
}

/** Ends the transaction; a broken connection has ended it already. */
async function abandon(client: ClientBase): Promise<void> {
  try {
    await client.query('ROLLBACK');
  } catch (error) {
    if (error instanceof pg.DatabaseError) throw error;
  }
}
