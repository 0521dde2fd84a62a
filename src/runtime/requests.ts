/**
 * Getting an act done: by ourselves if nobody holds the database, else by its holder through a
 * request row. The holder answers within a quarter of a second; a holder that dies with the
 * request unclaimed is replaced by us.
 */
import type { ControlStore, RequestKind, RequestRow } from '../dialect/dialect.ts';
import { CODES, type ErrorCode } from '../errors/codes.ts';
import {
  isUnderstudyError,
  UnderstudyError,
  type ErrorContext,
} from '../errors/understudy-error.ts';
import { backoffMs, pollUntil, sleep } from '../util/wait.ts';
import { ACTS } from './acts.ts';
import { assertBootstrapped, bootstrapOf } from './bootstrap-state.ts';
import type { RuntimeContext } from './context.ts';
import { Stage } from './stage.ts';

/** What of an error's context is text, and so crosses processes as it is. */
const PLACES = ['database', 'table', 'column', 'key', 'topic', 'detail'] as const;

/** About a minute, with the pauses between. */
const OUTCOME_ATTEMPTS = 30;

export interface ActRequest {
  readonly kind: RequestKind;
  readonly database: string;
  readonly args: unknown;
  /** How long the holder may take. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** Performs the act and returns its outcome as JSON. Errors of the act are thrown here too. */
export async function perform(context: RuntimeContext, request: ActRequest): Promise<unknown> {
  await context.assertIsolated();
  const own = await withStage(context, request.database, (stage) =>
    ACTS[request.kind](stage, request.args),
  );
  // Through JSON, so that the outcome has one form whoever did the work.
  if (own !== null) return toJson(own.value);
  await refuseWhileCopying(context, request.database);
  const control = await context.control();
  const id = await control.submitRequest(request.kind, request.database, request.args);
  let polls = 0;
  return pollUntil<{ outcome: unknown }>({
    probe: async () => {
      const row = await control.request(id);
      if (row === null) throw new UnderstudyError('REQUEST_FAILED', 'the request is gone');
      if (row.state === 'done') return { outcome: row.outcome };
      if (row.state === 'failed') throw errorFromJson(row.outcome);
      polls += 1;
      // The holder may have died before it claimed the request: then we are free to do it.
      if (row.state === 'open' && polls % 20 === 0) {
        await performClaimed(context, control, request.database);
      }
      return undefined;
    },
    everyMs: 100,
    timeoutMs: request.timeoutMs,
    timeout: () =>
      new UnderstudyError('REQUEST_TIMEOUT', `no answer to ${request.kind}`, {
        database: request.database,
      }),
    ...(request.signal === undefined ? {} : { signal: request.signal }),
  }).then(
    (found) => found.outcome,
    async (error: unknown) => {
      // Nobody waits any more: what was not begun must not be done later, out of the blue.
      await control.withdrawRequest(id);
      throw error;
    },
  );
}

/** BOOTSTRAPPING: whoever fills the database answers nothing before it is full. */
async function refuseWhileCopying(context: RuntimeContext, database: string): Promise<void> {
  await using opened = await context.server.open(database);
  if (opened !== null && (await bootstrapOf(opened))?.ends === null) {
    await assertBootstrapped(opened);
  }
}

/**
 * Takes the database and runs `act` on it. Null, with nothing done, if another process holds it.
 */
export async function withStage<T>(
  context: RuntimeContext,
  database: string,
  act: (stage: Stage) => Promise<T>,
): Promise<{ readonly value: T } | null> {
  const opened = await context.server.open(database);
  if (opened === null) {
    throw new UnderstudyError('TRUNK_NOT_FOUND', `there is no database '${database}'`);
  }
  const stage = await Stage.take(context, opened, { giveUpAfterMs: 60_000 });
  if (stage === null) {
    await opened[Symbol.asyncDispose]();
    return null;
  }
  try {
    return { value: await act(stage) };
  } finally {
    await stage.close();
  }
}

/** Does a request that its holder left unclaimed; the next poll then reads the outcome. */
async function performClaimed(
  context: RuntimeContext,
  control: ControlStore,
  database: string,
): Promise<void> {
  await withStage(context, database, async (stage) => {
    const claimed = await control.claimRequest(database, context.holder);
    if (claimed !== null) await answer(control, stage, claimed);
  });
}

/** Carries a claimed request out and writes its outcome. Never throws for the act's own error. */
export async function answer(
  control: ControlStore,
  stage: Stage,
  request: RequestRow,
): Promise<void> {
  let outcome: unknown;
  let state: 'done' | 'failed' = 'done';
  try {
    outcome = toJson(await ACTS[request.kind](stage, request.args));
  } catch (error) {
    stage.context.logger.error('a request failed', { request: request.kind, error });
    state = 'failed';
    outcome = errorToJson(error);
  }
  await persistently(() => control.finishRequest(request.id, state, outcome));
}

/** The act is done: its outcome must reach whoever waits, also through a server's restart. */
async function persistently(write: () => Promise<void>): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await write();
      return;
    } catch (error) {
      if (!isUnderstudyError(error, 'SHADOW_UNREACHABLE') || attempt >= OUTCOME_ATTEMPTS) {
        throw error;
      }
      await sleep(backoffMs(attempt, 100, 2_000));
    }
  }
}

function toJson(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value ?? null, (_, item: unknown) =>
      typeof item === 'bigint' ? item.toString() : item,
    ),
  ) as unknown;
}

function errorToJson(error: unknown): unknown {
  if (isUnderstudyError(error)) return error.toJSON();
  return { code: 'INTERNAL', message: error instanceof Error ? error.name : 'unknown error' };
}

function errorFromJson(outcome: unknown): UnderstudyError {
  const { code, message, ...where } = outcome as Record<string, unknown>;
  const known: ErrorCode =
    typeof code === 'string' && code in CODES ? (code as ErrorCode) : 'REQUEST_FAILED';
  const context = PLACES.filter((name) => typeof where[name] === 'string').map((name) => [
    name,
    where[name],
  ]);
  return new UnderstudyError(
    known,
    typeof message === 'string' ? message : 'it failed',
    Object.fromEntries(context) as ErrorContext,
  );
}
