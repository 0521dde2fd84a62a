/** What is set aside in the databases of ours, for reading and for what is to become of it. */
import { isUtf8 } from 'node:buffer';
import type { LogOffset } from '../change/position.ts';
import { tableName } from '../change/table-id.ts';
import type { DeadLetter, DeadLetterBox } from '../dialect/dead-letters.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { RuntimeContext } from './context.ts';
import { databaseOf } from './drift.ts';
import type { ReplayOutcome } from '../apply/replay.ts';
import { withoutKey, type RecordSeal } from '../source/record-seal.ts';
import { openSeal } from './letter-keeper.ts';
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

/** A record of a letter's queue, in the form of `--json`. */
export interface ShownRecord {
  /** In the log, as `topic/partition/offset`. */
  readonly at: string;
  /** Why it is not kept; null if it is. */
  readonly notKept: string | null;
  readonly key: ShownBytes | null;
  readonly value: ShownBytes | null;
}

/** As text if it is one, else in base64. */
export type ShownBytes = { readonly text: string } | { readonly base64: string };

type ShownLetter = DeadLetterRow & {
  readonly queue: readonly string[];
  /** Id of the key that records are kept with; null if none is kept. */
  readonly keyId: string | null;
  /** With their values; absent unless asked for. */
  readonly records?: readonly ShownRecord[];
};

/** DEAD_LETTER_NOT_FOUND if there is none of this id in the database; with `decrypt`, SEAL_REFUSED. */
export async function showDeadLetter(
  context: RuntimeContext,
  rollout: string | null,
  id: string,
  options: { readonly decrypt: boolean },
): Promise<ShownLetter> {
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
  const kept = await Promise.all(queue.slice(0, 1).map((at) => box.kept(at)));
  return {
    ...rowOf(rollout ?? name, letter),
    queue: queue.map(placeText),
    keyId: kept[0]?.sealed?.keyId ?? null,
    ...(options.decrypt && { records: await showRecords(box, queue, openSeal(context.config)) }),
  };
}

async function showRecords(
  box: DeadLetterBox,
  queue: readonly LogOffset[],
  seal: RecordSeal | null,
): Promise<readonly ShownRecord[]> {
  const shown: ShownRecord[] = [];
  for (const at of queue) {
    const kept = await box.kept(at);
    const sealed = kept?.sealed ?? null;
    if (sealed !== null && seal === null) throw withoutKey(at, sealed);
    const record = sealed === null || seal === null ? null : seal.open(at, sealed);
    const notKept = kept === null ? 'no key was configured since it was set aside' : kept.why;
    shown.push({
      ...{ at: placeText(at), notKept },
      ...{ key: bytesOf(record?.key ?? null), value: bytesOf(record?.value ?? null) },
    });
  }
  return shown;
}

function placeText({ topic, partition, offset }: LogOffset): string {
  return `${topic}/${partition}/${offset}`;
}

function bytesOf(bytes: Buffer | null): ShownBytes | null {
  if (bytes === null) return null;
  return isUtf8(bytes) ? { text: bytes.toString('utf8') } : { base64: bytes.toString('base64') };
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
