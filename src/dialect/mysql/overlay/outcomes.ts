/** The ledger of how entries ended, as statements. */
import type { Outcome } from '../../../overlay/outcome.ts';
import { exactText } from '../compare/exact-text.ts';
import { momentUs, NOW_US } from '../session/clock.ts';
import { JOURNAL, literal } from '../session/names.ts';
import { passedBy } from '../shadow/passed.ts';
import type { CapturedTable } from './journal.ts';

/** How entries end. `source`: where the log stands by then, as text; null for where it is saved to stand. */
export interface Ending {
  readonly outcome: Outcome;
  readonly source: string | null;
}

/** One line for each entry, as `j`, that `from` selects. */
export function insertOutcomes(table: CapturedTable, ending: Ending, from: string): string {
  const { key, schema, companion } = table;
  const { id } = schema;
  const texts = key.map((column) => exactText(`j.${column.name}`, column.schema));
  const saved = `(SELECT p.source FROM ${companion}.progress p)`;
  const firstAt = momentUs(`j.${JOURNAL.at}`);
  const values = [
    ...[literal(id.schema), literal(id.name), `JSON_ARRAY(${texts.join(', ')})`],
    ...[literal(ending.outcome), `j.${JOURNAL.trace}`],
    ...[firstAt, NOW_US, passedBy(companion, firstAt)],
    ending.source === null ? saved : literal(ending.source),
  ];
  return `INSERT INTO ${companion}.outcome (table_schema, table_name, row_key, outcome, trace, first_at_us,
      decided_at_us, first_source, decided_source)
    SELECT ${values.join(', ')} FROM ${from}`;
}
