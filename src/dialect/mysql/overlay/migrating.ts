/**
 * A migration of the candidate's. These servers tell nobody of a table's change, and triggers of ours would
 * fail once a column is gone. So nothing captures meanwhile: production's image of every table is copied
 * aside before, and what the migration left is compared with it after, under closed tables.
 *
 * Invariant: from the note on that a copy is whole (`kept`) until the end, production's image is in the
 * copies alone, which nobody else may read or write. What a crash leaves is ended by who takes the fence.
 */
import { tableName } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { columnNow } from '../../../schema/former-columns.ts';
import type { Fence } from '../../dialect.ts';
import type { ColumnRename, MigratingAccount, MigrationOutcome } from '../../migrating.ts';
import { describeReshaped, reshapeOf, type Reshaped } from '../../sql/reshaped.ts';
import { readTables } from '../catalogue/catalogue.ts';
import { Client } from '../session/client.ts';
import { isConnectionLoss } from '../session/errors.ts';
import { patiently } from '../session/metadata-locks.ts';
import {
  CAPTURING,
  CLOSING,
  companionName,
  journalName,
  quote,
  triggerName,
  viewDatabase,
  VIEWS,
} from '../session/names.ts';
import {
  closeMigratingAccount,
  noteApplier,
  openMigratingAccount,
  triggerDefiner,
  unlessNotedApplier,
} from '../shadow/accounts.ts';
import { claimPresence } from '../shadow/fence.ts';
import { readDefinedTriggers } from '../schema/defined-triggers.ts';
import { defineTrigger } from '../shadow/clone-code.ts';
import { assertGround } from '../shadow/ground.ts';
import { insideViews } from '../shadow/view-databases.ts';
import { captureAgain, closeTables, tableNames } from './closed.ts';
import type { Place } from './install.ts';
import { describeCaptured, noteUncaptured, readCaptured, readCapturedNames } from './journal.ts';
import { moveNumbersAbove } from './numbers-above.ts';
import { rebuildAsImage, rebuildAsOwn, journalIsThere } from './rebuilt-journal.ts';
import {
  forgetReshaped,
  keepImage,
  letRead,
  readReshapes,
  saveOwnTables,
  saveReshaped,
} from './reshapes.ts';
import { readTriggers } from './triggers.ts';
import { dropWaiting } from './waiting.ts';

const note = (database: string): string => quote(companionName(database), 'migrating');

/** States of the note, beside 0: production's image is kept whole; and what became of all tables is written down. */
const KEPT = 1;
const RECONCILED = 2;

/** What is to be known at the end, as JSON. */
interface Begun {
  readonly renames: readonly ColumnRename[];
  /** Tables of production's without a key: what is written there is not captured. */
  readonly keyless: readonly string[];
}

