/** Tables of the trunk for which a person has to decide. */
import { tableName, type TableId } from '../change/table-id.ts';
import type { Diagnosis } from '../dialect/dialect.ts';

export function describeTables(trunk: {
  readonly held: readonly { readonly table: TableId; readonly why: string }[];
  readonly kept: readonly { readonly table: TableId }[];
}): readonly Diagnosis[] {
  const finding = (
    id: string,
    { schema, name }: TableId,
    what: string,
    does: string,
  ): Diagnosis => {
    const label = tableName({ schema, name });
    const cure = `\`understudy schema accept ${label}\` ${does}`;
    return {
      ...{ id: `shadow.${id}`, level: 'warning', message: `table ${label} ${what}`, cure },
      table: { schema, name },
    };
  };
  return [
    ...trunk.held.map(({ table, why }) =>
      finding('table-waits', table, `waits: ${why}`, 'carries that out, and writes what waits'),
    ),
    ...trunk.kept.map(({ table }) =>
      finding('table-kept', table, 'is kept, though production dropped it', 'drops it'),
    ),
  ];
}
