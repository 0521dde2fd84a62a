/**
 * Tables that get another shape, or are made, below a candidate that goes on writing. These servers commit
 * at each such statement, so a table is closed to the candidate before, and opened when all that captures is
 * there. What a crash leaves in between is closed: `recapture` goes on from there.
 *
 * Invariant: at no time may the candidate write a table whose writes are not captured.
 */
import type { Fence } from '../../dialect.ts';
import { readReferences } from '../catalogue/catalogue.ts';
import { Client } from '../session/client.ts';
import { isConnectionLoss } from '../session/errors.ts';
import { patiently } from '../session/metadata-locks.ts';
import { companionName, journalName, quote, UNADMITTED, unadmittedName } from '../session/names.ts';
import { noteApplier, unlessApplier } from '../shadow/accounts.ts';
import { claimPresence } from '../shadow/fence.ts';
import { assertGround } from '../shadow/ground.ts';
import { withParents } from './edges.ts';
import { captureTables, type Place } from './install.ts';
import { isOldJournal, noteUncaptured, readCapturedNames, type CapturedTable } from './journal.ts';
import { moveNumbersAbove } from './numbers-above.ts';
import { closeTable, isToBeCaptured, openTables } from './triggers.ts';
import { dropWaiting, lacksWaiting } from './waiting.ts';

/**
 * Runs `change`, in which these tables get other shapes, which our triggers would not survive; then captures
 * as the tables are, also after a failure. Meanwhile the candidate's statements on them, and on tables by
 * which theirs reach them, fail as by a lock that others hold. Errors: as `installOverlay`, of `change`, and
 * APPLY_BLOCKED where a transaction keeps a table from being closed; then nothing is changed.
 */
export async function withoutCapture<T>(
  client: Client,
  place: Pick<Place, 'database' | 'source'>,
  tables: readonly string[],
  change: () => Promise<T>,
): Promise<T> {
  const { database } = place;
  let result: T;
  try {
    await closeTables(client, database, tables);
    result = await change();
  } catch (error) {
    // Of a session that is lost nothing can be asked any more: who comes next does it.
    if (!isConnectionLoss(error)) await captureAgain(client, place);
    throw error;
  }
  await captureAgain(client, place);
  return result;
}

/** As the tables are now; then they are open again. Returns all, also those without a key. */
export async function captureAgain(
  client: Client,
  place: Pick<Place, 'database' | 'source'>,
): Promise<readonly CapturedTable[]> {
  const { database } = place;
  await dropUnadmitted(client, database);
  const before = await readCapturedNames(client, database);
  const all = await captureTables(client, place, 'a candidate may write');
  const isNew = ({ key, schema }: CapturedTable): boolean =>
    key.length > 0 && !before.has(schema.id.name);
  await moveNumbersAbove(client, all.filter(isNew));
  await openTables(client, database);
  return all;
}

/** Nobody but who applies writes these, and those by which others write them, from then on. */
export async function closeTables(
  client: Client,
  database: string,
  tables: readonly string[],
): Promise<void> {
  const there = new Set(await tableNames(client, database));
  const unless = await unlessApplier(client);
  for (const table of withParents(tables, await readReferences(client, database))) {
    if (there.has(table)) await closeTable(client, database, table, { unless });
  }
}

/**
 * Makes a new table with nobody but who applies writing to it: `make` makes it under another name, by which
 * no program knows it, and it gets its own when it is closed. Rows that somebody wrote there go.
 */
export async function makeClosed(
  client: Client,
  database: string,
  table: string,
  make: (name: string) => Promise<void>,
): Promise<void> {
  const name = unadmittedName(table);
  await client.run(`DROP TABLE IF EXISTS ${quote(database, name)}`);
  await make(name);
  const unless = await unlessApplier(client);
  await closeTable(client, database, name, { unless, named: table });
  await client.run(`DELETE FROM ${quote(database, name)}`);
  // An earlier table of the name may have been captured.
  await noteUncaptured(client, database, table);
  await client.run(`DROP TABLE IF EXISTS ${quote(companionName(database), journalName(table))}`);
  await dropWaiting(client, database, table);
  await patiently(
    client,
    database,
    `RENAME TABLE ${quote(database, name)} TO ${quote(database, table)}`,
  );
}

/** What a crash, or a failure, left of tables to be made. */
async function dropUnadmitted(client: Client, database: string): Promise<void> {
  for (const name of await tableNames(client, database)) {
    if (name.endsWith(UNADMITTED)) {
      await patiently(client, database, `DROP TABLE ${quote(database, name)}`);
    }
  }
}

export async function tableNames(client: Client, database: string): Promise<readonly string[]> {
  const rows = await client.rows<{ name: string }>(
    `SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?
      AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY TABLE_NAME`,
    [database],
  );
  return rows.map(({ name }) => name);
}

/**
 * Captures again what a crash left closed, what was captured while another account applied, and what an older
 * version captured. While the caller holds the fence. Errors: as `installOverlay`, and APPLY_BLOCKED.
 */
export async function recapture(place: Place, fence: Fence): Promise<void> {
  const { address, database } = place;
  const client = await Client.connect(address, database);
  try {
    await assertGround(client, database);
    await noteApplier(client, database);
    const isHalfMade = (await tableNames(client, database)).some((name) =>
      name.endsWith(UNADMITTED),
    );
    const unless = await unlessApplier(client);
    const isDue =
      isHalfMade ||
      (await isToBeCaptured(client, database, unless)) ||
      (await isOldJournal(client, database)) ||
      (await lacksWaiting(client, database));
    if (!isDue) return;
    await claimPresence(client, database, fence, 'copy0');
    await withoutCapture(client, place, [], () => Promise.resolve());
  } finally {
    await client.end();
  }
}