/** While the caller holds the fence. Errors: see Migrations. */
export async function beginMigration(
  place: Place,
  fence: Fence,
  renames: readonly ColumnRename[],
): Promise<MigratingAccount> {
  const { address, database, source } = place;
  const client = await Client.connect(address, database);
  try {
    await claimPresence(client, database, fence, 'copy0');
    await assertGround(client, database);
    const { catalogue } = await readTables(client, database, source);
    const { tables: before, own } = await readReshapes(client, database, source);
    const keyless = [...catalogue.values()].filter(({ key }) => key.length === 0);
    const begun: Begun = { renames, keyless: keyless.map(({ id }) => id.name) };
    await client.run(`INSERT INTO ${note(database)} (account, renames) VALUES ('', ?)`, [
      JSON.stringify(begun),
    ]);
    try {
      await client.run('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
      const visible = new Set([...before.values()].map((one) => nameOf(one.visible)));
      for (const table of await readCaptured(client, database, source)) {
        const { label, schema } = table;
        if (visible.has(label) || own.has(label)) continue;
        await keepImage(client, database, table);
        await letRead(client, database, schema.id.name);
        const columns = new Map(table.columns.map(({ schema: { name } }) => [name, name] as const));
        await saveReshaped(client, database, {
          schema,
          visible: schema.id,
          columns,
          partitions: [],
        });
      }
      await client.run(`UPDATE ${note(database)} SET kept = ${String(KEPT)}`);
      await dropCapture(client, database);
      const { url, user, password } = await openMigratingAccount(client, address, database);
      return { url, environment: environmentOf(url, database, user, password) };
    } catch (error) {
      // Who takes the fence next ends it; of a session that is lost this fails too, and says less.
      if (!isConnectionLoss(error)) await endNoted(client, place);
      throw error;
    }
  } finally {
    await client.end();
  }
}

function nameOf(table: Reshaped['visible']): string | null {
  return table === null ? null : tableName(table);
}

function environmentOf(
  url: string,
  database: string,
  user: string,
  password: string,
): MigratingAccount['environment'] {
  const { hostname, port } = new URL(url);
  return {
    ...{ DATABASE_URL: url, MYSQL_HOST: hostname, MYSQL_TCP_PORT: port === '' ? '3306' : port },
    ...{ MYSQL_PORT: port === '' ? '3306' : port, MYSQL_USER: user, MYSQL_PWD: password },
    ...{ MYSQL_PASSWORD: password, MYSQL_DATABASE: database, MYSQL_UNIX_PORT: null },
  };
}

/** Nothing of ours is left that a change of a table could break. */
async function dropCapture(client: Client, database: string): Promise<void> {
  for (const triggers of (await readTriggers(client, database, CAPTURING)).values()) {
    for (const { name } of triggers) {
      await patiently(client, database, `DROP TRIGGER ${quote(database, name)}`);
    }
  }
  for (const kind of VIEWS) {
    const beside = viewDatabase(database, kind);
    for (const name of (await insideViews(client, database, beside)).ours) {
      await patiently(client, database, `DROP VIEW ${quote(beside, name)}`);
    }
  }
}

/** While the caller holds the fence. INTERNAL if none was begun. Errors: see Migrations. */
export async function endMigration(place: Place, fence: Fence): Promise<MigrationOutcome> {
  const client = await Client.connect(place.address, place.database);
  try {
    await claimPresence(client, place.database, fence, 'copy0');
    const outcome = await endNoted(client, place);
    if (outcome !== null) return outcome;
    throw new UnderstudyError('INTERNAL', 'no migration was begun', { database: place.database });
  } finally {
    await client.end();
  }
}

/** What a crash left, while the caller holds the fence. False if there is none. Errors: see Migrations. */
export async function endBegunMigration(place: Place, fence: Fence): Promise<boolean> {
  const { address, database } = place;
  const client = await Client.connect(address, database);
  try {
    const begun = await client.rows(`SELECT kept FROM ${note(database)}`);
    if (begun.length === 0) return false;
    await claimPresence(client, database, fence, 'copy0');
    await noteApplier(client, database);
    await endNoted(client, place);
    return true;
  } finally {
    await client.end();
  }
}

async function endNoted(client: Client, place: Place): Promise<MigrationOutcome | null> {
  const { database, source } = place;
  const [begun] = await client.rows<{ renames: string; kept: number }>(
    `SELECT renames, kept FROM ${note(database)}`,
  );
  if (begun === undefined) return null;
  await closeMigratingAccount(client, database);
  await assertGround(client, database);
  const kept = Number(begun.kept);
  const isKept = kept > 0;
  if (isKept) await closeTables(client, database, await tableNames(client, database));
  if (kept === KEPT) {
    await reconcile(client, place, JSON.parse(begun.renames) as Begun);
    await spareApplier(client, place);
    // From here on it is known of each table what became of it; what is forgotten next, nobody asks for again.
    await client.run(`UPDATE ${note(database)} SET kept = ${String(RECONCILED)}`);
  }
  // Before anything is kept nothing was changed: then only what is not needed goes.
  await forgetSame(client, place);
  const all = isKept ? await captureAgain(client, place) : [];
  // A table that was swapped for another, or made anew, numbers its rows from production's on.
  await moveNumbersAbove(
    client,
    all.filter(({ key }) => key.length > 0),
  );
  await client.run(`DELETE FROM ${note(database)}`);
  const { tables, own } = await readReshapes(client, database, source);
  const now = await readTables(client, database, source);
  return {
    reshaped: [...tables.values()].map((one) =>
      describeReshaped(one, now.catalogue.get(nameOf(one.visible) ?? '')),
    ),
    own: [...now.catalogue.values()].flatMap(({ id }) => (own.has(tableName(id)) ? [id] : [])),
    notCaptured: all.flatMap(({ key, schema }) => (key.length === 0 ? [schema.id] : [])),
  };
}

/** Journals hold what differs from what was kept, and the registry tells what became of each table. */
async function reconcile(client: Client, place: Place, begun: Begun): Promise<void> {
  const { database, source } = place;
  await client.run('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
  const now = await readTables(client, database, source);
  const { tables } = await readReshapes(client, database, source);
  const followed = new Set<string>();
  for (const [label, before] of tables) {
    const schema = now.catalogue.get(label);
    const nameNow = (column: string): string | null => {
      // By an earlier migration it may have another name already.
      const was = before.columns.has(column) ? (before.columns.get(column) ?? null) : column;
      if (was === null) return null;
      // One that was announced, and not done before the migration was cut off, or failed, gave it no other name.
      const renamed = begun.renames.find(
        ({ table, from, to }) =>
          tableName(table) === label &&
          from === was &&
          schema?.columns.some(({ name }) => name === to) === true,
      );
      return renamed?.to ?? (schema === undefined ? was : columnNow(schema, was));
    };
    const found = reshapeOf(before, schema ?? null, nameNow);
    const reshaped = found ?? { ...before, visible: before.schema.id, columns: same(before) };
    const table =
      reshaped.visible === null ? null : describeCaptured(now, database, before.schema.id);
    const built = table === null ? null : await rebuildAsImage(client, database, table, reshaped);
    await saveReshaped(client, database, built ?? { ...reshaped, visible: null });
    if (built !== null) followed.add(label);
  }
  const own: string[] = [];
  for (const [label, { id, key }] of now.catalogue) {
    if (followed.has(label) || (begun.keyless.includes(id.name) && !tables.has(label))) continue;
    own.push(id.name);
    if (key.length === 0) continue;
    await rebuildAsOwn(client, database, describeCaptured(now, database, id));
  }
  await saveOwnTables(client, database, own);
  // Also of tables that an earlier migration made: production may come to have one of the name.
  const names = await readCapturedNames(client, database);
  for (const name of new Set([
    ...names,
    ...[...tables.values()].map(({ schema }) => schema.id.name),
  ])) {
    if (now.catalogue.has(tableName({ schema: source, name }))) continue;
    if (await journalIsThere(client, database, name)) {
      await client.run(`DROP TABLE ${quote(companionName(database), journalName(name))}`);
    }
    await dropWaiting(client, database, name);
    await noteUncaptured(client, database, name);
  }
}

function same({ schema }: Reshaped): Reshaped['columns'] {
  return new Map(
    schema.columns.flatMap(({ name, generated }) => (generated === 'no' ? [[name, name]] : [])),
  );
}

/** Of tables that are as production has them nothing is kept beside them. */
async function forgetSame(client: Client, { database, source }: Place): Promise<void> {
  const { catalogue } = await readTables(client, database, source);
  const { tables } = await readReshapes(client, database, source);
  for (const [label, before] of tables) {
    const now = before.visible === null ? null : (catalogue.get(label) ?? null);
    if (reshapeOf(before, now, (name) => before.columns.get(name) ?? name) !== null) continue;
    await forgetReshaped(client, database, before.schema.id.name);
  }
}

/** Triggers that a migration made act for the candidate, and not on what is applied. */
async function spareApplier(client: Client, { database, source, acts }: Place): Promise<void> {
  const ours = new RegExp(`${CAPTURING}|${CLOSING}`);
  for (const trigger of await readDefinedTriggers(client, database)) {
    if (ours.test(trigger.name) || trigger.body.includes(unlessNotedApplier(database))) continue;
    const isActing = acts?.({ schema: source, name: trigger.table }, trigger.name) === true;
    const spared = { ...trigger, acts: isActing };
    // Once beside it: what cannot be made so must not be lost.
    const name = triggerName(trigger.name, 'tried');
    const drop = (one: string): Promise<void> =>
      patiently(client, database, `DROP TRIGGER IF EXISTS ${quote(database, one)}`);
    await drop(name);
    await defineTrigger(client, database, { ...spared, name }, triggerDefiner(database));
    await drop(name);
    await drop(trigger.name);
    await defineTrigger(client, database, spared, triggerDefiner(database));
  }
}
