/** What foreign keys do by themselves, on production's server and on the shadow's. */
import { tableName } from '../change/table-id.ts';
import type { ShadowDatabase } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { unlikeKeys } from '../schema/unlike-keys.ts';
import type { RuntimeContext } from './context.ts';

/**
 * Before anything is applied that keeps transactions whole: FOREIGN_KEYS_UNLIKE if production's log holds
 * what a key does and the shadow's would not, or the other way round. Production that cannot be asked
 * keeps nobody from following.
 */
export async function assertKeysAlike(
  context: Pick<RuntimeContext, 'config' | 'production' | 'logger'>,
  database: Pick<ShadowDatabase, 'catalogue' | 'name'>,
): Promise<void> {
  if (context.config.consistency !== 'transaction') return;
  const ours = await database.catalogue();
  if (![...ours.values()].some(({ foreignKeys }) => foreignKeys.length > 0)) return;
  let theirs;
  try {
    theirs = await (await context.production())?.catalogue();
  } catch (error) {
    if (!isUnderstudyError(error, 'PRODUCTION_UNREACHABLE', 'DATABASE_PERMISSION')) throw error;
    const what = 'cannot ask production what its foreign keys do unseen';
    context.logger.warn(what, { database: database.name, error });
    return;
  }
  const [unlike] = unlikeKeys(ours, theirs ?? new Map());
  if (unlike === undefined) return;
  const { table, key, isLogged } = unlike;
  throw new UnderstudyError(
    'FOREIGN_KEYS_UNLIKE',
    'a foreign key acts otherwise on the shadow server',
    {
      ...{ database: database.name, table: tableName(table) },
      detail: isLogged
        ? `production logs what ${key} deletes and changes, the shadow’s server does not`
        : `the shadow’s server logs what ${key} deletes and changes, production does not`,
    },
  );
}
