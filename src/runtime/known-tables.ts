/**
 * Which of production's tables the shadow's are, where tables keep something through a change of their names.
 *
 * Invariant: what is noted is of the server and database that production is now, or it counts for nothing.
 */
import { tableName } from '../change/table-id.ts';
import type { TableIdentities, TableIdentity } from '../dialect/evolving.ts';
import { persistently, type Ends } from './schema-ends.ts';
import type { Stage } from './stage.ts';

export interface KnownTables {
  /** As noted, of production as it is now. */
  readonly known: readonly TableIdentity[];
  /** Names, by `tableName()`, of tables of which only another server's identity is noted. */
  readonly stale: ReadonlySet<string>;
  /** Read after that. */
  readonly now: TableIdentities;
}

/**
 * What is noted, and production's tables. Where nothing noted is of production's server and database, as
 * after an upgrade of it or a move, all that it has is noted anew by name, with a warning. Null where
 * nothing is noted. Errors: those of both ends.
 */
export async function readKnownTables(
  stage: Stage,
  { source, target }: Omit<Ends, 'production'>,
): Promise<KnownTables | null> {
  const { context, database, holder } = stage;
  const { identities: ledger } = target;
  if (source.identities === null || ledger === null) return null;
  const noted = await ledger.known();
  const now = await source.identities();
  const isOwn = ({ id }: TableIdentity): boolean => id.startsWith(now.origin);
  const known = noted.filter(isOwn);
  const stale = new Set(noted.filter((one) => !isOwn(one)).map(({ table }) => tableName(table)));
  if (stale.size === 0 || known.length > 0) return { known, stale, now };
  const renewed = now.tables.filter(({ table }) => stale.has(tableName(table)));
  if (renewed.length === 0) return { known, stale, now };
  await persistently(stage, () => ledger.keep(holder.fence, renewed));
  const what =
    'production is another server or database than before: its tables are known by their names from now on';
  context.logger.warn(what, { database: database.name, tables: renewed.length });
  for (const { table } of renewed) stale.delete(tableName(table));
  return { known: renewed, stale, now };
}
