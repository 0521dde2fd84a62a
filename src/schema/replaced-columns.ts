/**
 * Columns that were replaced by others of their name, as a connector's schema-change topic tells:
 * dropped and added again, or with names that were swapped. No catalogue and no record shows it, if the
 * types are the same.
 */
import type { SchemaChangeRecord } from '../change/table-change.ts';
import type { TableId } from '../change/table-id.ts';
import { columnNow } from './former-columns.ts';
import type { TableSchema } from './table-schema.ts';
import { adds, drops, renamesInto, turnsOf, type Turn } from './told-changes.ts';

/** May the statement have replaced one of the table's columns? Then its history has to be looked at. */
export function mayReplace({ columns }: TableSchema, ddl: string): boolean {
  return columns.some(
    ({ name }) => drops(ddl, name) || adds(ddl, name) || renamesInto(ddl, name).length > 0,
  );
}

/**
 * The columns of the shadow's table that the last statement of `history` made others of. What the shadow
 * followed (`former`) is none.
 */
export function replacedColumns(
  table: TableSchema,
  history: readonly SchemaChangeRecord[],
): readonly string[] {
  const id: TableId = table.partitionOf ?? table.id;
  const turns = turnsOf(history, id);
  const last = turns.at(-1);
  if (last === undefined) return [];
  return table.columns.flatMap(({ name }) => {
    if (!has(last.after, name) || !isTouched(last, name)) return [];
    const origin = originOf(turns, name);
    const isOwn =
      origin.added === null && (origin.name === name || columnNow(table, origin.name) === name);
    return isOwn || !hadBefore(turns, origin.added ?? turns.length, name) ? [] : [name];
  });
}

function isTouched({ before, ddl }: Turn, name: string): boolean {
  return !has(before, name) || drops(ddl, name) || renamesInto(ddl, name).length > 0;
}

/** What a column was in the beginning, or the turn that added it. */
function originOf(
  turns: readonly Turn[],
  column: string,
): { readonly name: string; readonly added: number | null } {
  let name = column;
  for (let turn = turns.length - 1; turn >= 0; turn -= 1) {
    const { before, ddl } = turns[turn] as Turn;
    const old = renamesInto(ddl, name).find((one) => has(before, one));
    if (old !== undefined) name = old;
    else if (!has(before, name) || drops(ddl, name)) return { name, added: turn };
  }
  return { name, added: null };
}

/** Was there a column of this name before that turn, or one that it dropped? */
function hadBefore(turns: readonly Turn[], turn: number, name: string): boolean {
  return turns.slice(0, turn + 1).some(({ before }) => has(before, name));
}

function has({ columns }: Turn['before'], name: string): boolean {
  return columns.some((column) => column.name === name);
}
