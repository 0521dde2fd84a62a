/** What who follows asks of whoever knows how production's schema changes. */
import type { ExplainRefusal } from '../apply/batch-writer.ts';
import type { DeadCause } from '../change/dead-cause.ts';
import type { DecodedRecord } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { RowShape } from '../change/value.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';

export interface SchemaWatch {
  /** Asked before a change is set aside for its own sake. */
  readonly explain: ExplainRefusal;
  /** Why the table in `error` waits, with all its rows; null if it does not. */
  readonly held: (error: UnderstudyError) => DeadCause | null;
  /** Whether records may lack this column: production has it all the same. */
  readonly mayLack: (table: string, column: string) => boolean;
}

/**
 * Sees rows without a column that the shadow has: SCHEMA_CHANGED, unless they may lack it. Each
 * shape of rows is looked at once.
 */
export function shapeWatch(
  catalogue: SchemaCatalogue,
  mayLack: SchemaWatch['mayLack'],
): (decoded: DecodedRecord) => void {
  const seen = new WeakSet<RowShape>();
  return (decoded) => {
    if (decoded.kind !== 'change' || decoded.after === null) return;
    const { shape } = decoded.after;
    if (seen.has(shape)) return;
    const label = tableName(decoded.table);
    for (const { name, generated } of catalogue.get(label)?.columns ?? []) {
      if (generated !== 'no' || shape.index.has(name) || mayLack(label, name)) continue;
      const what = 'the record lacks a column that the shadow has';
      throw new UnderstudyError('SCHEMA_CHANGED', what, {
        ...{ ...decoded.at, table: label, column: name },
      });
    }
    seen.add(shape);
  };
}
