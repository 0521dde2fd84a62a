/** What the candidate changed, as statements that make one side's rows like the other's. */
import { tableName, type TableId } from '../change/table-id.ts';
import { isolatedTables } from '../config/table-filter.ts';
import type { RowSelection, ShadowDatabase, SqlWriting } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { patchStatements } from '../report/patch.ts';
import type { RuntimeContext } from './context.ts';
import { readRollout } from './existing-rollout.ts';

/** Rows of a table up to which a patch is made: it is held in memory. */
const MOST_ROWS = 1_000_000;

/**
 * Statements for a database that is as `towards` is not, at the applied position. Takes no fence. Tables
 * that are kept apart are left out unless they are asked for. `mostRows`: of a table. Errors: ROLLOUT_NOT_FOUND,
 * TABLE_UNKNOWN; UNSUPPORTED if a table has more rows than that, for a part of a patch is none.
 */
export async function readPatch(
  context: RuntimeContext,
  name: string,
  only: RowSelection,
  towards: 'production' | 'candidate',
  mostRows = MOST_ROWS,
): Promise<readonly string[]> {
  return readRollout(context, name, (database) =>
    patchOf(database, only, {
      towards,
      mostRows,
      writer: context.dialect.sql,
      isolates: isolatedTables(context.config),
    }),
  );
}

/** See readPatch: of a rollout's database. */
export async function patchOf(
  database: Pick<ShadowDatabase, 'overlayRows' | 'overlayPairs' | 'catalogue'>,
  only: RowSelection,
  {
    towards,
    writer,
    isolates,
    mostRows,
  }: {
    readonly towards: 'production' | 'candidate';
    readonly writer: SqlWriting;
    readonly isolates: (table: TableId) => boolean;
    readonly mostRows: number;
  },
): Promise<readonly string[]> {
  // With what tells which rows refer to which: see safeOrder.
  const found = await database.overlayRows(mostRows + 1, { ...only, links: true });
  const rows = found.filter(({ table }) => only.table !== undefined || !isolates(table));
  const all = await database.overlayPairs(mostRows + 1);
  assertAllThere(
    rows,
    mostRows,
    'make the patch of other tables or of a trace alone (--table, --trace)',
  );
  // Also of tables that rows refer to.
  assertAllThere(all, mostRows, 'these are pairs, see pairOn');
  const tables = await database.catalogue();
  const sides = rows.map(({ table, key, kind, columns, candidate, pairedWith }) => ({
    ...{ table: tableName(table), key, columns, candidate },
    productionKey: pairedWith ?? key,
    production: kind !== 'insert',
  }));
  const pairs = all.map((pair) => ({ ...pair, table: tableName(pair.table) }));
  return patchStatements(sides, tables, { towards, writer, pairs });
}

/** UNSUPPORTED if a table has more than `mostRows` of these. */
export function assertAllThere(
  rows: readonly { readonly table: TableId }[],
  mostRows: number,
  cure: string,
): void {
  const counts = new Map<string, number>();
  for (const { table } of rows) {
    const name = tableName(table);
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    if (count <= mostRows) continue;
    throw new UnderstudyError('UNSUPPORTED', 'too many rows differ for a patch', {
      table: name,
      detail: `more than ${String(mostRows)}: ${cure}`,
    });
  }
}
