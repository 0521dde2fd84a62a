/** Tables that wait, or are kept though production has them no more, as `status` and `doctor` tell. */
import { tableName, type TableId } from '../change/table-id.ts';
import type { DeadLetter } from '../dialect/dead-letters.ts';
import type { ShadowDatabase } from '../dialect/dialect.ts';
import { schemaTargetOf } from '../dialect/evolving.ts';
import { WAITS_FOR } from './dropped-tables.ts';

export interface HeldTable {
  readonly table: TableId;
  readonly why: string;
  readonly ageMs: number;
  /** Events that wait. */
  readonly queued: number;
}

export interface KeptTable {
  readonly table: TableId;
  readonly ageMs: number;
}

/** Why a table waits, as it stands in its letter: what was changed, and what to do. */
export function heldFor(change: string): string {
  return `production’s ${change}: see \`schema accept\``;
}

/** Those whose records are set aside; those of which none came yet, too. */
export async function readHeld(
  database: ShadowDatabase,
  letters: readonly DeadLetter[],
): Promise<{ readonly held: readonly HeldTable[]; readonly kept: readonly KeptTable[] }> {
  const held = letters.filter(isHeld).map(({ table, message, ageMs, queued }) => ({
    ...{ table, why: message, ageMs: Math.round(ageMs), queued },
  }));
  const known = new Set(held.map(({ table }) => tableName(table)));
  const noted = (await schemaTargetOf(database)?.noted()) ?? [];
  return {
    held: [
      ...held,
      ...noted.flatMap(({ table, state, ageMs }) => {
        if (state === 'kept' || known.has(tableName(table))) return [];
        const why = heldFor(WAITS_FOR[state]);
        return [{ table, why, ageMs: Math.round(ageMs), queued: 0 }];
      }),
    ],
    kept: noted
      .filter(({ state }) => state === 'kept')
      .map(({ table, ageMs }) => ({ table, ageMs: Math.round(ageMs) })),
  };
}

function isHeld({ code, keys }: DeadLetter): boolean {
  return code === 'SCHEMA_CHANGED' && keys.includes(null);
}
