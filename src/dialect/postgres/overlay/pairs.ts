/** Pairs of rows (sql/pairs.ts), as this engine writes them. */
import { escapeIdentifier, type ClientBase } from 'pg';
import type { PairsOn } from '../../../overlay/pairing.ts';
import { pairColumns, Pairs, type PairWriting } from '../../sql/pairs.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { readComparisons } from '../catalogue/key-facts.ts';
import { JOURNAL, relation, waitingId } from '../session/names.ts';
import { blockedAs } from './blocked-sql.ts';
import { readReshapes } from './reshapes.ts';
import { readWaitingLabels } from './waiting.ts';

export type PgPairs = Pairs<ApplyTable>;

/** Of these tables; `pairsOn` null: there are none. CONFIG_INVALID if it names a column that is not there. */
export async function readPairs(
  client: ClientBase,
  tables: readonly ApplyTable[],
  pairsOn: PairsOn | null,
): Promise<PgPairs> {
  if (pairsOn === null) return new Pairs(tables, () => [], writing(new Map(), new Set()));
  const reshapes = await readReshapes(client);
  const on = ({ schema }: ApplyTable): readonly string[] => pairColumns(schema, reshapes, pairsOn);
  const waiting = await readWaitingLabels(client);
  return new Pairs(tables, on, writing(await readComparisons(client), waiting));
}

function writing(
  comparisons: Awaited<ReturnType<typeof readComparisons>>,
  waiting: ReadonlySet<string>,
): PairWriting<ApplyTable> {
  return {
    materialized: 'MATERIALIZED',
    column: escapeIdentifier,
    equals: ({ label }, column) =>
      comparisons.get(label)?.get(column)?.equals ?? 'OPERATOR(pg_catalog.=)',
    rows: ({ rows }, alias) => `${rows} ${alias}`,
    isPresent: (entry) => `${entry}.${JOURNAL.present}`,
    isBlocked: blockedAs,
    waiting: ({ label, schema }) => (waiting.has(label) ? relation(waitingId(schema.id)) : null),
  };
}
