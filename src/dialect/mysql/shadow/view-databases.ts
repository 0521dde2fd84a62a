/** The databases beside a rollout's that its views are in (overlay/views.ts): whose they are. */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { Client } from '../session/client.ts';
import { quote, viewDatabase, VIEWS } from '../session/names.ts';
import { triggerAccount } from './accounts.ts';

/** TARGET_NOT_OURS if somebody has something in a database that the views would be in. */
export async function assertRoomForViews(client: Client, database: string): Promise<void> {
  for (const kind of VIEWS) {
    const beside = viewDatabase(database, kind);
    const { others } = await insideViews(client, database, beside);
    if (!others) continue;
    const why = 'a database of this name exists, and is not empty';
    throw new UnderstudyError('TARGET_NOT_OURS', why, { database: beside });
  }
}

/** Drops the views, and their databases where nothing else is in them. */
export async function dropViews(client: Client, database: string): Promise<void> {
  for (const kind of VIEWS) {
    const beside = viewDatabase(database, kind);
    const { exists, ours, others } = await insideViews(client, database, beside);
    if (!exists) continue;
    if (!others) await client.run(`DROP DATABASE ${quote(beside)}`);
    else for (const name of ours) await client.run(`DROP VIEW ${quote(beside, name)}`);
  }
}

/** What a database that is for views of `database` has. */
export async function insideViews(
  client: Client,
  database: string,
  beside: string,
): Promise<{
  readonly exists: boolean;
  /** Our views. */
  readonly ours: readonly string[];
  readonly others: boolean;
}> {
  const { found } = await client.row<{ found: number }>(
    'SELECT COUNT(*) AS found FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?',
    [beside],
  );
  const views = await client.rows<{ name: string; isOurs: number }>(
    `SELECT TABLE_NAME AS name, DEFINER = ? AS isOurs FROM information_schema.VIEWS
      WHERE TABLE_SCHEMA = ?`,
    [triggerAccount(database).join('@'), beside],
  );
  const { things } = await client.row<{ things: number }>(
    `SELECT (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?)
      + (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = ?) AS things`,
    [beside, beside],
  );
  const ours = views.filter(({ isOurs }) => Number(isOurs) === 1).map(({ name }) => name);
  return { exists: Number(found) > 0, ours, others: Number(things) > ours.length };
}
