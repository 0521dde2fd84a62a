import { RowShape, type KnownValue } from '../change/value.ts';
import type { RowText } from '../dialect/dialect.ts';
import type { NetChange } from '../order/change-batch.ts';
import type { TableSchema } from '../schema/table-schema.ts';

/** What writes a row as it was read; `columns` are those of its values. See NetChange.complete. */
export function rowUpsert(
  schema: TableSchema,
  columns: readonly string[],
  { key, values }: RowText,
  complete: boolean,
): NetChange {
  const rest = schema.key.flatMap((name, i) =>
    columns.includes(name) ? [] : [{ name, value: key[i] ?? null }],
  );
  const known: KnownValue[] = [...rest.map(({ value }) => value), ...values];
  const shape = new RowShape([...rest.map(({ name }) => name), ...columns]);
  return { kind: 'upsert', key, from: key, image: { shape, values: known }, complete };
}
