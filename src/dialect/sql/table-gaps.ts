import { tableName, type TableId } from '../../change/table-id.ts';
import type { TableGaps } from '../dialect.ts';
import { keysByTable, type KeyRow } from './dead-letter-tables.ts';

/** A row of which something is not known. */
export interface GapRow extends TableId {
  readonly key: readonly string[];
  /** Null for a parked key. */
  readonly columns: readonly string[] | null;
}

/** What a shadow does not know, table by table, in the order of the rows. */
export function tableGaps(
  rows: readonly GapRow[],
  deadKeys: readonly KeyRow[],
): readonly TableGaps[] {
  const gaps = Map.groupBy(rows, (row) => tableName(row));
  const dead = keysByTable(deadKeys);
  const tables = new Map([...rows, ...deadKeys].map((row) => [tableName(row), row]));
  return Array.from(tables, ([label, { schema, name }]) => {
    const own = gaps.get(label) ?? [];
    return {
      table: { schema, name },
      unknown: own.flatMap(({ key, columns }) => (columns === null ? [] : [{ key, columns }])),
      parked: own.filter((row) => row.columns === null).map((row) => row.key),
      dead: (dead.get(label) ?? []).map(({ key }) => key),
    };
  });
}
