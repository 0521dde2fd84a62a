/** What is set aside in the databases of ours, for reading and for what is to become of it. */
import { tableName } from '../change/table-id.ts';
import type { DeadLetter } from '../dialect/dead-letters.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { RuntimeContext } from './context.ts';
import { databaseOf } from './drift.ts';
import type { ReplayOutcome } from '../apply/replay.ts';
import { lettersOf } from './replay.ts';
import { perform } from './requests.ts';

/** A dead letter, in the form of `--json`. */
export interface DeadLetterRow {
  readonly id: string;
  /** Name of the rollout, or of the trunk. */
  readonly name: string;
  readonly table: string;
  /** In key order; null for all rows of the table. */
  readonly keys: DeadLetter['keys'];
  readonly code: string;
  readonly message: string;
  /** Of the event that was set aside for its own sake. */
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly transactionId: string | null;
  readonly since: string;
  readonly ageMs: number;
  readonly queued: number;
  /** Rows that a rollout's production views leave out. */
  readonly hidden: number;
}

/** How long a holder may take for a replay, which reads the log again. */
const REPLAY_MS = 3_600_000;

/** Of the trunk and all rollouts; takes no fence. */
export async function listDeadLetters(context: RuntimeContext): Promise<readonly DeadLetterRow[]> {
  const rollouts = (await (await context.existingControl())?.rollouts()) ?? [];
  const trunk = context.config.trunk.name;
  const found: DeadLetterRow[] = [];
  for (const { name, database } of [{ name: trunk, database: trunk }, ...rollouts]) {
    const opened = await context.server.open(database);
    if (opened === null) continue;
    await using shadow = opened;
    found.push(...(await shadow.deadLetters.list()).map((letter) => rowOf(name, letter)));
  }
  return found;
}

/** DEAD_LETTER_NOT_FOUND if there is none of this id in the database. */
export async function showDeadLetter(
  context: RuntimeContext,
  rollout: string | null,
  id: string,
): Promise<DeadLetterRow & { readonly queue: readonly string[] }> {
  const name = await databaseOf(context, rollout);
  const opened = await context.server.open(name);
  if (opened === null) {
    throw new UnderstudyError('TRUNK_NOT_FOUND', `there is no database '${name}'`);
  }
  await using shadow = opened;
  const box = shadow.deadLetters;
  const [letter] = await lettersOf(box, [id]);
  if (letter === undefined) throw new UnderstudyError('INTERNAL', 'a letter without a row');
  const queue = await box.queue([id]);
  return {
    ...rowOf(rollout ?? name, letter),
    queue: queue.map(({ topic, partition, offset }) => `${topic}/${partition}/${offset}`),
  };
}

/** Null: all letters of the database. */
export async function replayDeadLetters(
  context: RuntimeContext,
  rollout: string | null,
  ids: readonly string[] | null,
  signal: AbortSignal,
): Promise<ReplayOutcome> {
  return (await perform(context, {
    kind: 'dead-letters-replay',
    database: await databaseOf(context, rollout),
    args: { ids },
    timeoutMs: REPLAY_MS,
    signal,
  })) as ReplayOutcome;
}

export async function discardDeadLetters(
  context: RuntimeContext,
  rollout: string | null,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<{ readonly discarded: readonly string[] }> {
  return (await perform(context, {
    kind: 'dead-letters-discard',
    database: await databaseOf(context, rollout),
    args: { ids },
    timeoutMs: 600_000,
    signal,
  })) as { readonly discarded: readonly string[] };
}

export function rowOf(name: string, letter: DeadLetter): DeadLetterRow {
  const { id, table, keys, code, message, at, transactionId, since, ageMs } = letter;
  const { queued, hidden } = letter;
  return {
    ...{ id, name, table: tableName(table), keys, code, message },
    ...{ topic: at.topic, partition: at.partition, offset: at.offset.toString() },
    ...{ transactionId, since: since.toISOString(), ageMs: Math.round(ageMs), queued, hidden },
  };
}
