/** Foreign keys between the tables of one database, as statements over their rows need to know them. */
import { ACTS, readIndexes, readReferences, type KeyReference } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import { quote } from '../session/names.ts';
import type { CapturedTable } from './journal.ts';

/** A foreign key that leads from `child` to `parent`. */
export interface Edge {
  readonly child: CapturedTable;
  readonly parent: CapturedTable;
  readonly reference: KeyReference;
  /** The child by the columns that refer. */
  readonly childAccess: Access;
  /** The parent by those that are referred to. */
  readonly parentAccess: Access;
}

/** How rows of a table are found by some of its columns. */
export interface Access {
  /** `FORCE INDEX …`, so that no join ever scans the table. */
  readonly hint: string;
  /**
   * The index holds the rows themselves. A shared lock by another one may be a lock of its entry alone, and
   * who takes the row by its key does not meet it.
   */
  readonly isPrimary: boolean;
}

const PRIMARY = 'PRIMARY';

/** All foreign keys from one of these tables to one of them. */
export async function readEdges(
  client: Client,
  database: string,
  tables: readonly CapturedTable[],
): Promise<readonly Edge[]> {
  const byName = new Map(tables.map((table) => [table.schema.id.name, table]));
  const indexes = await readIndexes(client, database);
  const access = (table: string, columns: readonly string[]): Access => {
    const names = (indexes.get(table) ?? [])
      .filter((index) => columns.every((column, i) => index.columns[i] === column))
      .map(({ name }) => name);
    const name = names.includes(PRIMARY) ? PRIMARY : names[0];
    const hint = name === undefined ? '' : `FORCE INDEX FOR JOIN (${quote(name)})`;
    return { hint, isPrimary: name === PRIMARY };
  };
  return (await readReferences(client, database)).flatMap((reference) => {
    const [child, parent] = [byName.get(reference.table), byName.get(reference.references)];
    if (child === undefined || parent === undefined || reference.schema !== database) return [];
    const childAccess = access(reference.table, reference.columns);
    const parentAccess = access(reference.references, reference.referencedColumns);
    return [{ child, parent, reference, childAccess, parentAccess }];
  });
}

/**
 * To be joined after rows of `alias` that were found by `access`: the rows themselves, so that a shared
 * lock is one of them.
 */
export function rowItself(table: CapturedTable, alias: string, access: Access): string {
  if (access.isPrimary || table.key.length === 0) return '';
  const on = table.key.map(({ name }) => `whole.${name} = ${alias}.${name}`).join(' AND ');
  return `STRAIGHT_JOIN ${table.relation} whole ${table.keyHint} ON ${on}`;
}

export const isSelf = ({ child, parent }: Edge): boolean => child.label === parent.label;

/** Does a change of the parent's row do something to rows of the child? */
export const acts = ({ reference }: Pick<Edge, 'reference'>): boolean =>
  ACTS.has(reference.onDelete) || ACTS.has(reference.onUpdate);

/**
 * These tables, and all whose triggers know of them: what is done to a row of those goes on to rows of
 * these, by however many foreign keys.
 */
export function withParents(
  tables: readonly string[],
  references: readonly KeyReference[],
): ReadonlySet<string> {
  const found = new Set(tables);
  // What is added meanwhile comes up as well.
  for (const table of found) {
    for (const reference of references) {
      if (reference.table === table && acts({ reference })) found.add(reference.references);
    }
  }
  return found;
}

/** Does it lead from or to a column that the server computes? */
export function isComputed({ child, parent, reference }: Edge): boolean {
  const written = (table: CapturedTable, names: readonly string[]): boolean =>
    names.every((name) => table.columns.some(({ schema }) => schema.name === name));
  return !written(child, reference.columns) || !written(parent, reference.referencedColumns);
}
