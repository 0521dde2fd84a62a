/**
 * Installs the overlay on a fresh clone: for each table with a key a journal and the triggers that fill
 * it, and numbers of new rows far above production's. Each statement commits by itself. It may be run
 * again after a crash: what is there stays.
 *
 * Not captured: TRUNCATE, DROP, changes of a table's shape and of its partitions, which fire nothing, and
 * which the candidate's account has no right to; tables without a key.
 */
import type { InstalledOverlay, Fence, ReadOnly } from '../../dialect.ts';
import type { ActingTriggers } from '../../overlay.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { withFormerColumns } from '../../../schema/former-columns.ts';
import { readTables } from '../catalogue/catalogue.ts';
import { readDefinedTriggers } from '../schema/defined-triggers.ts';
import type { ServerAddress } from '../session/address.ts';
import { Client } from '../session/client.ts';
import { CAPTURING } from '../session/names.ts';
import { triggerDefiner, unlessApplier } from '../shadow/accounts.ts';
import { claimPresence } from '../shadow/fence.ts';
import { readFormerColumns } from '../shadow/former-columns.ts';
import { assertGround } from '../shadow/ground.ts';
import { readAside } from '../shadow/triggers-aside.ts';
import { acts, isComputed, readEdges, withParents, type Edge } from './edges.ts';
import {
  describeCaptured,
  ensureJournal,
  isJournalDone,
  noteCaptured,
  type CapturedTable,
} from './journal.ts';
import { moveNumbersAbove } from './numbers-above.ts';
import { findGuards, setGuards } from './read-only.ts';
import { ensureKeptViews, readReshapes } from './reshapes.ts';
import {
  areThese,
  capturingTriggers,
  closeTable,
  ensureTrigger,
  readTriggers,
} from './triggers.ts';
import { ensureViews } from './views.ts';
import { ensureWaiting } from './waiting.ts';

export interface Place {
  readonly address: ServerAddress;
  readonly database: string;
  /** Name of the followed database in production. */
  readonly source: string;
  readonly acts?: ActingTriggers | null;
}

/** While the caller holds the fence. Errors: SHADOW_OPEN, SCHEMA_FAILED; the driver's. */
export async function installOverlay(
  place: Place,
  fence: Fence,
  readOnly?: ReadOnly | null,
): Promise<InstalledOverlay> {
  const { address, database } = place;
  const client = await Client.connect(address, database);
  try {
    await claimPresence(client, database, fence, 'copy0');
    await assertGround(client, database);
    const all = await captureTables(client, place, 'nobody writes yet');
    const sequencesLeft = await moveNumbersAbove(client, all);
    const catalogue = new Map(all.map(({ label, schema }) => [label, schema]));
    const guards = await findGuards(client, place, () => Promise.resolve(catalogue), readOnly);
    await setGuards(client, database, guards);
    const notCaptured = all.filter(({ key }) => key.length === 0).map(({ schema }) => schema.id);
    const defined = await readDefinedTriggers(client, database);
    const isThere = new Set(defined.map(({ name }) => name));
    const aside = await readAside(client, database);
    const triggersLeft = aside.filter(({ name }) => !isThere.has(name));
    return {
      ...{ notCaptured, sequencesLeft },
      triggersLeft: triggersLeft.map(({ name, table }) => `${name} of table ${table}`),
    };
  } finally {
    await client.end();
  }
}

/**
 * Journals and triggers for the tables as they are now; returns all tables, also those without a key. Where
 * a candidate may write meanwhile, each table of which something is to be made is closed to it before, and
 * stays so until `openTables`.
 */
export async function captureTables(
  client: Client,
  { database, source }: Pick<Place, 'database' | 'source'>,
  who: 'nobody writes yet' | 'a candidate may write',
): Promise<readonly CapturedTable[]> {
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
  const wanted = new Map(
    all.map((table) => [table.schema.id.name, capturingTriggers(table, edges, unless)] as const),
  );
  if (who === 'a candidate may write') {
    const there = await readTriggers(client, database, CAPTURING);
    const due = [...wanted].flatMap(([name, triggers]) =>
      areThese(there.get(name) ?? [], triggers) ? [] : [name],
    );
    for (const table of captured) {
      const isDone = await isJournalDone(client, database, table);
      if (!isDone)
        due.push(
          ...withParents(
            [table.schema.id.name],
            edges.map(({ reference }) => reference),
          ),
        );
    }
    for (const name of new Set(due)) await closeTable(client, database, name, { unless });
  }
  for (const table of captured) {
    await ensureJournal(client, database, table);
    await ensureWaiting(client, database, table);
    await client.run(`GRANT SELECT ON ${table.waiting} TO ${triggerDefiner(database)}`);
    await client.run(
      `GRANT SELECT, INSERT, UPDATE ON ${table.journal} TO ${triggerDefiner(database)}`,
    );
  }
  for (const triggers of wanted.values()) {
    for (const trigger of triggers) await ensureTrigger(client, database, trigger);
  }
  await ensureViews(client, database, captured);
  await ensureKeptViews(client, database, await readReshapes(client, database, source));
  for (const table of captured) await noteCaptured(client, database, table);
  return all;
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
