import { tableName } from '../change/table-id.ts';
import type { Diagnosis } from '../dialect/dialect.ts';
import { CODES } from '../errors/codes.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { unlikeKeys } from '../schema/unlike-keys.ts';

/** Foreign keys of the trunk that act unseen on one of both servers only: nothing is applied then. */
export function diagnoseKeys(
  trunk: SchemaCatalogue,
  production: SchemaCatalogue,
): readonly Diagnosis[] {
  return unlikeKeys(trunk, production).map(({ table, key, isLogged }) => ({
    ...{ id: 'table.cascades-unlike', level: 'error', table },
    message: `table ${tableName(table)} has a foreign key (${key}) whose acts ${
      isLogged
        ? 'production logs and the shadow’s server does not'
        : 'only the shadow’s server logs'
    }`,
    cure: CODES.FOREIGN_KEYS_UNLIKE.cure,
  }));
}
