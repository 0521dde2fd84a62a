/**
 * Installs the overlay on a fresh clone: for each table with a key a journal and the triggers that fill
 * it, and numbers of new rows far above production's. Each statement commits by itself. It may be run
 * again after a crash: what is there stays.
 *
 * Not captured: TRUNCATE, DROP, changes of a table's shape and of its partitions, which fire nothing, and
 * which the candidate's account has no right to; tables without a key.
 */
import type { InstalledOverlay, Fence } from '../../dialect.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { withFormerColumns } from '../../../schema/former-columns.ts';
import { readTables } from '../catalogue/catalogue.ts';
import type { ServerAddress } from '../session/address.ts';
import { Client, SQL_MODE } from '../session/client.ts';
import { isConnectionLoss } from '../session/errors.ts';
import { assertNoAnonymous, triggerDefiner, unlessApplier } from '../shadow/accounts.ts';
import { claimPresence } from '../shadow/fence.ts';
import { readFormerColumns } from '../shadow/former-columns.ts';
import { acts, isComputed, readEdges, type Edge } from './edges.ts';
import {
  describeCaptured,
  ensureJournal,
  isOldJournal,
  noteCaptured,
  readCapturedNames,
  type CapturedTable,
} from './journal.ts';
import { moveNumbersAbove } from './numbers-above.ts';
import {
  capturingTriggers,
  closeTables,
  ensureTrigger,
  isToBeCaptured,
  openTables,
} from './triggers.ts';
import { ensureViews } from './views.ts';

interface Place {
  readonly address: ServerAddress;
  readonly database: string;
  /** Name of the followed database in production. */
  readonly source: string;
}

/** While the caller holds the fence. Errors: TARGET_NOT_OURS for an account without a name; the driver's. */
export async function installOverlay(place: Place, fence: Fence): Promise<InstalledOverlay> {
  const { address, database } = place;
  const client = await Client.connect(address, database);
  try {
    await claimPresence(client, database, fence, 'copy0');
    const all = await captureTables(client, place);
    const sequencesLeft = await moveNumbersAbove(client, all);
    const notCaptured = all.filter(({ key }) => key.length === 0).map(({ schema }) => schema.id);
    return { notCaptured, sequencesLeft };
  } finally {
    await client.end();
  }
}

/** Journals and triggers for the tables as they are now; returns all tables, also those without a key. */
async function captureTables(
  client: Client,
  { database, source }: Pick<Place, 'database' | 'source'>,
): Promise<readonly CapturedTable[]> {
  await assertNoAnonymous(client);
  const found = await readTables(client, database, source);
  const former = await readFormerColumns(client, database);
  const tables = { ...found, catalogue: withFormerColumns(found.catalogue, former) };
  const all = [...tables.catalogue.values()].map(({ id }) =>
    describeCaptured(tables, database, id),
  );
  const captured = all.filter(({ key }) => key.length > 0);
  const edges = await readEdges(client, database, all);
  assertFollowed(edges);
  const unless = await unlessApplier(client);
  for (const table of captured) {
    await ensureJournal(client, database, table);
    await client.run(
      `GRANT SELECT, INSERT, UPDATE ON ${table.journal} TO ${triggerDefiner(database)}`,
    );
  }
  for (const table of all) {
    for (const trigger of capturingTriggers(table, edges, unless)) {
      await ensureTrigger(client, database, trigger);
    }
  }
  await ensureViews(client, database, captured);
  for (const table of captured) await noteCaptured(client, database, table);
  return all;
}

/**
 * Runs `change`, in which tables get other shapes, which our triggers would not survive; then captures as
 * the tables are, also after a failure. Meanwhile the tables are closed to the candidate, whose statements
 * fail as by a lock that others hold. After a crash in between they stay so until `recapture`.
 */
export async function withoutCapture<T>(
  client: Client,
  place: Pick<Place, 'database' | 'source'>,
  change: () => Promise<T>,
): Promise<T> {
  const { database } = place;
  if ((await readCapturedNames(client, database)).size === 0) return change();
  const unless = await unlessApplier(client);
  let closed: ReadonlySet<string> | null = null;
  const captureAgain = async (): Promise<void> => {
    await client.run(`SET SESSION sql_mode = '${SQL_MODE}'`);
    const all = await captureTables(client, place);
    const isNew = ({ key, schema }: CapturedTable): boolean =>
      key.length > 0 && closed?.has(schema.id.name) === false;
    await moveNumbersAbove(client, all.filter(isNew));
    await openTables(client, database);
  };
  let result: T;
  try {
    closed = await closeTables(client, database, unless);
    result = await change();
  } catch (error) {
    // Of a session that is lost nothing can be asked any more: who comes next does it.
    if (!isConnectionLoss(error)) await captureAgain();
    throw error;
  }
  await captureAgain();
  return result;
}

/**
 * Captures again what a crash left closed, what was captured while another account applied, and what an
 * older version captured. While the
 * caller holds the fence. Errors: as `installOverlay`, and SCHEMA_FAILED.
 */
export async function recapture(place: Place, fence: Fence): Promise<void> {
  const { address, database } = place;
  const client = await Client.connect(address, database);
  try {
    const isDue =
      (await isToBeCaptured(client, database, await unlessApplier(client))) ||
      (await isOldJournal(client, database));
    if (!isDue) return;
    await claimPresence(client, database, fence, 'copy0');
    await withoutCapture(client, place, () => Promise.resolve());
  } finally {
    await client.end();
  }
}

/** SCHEMA_FAILED if there is a foreign key whose actions cannot be followed. */
function assertFollowed(edges: readonly Edge[]): void {
  for (const edge of edges.filter(acts)) {
    const { child, parent } = edge;
    if (isComputed(edge)) {
      const what = 'a foreign key with an action has a computed column, of which no image is kept';
      throw notFollowed(what, child.label);
    }
    const uniques = parent.schema.uniques.filter(({ plain }) => plain);
    if (parent.keyIndex === null || uniques.some(({ primary }) => primary)) continue;
    if (uniques.length === 1) continue;
    const what = 'a foreign key with an action leads to a table without a primary key';
    throw notFollowed(what, parent.label);
  }
}

function notFollowed(what: string, table: string): UnderstudyError {
  const detail = 'let it be without ON DELETE and ON UPDATE in the trunk';
  return new UnderstudyError('SCHEMA_FAILED', what, { table, detail });
}
