/** The ledger of how entries ended, as statements. */
import { escapeLiteral } from 'pg';
import type { Outcome } from '../../../overlay/outcome.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { passedBy } from '../shadow/passed.ts';
import { JOURNAL, OUTCOME_TABLE, OWN_SCHEMA } from '../session/names.ts';

/** How entries end. `source`: where the log stands by then, as text; null for where it is saved to stand. */
export interface Ending {
  readonly outcome: Outcome;
  readonly source: string | null;
}

/** What a line says of an entry, `j`. */
export function entryFacts({ key }: ApplyTable): string {
  const texts = key.map(({ name }) => `j.${name}::text`);
  return `ARRAY[${texts.join(', ')}]::text[] AS key, j.${JOURNAL.trace} AS trace,
    j.${JOURNAL.at} AS first_at, j.${JOURNAL.moved} AS moved,
    j.${JOURNAL.blocked} IS NOT NULL AS blocked`;
}

/** One line for each entry; `entries` names, or selects, their facts. */
export function insertOutcomes({ schema }: ApplyTable, ending: Ending, entries: string): string {
  const { id } = schema;
  const saved = `(SELECT p.source FROM ${OWN_SCHEMA}.progress p)`;
  const source = ending.source === null ? saved : `${escapeLiteral(ending.source)}::json`;
  const values = [id.schema, id.name, ending.outcome].map((value) => escapeLiteral(value));
  const [tableSchema = '', name = '', outcome = ''] = values;
  return `INSERT INTO ${OUTCOME_TABLE}
      (table_schema, table_name, key, outcome, trace, first_at, first_source, decided_source)
    SELECT ${tableSchema}, ${name}, e.key, ${outcome}, e.trace, e.first_at,
      ${passedBy('e.first_at')}, ${source}
    FROM ${entries} e`;
}
