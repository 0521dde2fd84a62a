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
import { readTables } from '../catalogue/catalogue.ts';
import type { ServerAddress } from '../session/address.ts';
import { Client, SQL_MODE } from '../session/client.ts';
import { OUR_TRIGGERS, quote, triggerName } from '../session/names.ts';
import { assertNoAnonymous, triggerDefiner, unlessApplier } from '../shadow/accounts.ts';
import { claimPresence } from '../shadow/fence.ts';
import { captureBody } from './capture-sql.ts';
import { beforeDelete, beforeUpdate } from './closure.ts';
import { acts, isComputed, readEdges, type Edge } from './edges.ts';
import {
  describeCaptured,
  ensureJournal,
  noteCaptured,
  readCaptured,
  type CapturedTable,
} from './journal.ts';
import { moveNumbersAbove } from './numbers-above.ts';

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
  const tables = await readTables(client, database, source);
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
  for (const table of captured) {
    for (const trigger of triggersOf(table, edges, unless)) {
      await ensureTrigger(client, database, trigger);
    }
    await noteCaptured(client, database, table);
  }
  return all;
}

/**
 * Runs `change`, in which tables get other shapes, which our triggers would not survive; then captures as
 * the tables are, also after a failure. What a candidate wrote meanwhile would not be captured: its
 * account may not write (accounts.ts). After a crash in between nothing is captured before the next call.
 */
export async function withoutCapture<T>(
  client: Client,
  place: Pick<Place, 'database' | 'source'>,
  change: () => Promise<T>,
): Promise<T> {
  const { database } = place;
  if ((await readCaptured(client, database, place.source)).length === 0) return change();
  const triggers = await client.rows<{ name: string }>(
    `SELECT TRIGGER_NAME AS name FROM information_schema.TRIGGERS
      WHERE TRIGGER_SCHEMA = ? AND TRIGGER_NAME REGEXP '${OUR_TRIGGERS}'`,
    [database],
  );
  for (const { name } of triggers) await client.run(`DROP TRIGGER ${quote(database, name)}`);
  try {
    return await change();
  } finally {
    await client.run(`SET SESSION sql_mode = '${SQL_MODE}'`);
    await captureTables(client, place);
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

interface Trigger {
  readonly name: string;
  readonly table: CapturedTable;
  readonly timing: 'BEFORE' | 'AFTER';
  readonly event: 'INSERT' | 'UPDATE' | 'DELETE';
  readonly body: string;
}

function triggersOf(
  table: CapturedTable,
  edges: readonly Edge[],
  unless: string,
): readonly Trigger[] {
  const made = (
    timing: Trigger['timing'],
    event: Trigger['event'],
    body: string | null,
  ): readonly Trigger[] => {
    const purpose = `${timing.charAt(0)}${event.charAt(0)}`.toLowerCase();
    const name = triggerName(table.schema.id.name, purpose);
    return body === null ? [] : [{ name, table, timing, event, body }];
  };
  return [
    ...made('BEFORE', 'DELETE', beforeDelete(table, edges, unless)),
    ...made('BEFORE', 'UPDATE', beforeUpdate(table, edges, unless)),
    ...(['INSERT', 'UPDATE', 'DELETE'] as const).flatMap((event) =>
      made('AFTER', event, captureBody(table, event, unless)),
    ),
  ];
}

/** Under our sessions' mode, in which all that a table holds goes into its journal as it is. */
async function ensureTrigger(client: Client, database: string, trigger: Trigger): Promise<void> {
  const { name, table, timing, event, body } = trigger;
  const there = await client.rows<{ name: string; body: string }>(
    `SELECT TRIGGER_NAME AS name, ACTION_STATEMENT AS body FROM information_schema.TRIGGERS
      WHERE TRIGGER_SCHEMA = ? AND EVENT_OBJECT_TABLE = ? AND ACTION_TIMING = ?
        AND EVENT_MANIPULATION = ? ORDER BY ACTION_ORDER`,
    [database, table.schema.id.name, timing, event],
  );
  const same = there.find((one) => one.name === name);
  if (same?.body === body) return;
  if (same !== undefined) await client.run(`DROP TRIGGER ${quote(database, name)}`);
  const others = there.filter((one) => one.name !== name);
  // After: before what else is written is captured. Before: when the row is as it will be.
  const beside = timing === 'AFTER' ? others.at(0) : others.at(-1);
  const order = timing === 'AFTER' ? 'PRECEDES' : 'FOLLOWS';
  await client.run(
    `CREATE DEFINER = ${triggerDefiner(database)} TRIGGER ${quote(database, name)}
      ${timing} ${event} ON ${table.relation} FOR EACH ROW
      ${beside === undefined ? '' : `${order} ${quote(beside.name)}`}
      ${body}`,
  );
}
