import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { PlanStatement, ShadowPlan } from '../../../schema/shadow-plan.ts';
import type { Client } from '../session/client.ts';
import { isConnectionLoss, serverError, tellable } from '../session/errors.ts';
import { defineProgram } from './defined-programs.ts';
import { moveCode, NOT_SURE } from './moved-names.ts';

/**
 * As definitions are written by the servers: with backslashes that escape. Dates that production
 * has as defaults are taken. Tables may come in any order.
 */
const DEFINING = 'ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION';
const SETTINGS = `SET SESSION sql_mode = '${DEFINING}', foreign_key_checks = 0`;

/** `USE shop`: says whose schema a file is; what it makes goes into the shadow database. */
const USE = /^USE\s+(?:`((?:[^`]|``)+)`|(\w+))$/i;
const OTHER_DATABASE = /^(CREATE|DROP)\s+(DATABASE|SCHEMA)\b/i;

/**
 * Name of the database in production whose schema a plan is. Events name their tables by it.
 * CONFIG_INVALID if the plan does not tell, or is of several.
 */
export function sourceDatabase(plan: ShadowPlan): string {
  const named = plan.statements.flatMap(({ sql }) => {
    const found = USE.exec(sql.trim());
    return found === null ? [] : [found[1]?.replaceAll('``', '`') ?? found[2] ?? ''];
  });
  const names = [...new Set([...plan.tables.map((table) => table.schema), ...named])];
  const [only] = names;
  if (only !== undefined && names.length === 1) return only;
  throw new UnderstudyError(
    'CONFIG_INVALID',
    only === undefined
      ? 'the schema does not tell which database of production it is of'
      : `a shadow database follows one database of production, not ${names.join(', ')}`,
    {
      detail:
        only === undefined
          ? 'let the schema file begin with `USE name;`'
          : 'narrow tables.include to one database, and follow the others by configurations of their own',
    },
  );
}

/**
 * Runs a plan; `database` is the client's default database, and the empty one to fill. These servers commit at
 * every such statement, so that after a failure the caller drops what was made. An optional
 * statement that fails, or that needs one that failed, is skipped and named in the result.
 * Errors: SCHEMA_FAILED naming the statement; SHADOW_UNREACHABLE if the connection breaks.
 */
export async function runPlan(
  client: Client,
  database: string,
  plan: ShadowPlan,
  onProgress?: (done: number, total: number) => void,
): Promise<{ readonly skipped: readonly string[] }> {
  await client.run(SETTINGS);
  const skipped = new Map<string, string>();
  const total = plan.statements.length;
  for (const [done, statement] of plan.statements.entries()) {
    onProgress?.(done, total);
    if (USE.test(statement.sql.trim()) || OTHER_DATABASE.test(statement.sql.trim())) continue;
    const why = await runStatement(client, database, statement, skipped);
    if (why !== null && !skipped.has(statement.what)) skipped.set(statement.what, why);
  }
  onProgress?.(total, total);
  return { skipped: [...skipped].map(([what, why]) => `${what}: ${why}`) };
}

/** Null if it ran, else why it was skipped. */
async function runStatement(
  client: Client,
  database: string,
  statement: PlanStatement,
  skipped: ReadonlyMap<string, string>,
): Promise<string | null> {
  if (skipped.has(statement.what)) return skipped.get(statement.what) ?? null;
  const missing = (statement.needs ?? []).filter((need) => skipped.has(need));
  if (missing.length > 0 && statement.optional) return `it needs ${missing.join(', ')}`;
  try {
    return await make(client, database, statement);
  } catch (error) {
    if (serverError(error) === null || isConnectionLoss(error)) throw error;
    if (statement.optional) return tellable(error);
    throw new UnderstudyError(
      'SCHEMA_FAILED',
      `cannot make ${statement.what}`,
      { detail: tellable(error) },
      error,
    );
  }
}

/** Null if it is made, else why it is not. */
async function make(
  client: Client,
  database: string,
  { sql, program }: PlanStatement,
): Promise<string | null> {
  if (program === undefined) {
    await client.run(sql);
    return null;
  }
  const { sqlMode, source } = program;
  const moved = moveCode(sql, sqlMode, { from: source, to: database });
  // Rollouts are to get it from here.
  const again = moved && moveCode(moved, sqlMode, { from: database, to: source });
  if (moved === null || again === null) return NOT_SURE;
  await defineProgram(client, program, moved, DEFINING);
  return null;
}
