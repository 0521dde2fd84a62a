import type { ColumnType } from '../../../schema/table-schema.ts';
import type { NumberRange } from '../../overlay.ts';
import { sequenceTarget, usedShares } from '../../sql/sequence-target.ts';
import type { CapturedTable } from './journal.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import { withLockWait } from '../session/metadata-locks.ts';

const BITS: readonly (readonly [prefix: string, bits: bigint])[] = [
  ['tinyint', 8n],
  ['smallint', 16n],
  ['mediumint', 24n],
  ['int', 32n],
  ['bigint', 64n],
];

const FACTS = { increment: 1n, start: 1n, low: 1n, widths: [8] } as const;

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
    const column = numberedOf(table);
    if (column === undefined) continue;
    const high = greatest(column.schema.type);
    const { most } = await client.row<{ most: string | number | null }>(
      `SELECT MAX(${column.name}) AS most FROM ${table.relation}`,
    );
    const last = most === null ? null : BigInt(most);
    const target = high === null ? null : sequenceTarget({ ...FACTS, high, last });
    if (target === null) left.push(`${table.label}.${column.schema.name}`);
    else await client.run(`ALTER TABLE ${table.relation} AUTO_INCREMENT = ${String(target)}`);
  }
  return left;
}

/**
 * How far both sides have come, see NumberRange: a numbered column leads an index on these servers. Null if
 * somebody keeps a table locked.
 */
export async function readNumberRanges(
  client: Client,
  tables: readonly CapturedTable[],
): Promise<readonly NumberRange[] | null> {
  try {
    return await withLockWait(client, 1, () => numberRanges(client, tables));
  } catch (error) {
    if (!hasErrno(error, ERRNO.lockWaitTimeout)) throw error;
    return null;
  }
}

async function numberRanges(
  client: Client,
  tables: readonly CapturedTable[],
): Promise<readonly NumberRange[]> {
  const found = tables.flatMap((table) => {
    const column = numberedOf(table);
    const high = column === undefined ? null : greatest(column.schema.type);
    if (column === undefined || high === null) return [];
    const target = sequenceTarget({ ...FACTS, high, last: null });
    return target === null ? [] : [{ table, column, high, target }];
  });
  if (found.length === 0) return [];
  const asked = found.map(({ table, column, target }, number) => {
    const most = (is: string): string =>
      `(SELECT CAST(MAX(${column.name}) AS CHAR) FROM ${table.relation} WHERE ${column.name} ${is} ${String(target)})`;
    return `SELECT ${String(number)} AS number, ${most('<')} AS theirs, ${most('>=')} AS ours`;
  });
  const rows = await client.rows<{ number: number; theirs: string | null; ours: string | null }>(
    asked.join(' UNION ALL '),
  );
  return rows.flatMap(({ number, theirs, ours }) => {
    const one = found[number];
    if (one === undefined) return [];
    const { table, column, high, target } = one;
    const some = (text: string | null): bigint | null => (text === null ? null : BigInt(text));
    const shares = usedShares({
      ...{ start: FACTS.start, low: FACTS.low, high, target },
      ...{ theirs: some(theirs), ours: some(ours) },
    });
    const name = `${table.label}.${column.schema.name}`;
    return (['production', 'candidate'] as const).map((side) => ({
      ...{ name, side, used: shares[side] },
    }));
  });
}

function numberedOf({ columns }: CapturedTable): CapturedTable['columns'][number] | undefined {
  return columns.find(({ schema }) => schema.identity !== 'no');
}
