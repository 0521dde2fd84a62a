/** What who follows asks of whoever knows how production's schema changes. */
import type { ExplainRefusal } from '../apply/batch-writer.ts';
import type { LogOffset } from '../change/position.ts';
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
  /** Whether the record here may have this name of no column any more: it was written before. */
  readonly mayHave: (table: string, column: string, at: LogOffset) => boolean;
}

/**
 * Sees rows without a column that the shadow has, and with one that it has no more: SCHEMA_CHANGED and
 * COLUMN_UNKNOWN, unless they may. What is lacking is looked for once in each shape of rows.
 */
export function shapeWatch(
  catalogue: SchemaCatalogue,
  { mayLack, mayHave }: Pick<SchemaWatch, 'mayLack' | 'mayHave'>,
): (decoded: DecodedRecord) => void {
  const seen = new WeakSet<RowShape>();
  return (decoded) => {
    if (decoded.kind !== 'change' || decoded.after === null) return;
    const { shape } = decoded.after;
    if (shape.former.length === 0 && seen.has(shape)) return;
    const label = tableName(decoded.table);
    for (const column of shape.former) {
      if (mayHave(label, column, decoded.at)) continue;
      const what = 'the record has a column that the shadow lacks';
      throw new UnderstudyError('COLUMN_UNKNOWN', what, { ...decoded.at, table: label, column });
    }
    if (seen.has(shape)) return;
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
