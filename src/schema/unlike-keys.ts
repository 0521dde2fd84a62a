import { tableName, type TableId } from '../change/table-id.ts';
import type { ForeignKey, SchemaCatalogue } from './table-schema.ts';

/** A foreign key that acts unseen on one server and is logged on the other. */
export interface UnlikeKey {
  readonly table: TableId;
  readonly key: string;
  /** Whether production's log holds what it does. */
  readonly isLogged: boolean;
}

/**
 * Foreign keys that both servers have, and of which one's log holds what they delete and change and the
 * other's does not. The applier goes by the shadow's: rows would stay that production has no more, or
 * be changed twice.
 */
export function unlikeKeys(
  shadow: SchemaCatalogue,
  production: SchemaCatalogue,
): readonly UnlikeKey[] {
  return [...shadow.values()].flatMap(({ id, foreignKeys }) => {
    const theirs = production.get(tableName(id))?.foreignKeys ?? [];
    return foreignKeys.flatMap((ours) => {
      const same = theirs.find(({ name }) => name === ours.name);
      if (same === undefined || isLogged(ours) === isLogged(same)) return [];
      return [{ table: id, key: ours.name, isLogged: isLogged(same) }];
    });
  });
}

function isLogged({ unlogged }: ForeignKey): boolean {
  return unlogged === undefined;
}
