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
  /** `FORCE INDEX …` of the child over the columns that refer, so that no join ever scans the table. */
  readonly childHint: string;
  /** The same of the parent over those that are referred to. */
  readonly parentHint: string;
}

/** All foreign keys from one of these tables to one of them. */
export async function readEdges(
  client: Client,
  database: string,
  tables: readonly CapturedTable[],
): Promise<readonly Edge[]> {
  const byName = new Map(tables.map((table) => [table.schema.id.name, table]));
  const indexes = await readIndexes(client, database);
  const hint = (table: string, columns: readonly string[]): string => {
    const found = (indexes.get(table) ?? []).find((index) =>
      columns.every((column, i) => index.columns[i] === column),
    );
    return found === undefined ? '' : `FORCE INDEX FOR JOIN (${quote(found.name)})`;
  };
  return (await readReferences(client, database)).flatMap((reference) => {
    const [child, parent] = [byName.get(reference.table), byName.get(reference.references)];
    if (child === undefined || parent === undefined || reference.schema !== database) return [];
    return [
      {
        ...{ child, parent, reference },
        childHint: hint(reference.table, reference.columns),
        parentHint: hint(reference.references, reference.referencedColumns),
      },
    ];
  });
}

export const isSelf = ({ child, parent }: Edge): boolean => child.label === parent.label;

/** Does a change of the parent's row do something to rows of the child? */
export const acts = ({ reference }: Edge): boolean =>
  ACTS.has(reference.onDelete) || ACTS.has(reference.onUpdate);

/** Does it lead from or to a column that the server computes? */
export function isComputed({ child, parent, reference }: Edge): boolean {
  const written = (table: CapturedTable, names: readonly string[]): boolean =>
    names.every((name) => table.columns.some(({ schema }) => schema.name === name));
  return !written(child, reference.columns) || !written(parent, reference.referencedColumns);
}
