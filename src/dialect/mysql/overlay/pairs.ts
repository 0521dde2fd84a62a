/** Pairs of rows (sql/pairs.ts), as these servers write them. */
import type { PairsOn } from '../../../overlay/pairing.ts';
import { pairColumns, Pairs } from '../../sql/pairs.ts';
import type { Reshapes } from '../../sql/reshaped.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL, quote } from '../session/names.ts';
import { readCaptured, type CapturedTable } from './journal.ts';
import { readReshapes } from './reshapes.ts';
import { readNoted, unionOfEntries } from './waiting.ts';

export type MySqlPairs = Pairs<CapturedTable>;

/** Captured tables, and their pairs. */
export interface PairedTables {
  readonly tables: readonly CapturedTable[];
  readonly pairs: MySqlPairs;
}

/** In the caller's transaction. CONFIG_INVALID if `pairsOn` names a column that is not there. */
export async function readPairedTables(
  client: Client,
  { database, source }: { readonly database: string; readonly source: string },
  pairsOn: PairsOn | null | undefined,
): Promise<PairedTables> {
  const tables = await readCaptured(client, database, source);
  const noted = pairsOn === null ? null : await readNoted(client, database);
  const paired = tables.map((table) =>
    noted?.has(table.schema.id.name) === true ? { ...table, journal: entriesNow(table) } : table,
  );
  const reshapes = await readReshapes(client, database, source);
  return { tables, pairs: pairsOf(paired, reshapes, { pairsOn, noted }) };
}

/** Entries with production's image of now, where something may wait. */
function entriesNow(table: CapturedTable): string {
  const own = [JOURNAL.blocked, JOURNAL.at, JOURNAL.trace].map((name) => `j.${name}`);
  const union = unionOfEntries(table, (image) => ({
    list: [
      ...own,
      ...[...table.columns.map(({ name }) => name), JOURNAL.present].map(
        (name) => `${image}.${name}`,
      ),
    ].join(', '),
    where: 'TRUE',
  }));
  return `(${union})`;
}

/**
 * Of these tables; `pairsOn` null: there are none. A journal's columns have the table's collations, so that
 * texts are the same as the server has it. CONFIG_INVALID if a column is not there.
 */
export function pairsOf(
  tables: readonly CapturedTable[],
  reshapes: Pick<Reshapes, 'tables'>,
  {
    pairsOn,
    noted = null,
  }: {
    readonly pairsOn: PairsOn | null | undefined;
    /** Names of tables of which changes may wait. */
    readonly noted?: ReadonlySet<string> | null;
  },
): MySqlPairs {
  const on = ({ schema }: CapturedTable): readonly string[] =>
    pairsOn === null || pairsOn === undefined ? [] : pairColumns(schema, reshapes, pairsOn);
  return new Pairs(tables, on, {
    materialized: '',
    column: quote,
    equals: () => '=',
    rows: ({ relation, keyHint }, alias, by) =>
      `${relation} ${alias} ${by === 'key' ? keyHint : ''}`,
    isPresent: (entry) => `${entry}.${JOURNAL.present} = 1`,
    isBlocked: (entry) => `${entry}.${JOURNAL.blocked} IS NOT NULL`,
    waiting: ({ schema, waiting }) => (noted?.has(schema.id.name) === true ? waiting : null),
  });
}
