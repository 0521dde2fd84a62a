/** What the candidate changed, as statements that make one side's rows like the other's. */
import { tableName } from '../change/table-id.ts';
import { isolatedTables } from '../config/table-filter.ts';
import type { RowSelection } from '../dialect/dialect.ts';
import { patchStatements } from '../report/patch.ts';
import type { RuntimeContext } from './context.ts';
import { readRollout } from './existing-rollout.ts';

/** Rows of a table up to which a patch is made. */
const MOST_ROWS = 1_000_000;

/**
 * Statements for a database that is as `towards` is not, at the applied position. Takes no fence. Tables
 * that are kept apart are left out unless they are asked for. Errors: ROLLOUT_NOT_FOUND, TABLE_UNKNOWN.
 */
export async function readPatch(
  context: RuntimeContext,
  name: string,
  only: RowSelection,
  towards: 'production' | 'candidate',
): Promise<readonly string[]> {
  return readRollout(context, name, async (database) => {
    const isolates = isolatedTables(context.config);
    const found = await database.overlayRows(MOST_ROWS, only);
    const rows = found.filter(({ table }) => only.table !== undefined || !isolates(table));
    const tables = await database.catalogue();
    const sides = rows.map(({ table, key, kind, columns, candidate, pairedWith }) => ({
      ...{ table: tableName(table), key, columns, candidate },
      productionKey: pairedWith ?? key,
      production: kind !== 'insert',
    }));
    const pairs = (await database.overlayPairs(MOST_ROWS)).map((pair) => ({
      ...{ ...pair, table: tableName(pair.table) },
    }));
    return patchStatements(sides, tables, { towards, writer: context.dialect.sql, pairs });
  });
}
