/**
 * Tables that a candidate may read and not write (tables.rules, mode `readonly`): triggers that refuse its
 * rows, whoever applies by then. They are made and dropped as the rules have it by now. TRUNCATE, which fires
 * none, the candidate's account has no right to.
 */
import type { Fence } from '../../fence.ts';
import type { ReadOnly } from '../../overlay.ts';
import type { SchemaCatalogue, TableSchema } from '../../../schema/table-schema.ts';
import { guardedTables } from '../../sql/reshaped.ts';
import { readTables } from '../catalogue/catalogue.ts';
import type { ServerAddress } from '../session/address.ts';
import { Client } from '../session/client.ts';
import { patiently } from '../session/metadata-locks.ts';
import {
  companionName,
  GUARDING,
  journalName,
  literal,
  quote,
  triggerName,
} from '../session/names.ts';
import { triggerDefiner, unlessNotedApplier } from '../shadow/accounts.ts';
import { claimPresence } from '../shadow/fence.ts';
import { readReshapes } from './reshapes.ts';
import { ensureTrigger, EVENTS, readTriggers, type Trigger } from './triggers.ts';

/** MariaDB and MySQL: what a session gets that writes in a READ ONLY transaction. */
const READ_ONLY_TRANSACTION = 1792;

/** A trigger, and the database that it and its table are in. */
interface Guard extends Trigger {
  readonly database: string;
}

export interface Guards {
  readonly missing: readonly Guard[];
  readonly surplus: readonly Pick<Guard, 'database' | 'name'>[];
}

/** What is to be made and dropped; `readOnly` null: there are no rules. Asks for the catalogue only if there are. */
export async function findGuards(
  client: Client,
  { database, source }: { readonly database: string; readonly source: string },
  catalogue: () => Promise<SchemaCatalogue>,
  readOnly: ReadOnly | null | undefined,
): Promise<Guards> {
  const there: Pick<Guard, 'database' | 'name' | 'body'>[] = [];
  for (const one of [database, companionName(database)]) {
    const found = await readTriggers(client, one, GUARDING);
    there.push(...[...found.values()].flat().map((guard) => ({ ...guard, database: one })));
  }
  if ((readOnly ?? null) === null && there.length === 0) return { missing: [], surplus: [] };
  const reshapes = await readReshapes(client, database, source);
  const guarded = guardedTables(await catalogue(), reshapes, readOnly ?? (() => false));
  const wanted = guarded.flatMap((table) => guardsOf(database, table));
  const is = (one: (typeof there)[number], other: (typeof there)[number]): boolean =>
    one.database === other.database && one.name === other.name;
  return {
    missing: wanted.filter(
      (guard) => !there.some((found) => is(found, guard) && found.body === guard.body),
    ),
    surplus: there.filter((found) => !wanted.some((guard) => is(found, guard))),
  };
}

/**
 * Makes and drops what is due, while the caller holds the fence: on a session of its own, for each statement
 * commits. APPLY_BLOCKED while somebody is at such a table.
 */
export async function guardReadOnly(
  reader: Client,
  place: { readonly address: ServerAddress; readonly database: string; readonly source: string },
  fence: Fence,
  readOnly: ReadOnly | null | undefined,
): Promise<void> {
  const { address, database, source } = place;
  const catalogue = async (): Promise<SchemaCatalogue> =>
    (await readTables(reader, database, source)).catalogue;
  const guards = await findGuards(reader, place, catalogue, readOnly);
  if (guards.missing.length + guards.surplus.length === 0) return;
  const client = await Client.connect(address, database);
  try {
    await claimPresence(client, database, fence, 'copy0');
    await setGuards(client, database, guards);
  } finally {
    await client.end();
  }
}

/** While the caller holds the fence; each statement commits by itself, and is done again after a crash. */
export async function setGuards(
  client: Client,
  rollout: string,
  { missing, surplus }: Guards,
): Promise<void> {
  for (const { database, ...trigger } of missing) {
    await client.run(
      `GRANT TRIGGER ON ${quote(database, trigger.table)} TO ${triggerDefiner(rollout)}`,
    );
    await ensureTrigger(client, rollout, trigger, database);
  }
  for (const { database, name } of surplus) {
    await patiently(client, database, `DROP TRIGGER IF EXISTS ${quote(database, name)}`);
  }
}

/** On the table; and on its journal, where what foreign keys do to its rows comes first (closure.ts). */
function guardsOf(rollout: string, { id: { name: table }, key }: TableSchema): readonly Guard[] {
  const text = literal(`${table} is read-only in this rollout`);
  const body = `IF ${unlessNotedApplier(rollout)} THEN SIGNAL SQLSTATE '25006'
    SET MYSQL_ERRNO = ${String(READ_ONLY_TRANSACTION)}, MESSAGE_TEXT = ${text}; END IF`;
  const guard = (database: string, on: string, event: Trigger['event']): Guard => {
    const name = triggerName(on, `r${event.charAt(0).toLowerCase()}`);
    return { database, name, table: on, event, timing: 'BEFORE', body };
  };
  const ofJournal = guard(companionName(rollout), journalName(table), 'INSERT');
  return [
    ...EVENTS.map((event) => guard(rollout, table, event)),
    ...(key.length === 0 ? [] : [ofJournal]),
  ];
}
