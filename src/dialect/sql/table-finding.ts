/** How a finding about one table of production is made, whatever its engine. */
import { tableName, type TableId } from '../../change/table-id.ts';
import type { Diagnosis } from '../dialect.ts';

/** `id` and `message` go on after `table.` and the table's name; `cure` is null for an `ok`. */
export function tableFinding(
  table: TableId,
  id: string,
  level: Diagnosis['level'],
  message: string,
  cure: string | null,
): Diagnosis {
  const { schema, name } = table;
  return {
    id: `table.${id}`,
    level,
    message: `table ${tableName(table)} ${message}`,
    cure,
    table: { schema, name },
  };
}
