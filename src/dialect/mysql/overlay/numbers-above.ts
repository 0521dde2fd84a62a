import type { ColumnType } from '../../../schema/table-schema.ts';
import { sequenceTarget } from '../../sql/sequence-target.ts';
import type { CapturedTable } from './journal.ts';
import type { Client } from '../session/client.ts';

const BITS: readonly (readonly [prefix: string, bits: bigint])[] = [
  ['tinyint', 8n],
  ['smallint', 16n],
  ['mediumint', 24n],
  ['int', 32n],
  ['bigint', 64n],
];

/** The greatest number of the type; null if it is none of whole numbers. */
function greatest({ sql }: ColumnType): bigint | null {
  const bits = BITS.find(([prefix]) => sql.startsWith(prefix))?.[1];
  if (bits === undefined) return null;
  return 2n ** (/\bunsigned\b/.test(sql) ? bits : bits - 1n) - 1n;
}

/**
 * Lets the server number new rows far above production's, see sequenceTarget. Returns the columns where
 * that cannot be, because it does so already: new numbers may meet production's.
 */
export async function moveNumbersAbove(
  client: Client,
  tables: readonly CapturedTable[],
): Promise<readonly string[]> {
  const left: string[] = [];
  for (const table of tables) {
    const column = table.columns.find(({ schema }) => schema.identity !== 'no');
    if (column === undefined) continue;
    const high = greatest(column.schema.type);
    const { most } = await client.row<{ most: string | number | null }>(
      `SELECT MAX(${column.name}) AS most FROM ${table.relation}`,
    );
    const last = most === null ? null : BigInt(most);
    const facts = { increment: 1n, start: 1n, low: 1n, last, widths: [8] };
    const target = high === null ? null : sequenceTarget({ ...facts, high });
    if (target === null) left.push(`${table.label}.${column.schema.name}`);
    else await client.run(`ALTER TABLE ${table.relation} AUTO_INCREMENT = ${String(target)}`);
  }
  return left;
}
