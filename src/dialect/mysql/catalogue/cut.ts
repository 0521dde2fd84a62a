/** Cutting a table into ranges of about the same size, by its primary key. */
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { Client } from '../session/client.ts';
import { quote } from '../session/names.ts';
import type { DatabaseTables } from './catalogue.ts';

/** Quoted: the primary key's first column, if it is a whole number; else null. */
export function numberedBy(tables: DatabaseTables, table: TableId): string | null {
  const schema = tables.catalogue.get(tableName(table));
  const name = schema?.key[0];
  const type = schema?.columns.find((column) => column.name === name)?.type;
  if (name === undefined || type === undefined) return null;
  if (tables.keyIndexes.get(tableName(table)) !== 'PRIMARY') return null;
  return ['int16', 'int32', 'int64'].includes(type.kind) ? quote(name) : null;
}

/** Conditions that together hold for every row once; of an empty table one that is empty. */
export async function evenly(
  client: Client,
  {
    relation,
    column,
    parts,
  }: { readonly relation: string; readonly column: string; readonly parts: number },
): Promise<readonly string[]> {
  const { least, most } = await client.row<{ least: string | null; most: string | null }>(
    `SELECT MIN(${column}) AS least, MAX(${column}) AS most FROM ${relation}`,
  );
  return least === null || most === null ? [''] : conditions(column, parts, least, most);
}

/** Conditions that together hold for every number once. */
function conditions(column: string, parts: number, least: string, most: string): readonly string[] {
  const [low, high] = [BigInt(least), BigInt(most)];
  const count = BigInt(parts);
  const bounds: bigint[] = [];
  for (let i = 1n; i < count; i += 1n) {
    const bound = low + ((high - low + 1n) * i) / count;
    if (bound > (bounds.at(-1) ?? low)) bounds.push(bound);
  }
  return Array.from({ length: bounds.length + 1 }, (_, i) =>
    [
      ...(i === 0 ? [] : [`${column} >= ${String(bounds[i - 1])}`]),
      ...(i === bounds.length ? [] : [`${column} < ${String(bounds[i])}`]),
    ].join(' AND '),
  );
}
