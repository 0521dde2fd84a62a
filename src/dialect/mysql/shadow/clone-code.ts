/**
 * Views, routines, triggers and events of a copied database. They run under an account that has rights
 * on the copy alone: what they name elsewhere is out of their reach, and they change no table's shape.
 */
import {
  defineProgram,
  namedRoutines,
  readProgram,
  type DefinedProgram,
  type RoutineKind,
} from '../schema/defined-programs.ts';
import { readDefinedTriggers, type DefinedTrigger } from '../schema/defined-triggers.ts';
import { readViews } from '../schema/plan-from-production.ts';
import { moveCode, moveDefinition } from '../schema/moved-names.ts';
import { viewsInOrder, viewStatement } from '../schema/table-definition.ts';
import { SQL_MODE, type Client } from '../session/client.ts';
import { ERRNO, hasErrno, isConnectionLoss, serverError } from '../session/errors.ts';
import { quote } from '../session/names.ts';
import { unlessNotedApplier, type Definers } from './accounts.ts';
import { readAside, whichFit } from './triggers-aside.ts';
import { define, notMovable, type ClonePlace } from './clone-tables.ts';

/** `client`’s default database is the copy; its tables are there. */
export async function copyCode(
  client: Client,
  place: ClonePlace,
  { programs, triggers }: Definers,
): Promise<void> {
  // Views may call functions, and triggers may call routines; what they call may come later.
  await copyRoutines(client, place, programs);
  await copyViews(client, place, programs);
  await copyTriggers(client, place, triggers);
  await copyEvents(client, place, programs);
}

async function copyViews(client: Client, { from, to }: ClonePlace, definer: string): Promise<void> {
  for (const view of viewsInOrder(await readViews(client, from))) {
    if (!(await isWhole(client, quote(from, view.name)))) continue;
    const definition = moveDefinition(view.definition, { from, to });
    if (definition === null) throw notMovable(`view ${view.name}`, from);
    await define(client, viewStatement({ ...view, definition }, definer));
  }
}

/** False for a view over what is no more there: no server makes one. */
async function isWhole(client: Client, view: string): Promise<boolean> {
  try {
    await client.rows(`SELECT 1 AS one FROM ${view} LIMIT 0`);
    return true;
  } catch (error) {
    if (hasErrno(error, ERRNO.viewInvalid)) return false;
    throw error;
  }
}

async function copyRoutines(client: Client, place: ClonePlace, definer: string): Promise<void> {
  for (const { kind, name } of await namedRoutines(client, place.from)) {
    const { sql, ...circumstances } = await movedProgram(client, place, { kind, name });
    await defineProgram(client, circumstances, `CREATE DEFINER=${definer} ${sql}`, SQL_MODE);
  }
}

/** For the copy. Errors: see notMovable. */
async function movedProgram(
  client: Client,
  { from, to }: ClonePlace,
  { kind, name }: { readonly kind: RoutineKind | 'EVENT'; readonly name: string },
): Promise<DefinedProgram> {
  const found = await readProgram(client, from, { kind, name });
  const sql = found === null ? null : moveCode(found.sql, found.sqlMode, { from, to });
  if (found === null || sql === null) throw notMovable(`${kind.toLowerCase()} ${name}`, from);
  return { ...found, sql };
}

/**
 * They do not act on what is applied, whose effects the log brings itself: they let the account pass
 * that applies, which need not be the one that defines them. `acts`: but for this one.
 */
export async function defineTrigger(
  client: Client,
  database: string,
  trigger: DefinedTrigger & { readonly acts: boolean },
  definer: string,
): Promise<void> {
  // What came as one of several statements may have kept what ended it.
  const body = trigger.body.replace(/;\s*$/, '');
  await defineProgram(
    client,
    trigger,
    `CREATE DEFINER=${definer} TRIGGER ${quote(database, trigger.name)}
      ${trigger.timing} ${trigger.event} ON ${quote(database, trigger.table)} FOR EACH ROW
      ${trigger.acts ? body : sparing(database, body)}`,
    SQL_MODE,
  );
}

function sparing(database: string, body: string): string {
  return `IF ${unlessNotedApplier(database)} THEN
${body}
;
END IF`;
}

/** Those of the trunk, and production's, which the trunk has aside. */
async function copyTriggers(client: Client, place: ClonePlace, definer: string): Promise<void> {
  const { from, to, source } = place;
  const own = await readDefinedTriggers(client, from);
  const isThere = new Set(own.map(({ name }) => name));
  const all = [
    ...(await whichFit(client, { database: to, source }, await readAside(client, from)))
      .filter(({ name }) => !isThere.has(name))
      .map((trigger) => ({ trigger, home: source })),
    ...own.map((trigger) => ({ trigger, home: from })),
  ];
  for (const { trigger, home } of all) {
    const body = moveCode(trigger.body, trigger.sqlMode, { from: home, to });
    // Of production's it was known before.
    if (body === null) throw notMovable(`trigger ${trigger.name}`, home);
    const acts = place.acts?.({ schema: place.source, name: trigger.table }, trigger.name) === true;
    try {
      await defineTrigger(client, to, { ...trigger, body, acts }, definer);
    } catch (error) {
      // This server may read a text of production's otherwise; installOverlay tells that it is not there.
      const isItsOwn = serverError(error) !== null && !isConnectionLoss(error);
      const isRight = hasErrno(error, ERRNO.binlogCreateRoutineNeedSuper);
      if (home === from || !isItsOwn || isRight) throw error;
    }
  }
}

const SCHEDULED =
  /^(EVENT .*? ON COMPLETION (?:NOT )?PRESERVE) (?:ENABLE|DISABLE(?: ON (?:SLAVE|REPLICA))?)( COMMENT | DO )/s;

/** Off: what they do in production arrives as changes of its own. A person may turn them on. */
async function copyEvents(client: Client, place: ClonePlace, definer: string): Promise<void> {
  const events = await client.rows<{ readonly name: string }>(
    `SELECT EVENT_NAME AS name FROM information_schema.EVENTS
      WHERE EVENT_SCHEMA = ? ORDER BY EVENT_NAME`,
    [place.from],
  );
  for (const { name } of events) {
    const { sql, ...circumstances } = await movedProgram(client, place, { kind: 'EVENT', name });
    if (!SCHEDULED.test(sql)) throw notMovable(`event ${name}`, place.from);
    const off = sql.replace(SCHEDULED, '$1 DISABLE$2');
    await defineProgram(client, circumstances, `CREATE DEFINER=${definer} ${off}`, SQL_MODE);
  }
}
