/**
 * What becomes of production's rows by the changes that are set aside: their net effect, letter by
 * letter, so that who shows production's rows can show these as well. It is not applied.
 */
import type { ChangeEvent } from '../change/record.ts';
import type { KnownValue } from '../change/value.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import type { ImageStep, LetterImages } from './change-batch.ts';
import { coalesce } from './coalesce.ts';

/** A change that is set aside. */
export interface AsideChange {
  readonly letter: string;
  readonly change: ChangeEvent;
  /** Whose rows are concerned: of a partition its root. */
  readonly table: TableSchema;
}

/** Of tables with a key. The changes are given in the order in which they would have been applied. */
export function deadImages(
  aside: readonly AsideChange[],
  catalogue: SchemaCatalogue,
): readonly LetterImages[] {
  const letters = Map.groupBy(aside, ({ letter }) => letter);
  return Array.from(letters, ([letter, own]): LetterImages | null => {
    const table = own[0]?.table;
    if (table === undefined || table.key.length === 0) return null;
    return { letter, table: table.id, steps: stepsOf(table, own, catalogue) };
  }).filter((images) => images !== null);
}

function stepsOf(
  table: TableSchema,
  own: readonly AsideChange[],
  catalogue: SchemaCatalogue,
): readonly ImageStep[] {
  const steps: ImageStep[] = [];
  let readable: ChangeEvent[] = [];
  const flush = (): void => {
    if (readable.length > 0) steps.push(...netSteps(table, readable, catalogue));
    readable = [];
  };
  for (const { change } of own) {
    if (change.op !== 'unread') readable.push(change);
    else {
      flush();
      steps.push(unknown(table, [change]));
    }
  }
  flush();
  return steps;
}

/** Changes that nobody can apply as they are, such as one with a column too many, tell nothing. */
function netSteps(
  table: TableSchema,
  changes: readonly ChangeEvent[],
  catalogue: SchemaCatalogue,
): readonly ImageStep[] {
  try {
    return coalesce(changes, catalogue).filter((step) => step.kind === 'rows');
  } catch (error) {
    if (!isUnderstudyError(error)) throw error;
    return [unknown(table, changes)];
  }
}

function unknown(table: TableSchema, changes: readonly ChangeEvent[]): ImageStep {
  const keys = changes.map((change) => keysIn(table, change));
  return {
    ...{ kind: 'unknown', table: table.id, keys: keys.flat() },
    keyless: keys.filter((told) => told.length === 0).length,
  };
}

/** The keys that a change tells, as far as they are whole. */
function keysIn(
  table: TableSchema,
  { key, before, after, oldKey, newKey }: ChangeEvent,
): readonly (readonly KnownValue[])[] {
  return [key, before, after, oldKey, newKey].flatMap((image) => {
    const values = table.key.flatMap((column) => {
      const i = image?.shape.index.get(column);
      const value = i === undefined ? null : (image?.values[i] ?? null);
      return value === null || typeof value === 'symbol' ? [] : [value];
    });
    return values.length === table.key.length ? [values] : [];
  });
}
