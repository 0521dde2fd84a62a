/** What whoever made a rollout should know of it before its findings are trusted. */
import { tableName, type TableId } from '../change/table-id.ts';
import type { NumberRange, ShadowDatabase } from '../dialect/dialect.ts';

export interface RolloutAlarms {
  /** Tables that the candidate may have written to unseen: their drift checks are inconclusive. */
  readonly unseen: readonly string[];
  /**
   * Numbers of new rows that one side has nearly used up, before it meets the other's; none while somebody
   * locks a table.
   */
  readonly numbers: readonly NumberRange[];
}

/** Share of a range that is used up, from which on it is told. */
const NEARLY = 0.8;

/** Of a trunk there is none. Reads; costs a look-up for each numbered table. */
export async function readAlarms(database: ShadowDatabase): Promise<RolloutAlarms> {
  if (database.marker.kind === 'trunk') return { unseen: [], numbers: [] };
  const [unseen, numbers] = await Promise.all([database.captureGaps(), database.numberRanges()]);
  return {
    unseen: unseen.map((table: TableId) => tableName(table)),
    numbers: (numbers ?? []).filter(({ used }) => used >= NEARLY),
  };
}

/** In a person's words, each with what to do. */
export function describeAlarms({ unseen, numbers }: RolloutAlarms): readonly {
  readonly what: string;
  readonly cure: string;
}[] {
  const percent = (used: number): string => `${String(Math.floor(used * 100))} %`;
  return [
    ...unseen.map((table) => ({
      what: `rows of ${table} may have been written unseen: what captured there was gone for a while`,
      cure: 'check the table, and make the rollout anew unless it is equal: what differs is inconclusive',
    })),
    ...numbers.map(({ name, side, used }) => ({
      what:
        side === 'production'
          ? `production’s numbers of ${name} have come ${percent(used)} of the way to where the rollout’s begin`
          : `the rollout has used ${percent(used)} of the numbers of ${name} that it has for itself`,
      cure:
        side === 'production'
          ? 'give the column a wider type in production, or expect rows of both sides under one key'
          : 'make the rollout anew',
    })),
  ];
}
