/**
 * Views, routines, triggers and events of a copied database. They run under an account that has rights
 * on the copy alone: what they name elsewhere is out of their reach, and they change no table's shape.
 */
import { readViews } from '../schema/plan-from-production.ts';
import { moveCode, moveDefinition } from '../schema/moved-names.ts';
import { viewsInOrder, viewStatement } from '../schema/table-definition.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import { quote } from '../session/names.ts';
import { define, notMovable, type ClonePlace } from './clone-tables.ts';

/** `client`’s default database is the copy; its tables are there. `definer`: quoted. */
export async function copyCode(client: Client, place: ClonePlace, definer: string): Promise<void> {
  // Views may call functions, and triggers may call routines; what they call may come later.
  for (const kind of ['FUNCTION', 'PROCEDURE'] as const) {
    await copyRoutines(client, place, { kind, definer });
  }
  await copyViews(client, place, definer);
  await copyTriggers(client, place, definer);
  await copyEvents(client, place, definer);
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

/** Of a stored program: what its text means depends on these. */
interface Circumstances {
  readonly name: string;
  readonly sqlMode: string;
  readonly collation: string;
}

const CIRCUMSTANCES = 'SQL_MODE AS sqlMode, COLLATION_CONNECTION AS collation';

/** As when it was written: what its text is made of, and of what character set texts in it are. */
async function defineProgram(
  client: Client,
  { sqlMode, collation }: Circumstances,
  sql: string,
): Promise<void> {
  await client.run(`SET SESSION collation_connection = ${collation}`);
  try {
    await define(client, sql, sqlMode);
  } finally {
    await client.run('SET NAMES utf8mb4');
  }
}

async function copyRoutines(
  client: Client,
  place: ClonePlace,
  { kind, definer }: { readonly kind: 'FUNCTION' | 'PROCEDURE'; readonly definer: string },
): Promise<void> {
  const { from } = place;
  const found = await client.rows<Circumstances>(
    `SELECT ROUTINE_NAME AS name, ${CIRCUMSTANCES} FROM information_schema.ROUTINES
      WHERE ROUTINE_SCHEMA = ? AND ROUTINE_TYPE = '${kind}' ORDER BY ROUTINE_NAME`,
    [from],
  );
  for (const routine of found) {
    const shown = await client.row<Record<string, string | null>>(
      `SHOW CREATE ${kind} ${quote(from, routine.name)}`,
    );
    const column = kind === 'FUNCTION' ? 'Create Function' : 'Create Procedure';
    const what = `${kind.toLowerCase()} ${routine.name}`;
    const sql = movedProgram(place, routine, { text: shown[column] ?? null, what });
    await defineProgram(client, routine, `CREATE DEFINER=${definer} ${sql}`);
  }
}

const DEFINED_BY =
  /^CREATE DEFINER=(?:`(?:[^`]|``)*`|"(?:[^"]|"")*")@(?:`(?:[^`]|``)*`|"(?:[^"]|"")*") /;

/** What `SHOW CREATE` prints behind the definer, for the copy. Errors: see notMovable. */
function movedProgram(
  { from, to }: ClonePlace,
  { sqlMode }: Circumstances,
  { text, what }: { readonly text: string | null; readonly what: string },
): string {
  const head = text === null ? null : DEFINED_BY.exec(text);
  // Without the right to see it there is none.
  if (text === null || head === null) throw notMovable(what, from);
  const moved = moveCode(text.slice(head[0].length), sqlMode, { from, to });
  if (moved === null) throw notMovable(what, from);
  return moved;
}

/**
 * They do not act on what is applied, whose effects the log brings itself: they let the account pass
 * that applies, which is ours.
 */
async function copyTriggers(client: Client, place: ClonePlace, definer: string): Promise<void> {
  const { from, to } = place;
  const { own } = await client.row<{ own: string }>(
    `SELECT HEX(SUBSTRING_INDEX(USER(), '@', 1)) AS own`,
  );
  const triggers = await client.rows<
    Circumstances & {
      readonly table: string;
      readonly timing: string;
      readonly event: string;
      readonly body: string;
    }
  >(
    `SELECT TRIGGER_NAME AS name, EVENT_OBJECT_TABLE AS \`table\`, ACTION_TIMING AS timing,
        EVENT_MANIPULATION AS event, ACTION_STATEMENT AS body, ${CIRCUMSTANCES}
      FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ?
      ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER`,
    [from],
  );
  for (const trigger of triggers) {
    const body = moveCode(trigger.body, trigger.sqlMode, { from, to });
    if (body === null) throw notMovable(`trigger ${trigger.name}`, from);
    await defineProgram(
      client,
      trigger,
      `CREATE DEFINER=${definer} TRIGGER ${quote(to, trigger.name)}
        ${trigger.timing} ${trigger.event} ON ${quote(to, trigger.table)} FOR EACH ROW
        IF CAST(SUBSTRING_INDEX(USER(), '@', 1) AS BINARY) <> X'${own}' THEN
${body}
;
END IF`,
    );
  }
}

const SCHEDULED =
  /^(EVENT .*? ON COMPLETION (?:NOT )?PRESERVE) (?:ENABLE|DISABLE(?: ON (?:SLAVE|REPLICA))?)( COMMENT | DO )/s;

/** Off: what they do in production arrives as changes of its own. A person may turn them on. */
async function copyEvents(client: Client, place: ClonePlace, definer: string): Promise<void> {
  const { from } = place;
  const events = await client.rows<Circumstances>(
    `SELECT EVENT_NAME AS name, ${CIRCUMSTANCES} FROM information_schema.EVENTS
      WHERE EVENT_SCHEMA = ? ORDER BY EVENT_NAME`,
    [from],
  );
  for (const event of events) {
    const shown = await client.row<Record<string, string | null>>(
      `SHOW CREATE EVENT ${quote(from, event.name)}`,
    );
    const text = shown['Create Event'] ?? null;
    const sql = movedProgram(place, event, { text, what: `event ${event.name}` });
    if (!SCHEDULED.test(sql)) throw notMovable(`event ${event.name}`, from);
    const off = sql.replace(SCHEDULED, '$1 DISABLE$2');
    await defineProgram(client, event, `CREATE DEFINER=${definer} ${off}`);
  }
}
