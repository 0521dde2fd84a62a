/** Both ends that a change of production's schema is carried between, for whoever holds the database. */
import type { ProductionDatabase } from '../dialect/dialect.ts';
import {
  schemaSourceOf,
  schemaTargetOf,
  type SchemaSource,
  type SchemaTarget,
} from '../dialect/evolving.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import { backoffMs, sleep } from '../util/wait.ts';
import type { Stage } from './stage.ts';

export interface Ends {
  readonly production: ProductionDatabase;
  readonly source: SchemaSource;
  readonly target: SchemaTarget;
}

/** Null where nothing is carried over. */
export async function openEnds({ context, database }: Stage): Promise<Ends | null> {
  const production = await context.production();
  const source = production === null ? null : schemaSourceOf(production);
  const target = schemaTargetOf(database);
  if (production === null || source === null || target === null) return null;
  return { production, source, target };
}

/** Production cannot be asked: it is away, refuses the login, or does not show what is asked for. */
const UNASKED = ['PRODUCTION_UNREACHABLE', 'DATABASE_PERMISSION', 'READ_FAILED'] as const;

/** Whether production cannot be asked now: what a record needs of it is asked for again. */
export function isUnasked(error: unknown): boolean {
  return isUnderstudyError(error, ...UNASKED);
}

/**
 * Whether who looks beside the records may look later again: nothing was found, and records go on. Not so
 * of what is to stop who follows, of a fence that is another's, and of our own faults.
 */
export function mayLookLater(error: unknown): boolean {
  return isUnderstudyError(error) && !isUnderstudyError(error, 'SCHEMA_CHANGED', 'FENCED');
}

/** Again and again while production is away, or who reads the table locks it. */
export async function persistently<T>(stage: Stage, act: () => Promise<T>): Promise<T> {
  const { context, giveUpAfterMs, holder, stopping } = stage;
  const deadline = performance.now() + giveUpAfterMs;
  const signal = AbortSignal.any([stopping, holder.lost]);
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await act();
    } catch (error) {
      const passes = isUnderstudyError(error, 'APPLY_BLOCKED', 'PRODUCTION_UNREACHABLE');
      if (!passes || performance.now() > deadline) throw error;
      const state = `retrying ${error.code}`;
      holder.describe(() => ({ state, oldestTransactionMs: null, degraded: 0 }));
      if (attempt % 20 === 3) {
        context.logger.warn('cannot follow a change of production’s schema yet', { error });
      }
      await sleep(backoffMs(attempt, 50, 2_000), signal);
    }
  }
}
