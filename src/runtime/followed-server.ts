/** Production as the configuration names it, and production as the connector reads it. */
import type { ProductionDatabase } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { StoredOffsets } from '../source/committed-offsets.ts';
import type { RuntimeContext } from './context.ts';

/**
 * Before anything is compared with production or read from it: what another server has would be taken
 * for drift, and written. PRODUCTION_NOT_FOLLOWED where it surely is another one.
 */
export async function assertFollowed(
  context: Pick<RuntimeContext, 'connect'>,
  production: Pick<ProductionDatabase, 'unlike' | 'address'>,
  committed: StoredOffsets,
): Promise<void> {
  const slot = (await context.connect?.target())?.slot ?? null;
  const why = await production.unlike({ slot, offsets: await committed.stored() });
  if (why === null) return;
  throw new UnderstudyError(
    'PRODUCTION_NOT_FOLLOWED',
    `${production.address} is not what the connector reads`,
    { detail: why },
  );
}
