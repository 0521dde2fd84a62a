/**
 * The triggers of a rollout: those that capture what a candidate writes, and while they are made anew, those
 * that close its tables to it. These servers change triggers one by one, and commit at each; so that
 * nothing is written in between that is not captured, the ones come before the others go, and stay for as
 * long as not all is there.
 */
import type { Client } from '../session/client.ts';
import { patiently } from '../session/metadata-locks.ts';
import { CAPTURING, CLOSING, literal, quote, triggerName } from '../session/names.ts';
import { triggerDefiner } from '../shadow/accounts.ts';
import { captureBody } from './capture-sql.ts';
import { beforeDelete, beforeUpdate } from './closure.ts';
import type { Edge } from './edges.ts';
import type { CapturedTable } from './journal.ts';

export const EVENTS = ['INSERT', 'UPDATE', 'DELETE'] as const;

export interface Trigger {
  readonly name: string;
  readonly table: string;
  readonly timing: 'BEFORE' | 'AFTER';
  readonly event: (typeof EVENTS)[number];
  readonly body: string;
}

/** What captures writes of a table; of one without a key, what they do to rows of others. */
export function capturingTriggers(
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
    const { name: of } = table.schema.id;
    const name = triggerName(of, purpose);
    return body === null ? [] : [{ name, table: of, timing, event, body }];
  };
  const isKept = table.key.length > 0;
  return [
    ...made('BEFORE', 'DELETE', beforeDelete(table, edges, unless)),
    ...made('BEFORE', 'UPDATE', beforeUpdate(table, edges, unless)),
    ...EVENTS.flatMap((event) =>
      made('AFTER', event, isKept ? captureBody(table, event, unless) : null),
    ),
  ];
}

/**
 * Under our sessions' mode, in which all that a table holds goes into its journal as it is. `where`: the
 * database that the table is in.
 */
export async function ensureTrigger(
  client: Client,
  database: string,
  trigger: Trigger,
  where = database,
): Promise<void> {
  const { name, table, timing, event, body } = trigger;
  const there = await client.rows<{ name: string; body: string }>(
    `SELECT TRIGGER_NAME AS name, ACTION_STATEMENT AS body FROM information_schema.TRIGGERS
      WHERE TRIGGER_SCHEMA = ? AND EVENT_OBJECT_TABLE = ? AND ACTION_TIMING = ?
        AND EVENT_MANIPULATION = ? ORDER BY ACTION_ORDER`,
    [where, table, timing, event],
  );
  const same = there.find((one) => one.name === name);
  if (same?.body === body) return;
  if (same !== undefined) await dropTrigger(client, where, name);
  const others = there.filter((one) => one.name !== name);
  // After: before what else is written is captured. Before: when the row is as it will be.
  const beside = timing === 'AFTER' ? others.at(0) : others.at(-1);
  const order = timing === 'AFTER' ? 'PRECEDES' : 'FOLLOWS';
  await patiently(
    client,
    database,
    `CREATE DEFINER = ${triggerDefiner(database)} TRIGGER ${quote(where, name)}
      ${timing} ${event} ON ${quote(where, table)} FOR EACH ROW
      ${beside === undefined ? '' : `${order} ${quote(beside.name)}`}
      ${body}`,
  );
}

function dropTrigger(client: Client, database: string, name: string): Promise<void> {
  return patiently(client, database, `DROP TRIGGER ${quote(database, name)}`);
}

/** Lock wait timeout, which a program meets in production too, and after which it may try again. */
const CLOSED = `SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205,
  MESSAGE_TEXT = 'the schema of this rollout is being changed; try again'`;

/**
 * Lets nobody write a table but who applies, then lets go of what captures there. `named`: as which table
 * it is known, if it has another name for now.
 */
export async function closeTable(
  client: Client,
  database: string,
  table: string,
  { unless, named = table }: { readonly unless: string; readonly named?: string },
): Promise<void> {
  const body = `IF ${unless} THEN ${CLOSED}; END IF`;
  const closing = (await readTriggers(client, database, CLOSING)).get(table) ?? [];
  for (const event of EVENTS) {
    const purpose = `c${event.charAt(0).toLowerCase()}`;
    const [name, other] = [triggerName(named, purpose), triggerName(named, `${purpose}2`)];
    const there = closing.filter((one) => one.name === name || one.name === other);
    if (there.some((one) => one.body === body)) continue;
    // One that spares another account goes when the next is there: it is closed at any time.
    const isTaken = there.some((one) => one.name === name);
    await ensureTrigger(client, database, {
      ...{ name: isTaken ? other : name, table, event, timing: 'BEFORE', body },
    });
    for (const one of there) await dropTrigger(client, database, one.name);
  }
  const capturing = (await readTriggers(client, database, CAPTURING)).get(table) ?? [];
  for (const { name } of capturing) await dropTrigger(client, database, name);
}

/** When all that captures is there. */
export async function openTables(client: Client, database: string): Promise<void> {
  for (const closing of (await readTriggers(client, database, CLOSING)).values()) {
    for (const { name } of closing) await dropTrigger(client, database, name);
  }
}

/** Is anything closed, or captured for another account that applies? */
export async function isToBeCaptured(
  client: Client,
  database: string,
  unless: string,
): Promise<boolean> {
  const found = await client.rows(
    `SELECT 1 AS found FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ?
      AND (TRIGGER_NAME REGEXP '${CLOSING}' OR (TRIGGER_NAME REGEXP '${CAPTURING}'
        AND LOCATE(${literal(unless)}, ACTION_STATEMENT) = 0)) LIMIT 1`,
    [database],
  );
  return found.length > 0;
}

/** A trigger that is there. */
export interface FoundTrigger {
  readonly name: string;
  readonly table: string;
  readonly body: string;
}

/** By their tables' names, those with names like `pattern`. */
export async function readTriggers(
  client: Client,
  database: string,
  pattern: string,
): Promise<ReadonlyMap<string, readonly FoundTrigger[]>> {
  const found = await client.rows<FoundTrigger>(
    `SELECT TRIGGER_NAME AS name, EVENT_OBJECT_TABLE AS \`table\`, ACTION_STATEMENT AS body
      FROM information_schema.TRIGGERS
      WHERE TRIGGER_SCHEMA = ? AND TRIGGER_NAME REGEXP '${pattern}' ORDER BY 2, 1`,
    [database],
  );
  return Map.groupBy(found, ({ table }) => table);
}

/** Is a table captured by these, and by no others? */
export function areThese(found: readonly FoundTrigger[], wanted: readonly Trigger[]): boolean {
  const bodies = new Map(found.map(({ name, body }) => [name, body]));
  return (
    bodies.size === wanted.length && wanted.every(({ name, body }) => bodies.get(name) === body)
  );
}
