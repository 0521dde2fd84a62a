/** What a person decides about changes of production's schema. */
import type { ReplayOutcome } from '../apply/replay.ts';
import type { RuntimeContext } from './context.ts';
import { databaseOf } from './drift.ts';
import { perform } from './requests.ts';

/** How long a holder may take for a table that is rewritten, and a log that is read again. */
const ACCEPT_MS = 3_600_000;

export interface AcceptOutcome extends ReplayOutcome {
  readonly table: string;
  /** In a few words each. */
  readonly changes: readonly string[];
}

/** Carries out what production changed of a table, and writes what waits for it. */
export async function acceptSchema(
  context: RuntimeContext,
  rollout: string | null,
  table: string,
  signal: AbortSignal,
): Promise<AcceptOutcome> {
  return (await perform(context, {
    kind: 'schema-accept',
    database: await databaseOf(context, rollout),
    args: { table },
    timeoutMs: ACCEPT_MS,
    signal,
  })) as AcceptOutcome;
}
