/**
 * Fallback mode: a schema that spares the applier's account, for servers where the account may not
 * bypass triggers (see applier-rights.ts). `session_user` is who logged in: neither SET ROLE nor a
 * SECURITY DEFINER function changes it, and only a superuser can otherwise.
 *
 * What is changed: each user trigger of a table gets the condition that the session is not the
 * applier's; foreign keys and rules of tables, which can bear no condition, are dropped; so is
 * FORCE ROW LEVEL SECURITY, which would hide rows from the applier as the owner. Triggers of views
 * stay as they are, since nothing is applied to views.
 */
import { escapeIdentifier, escapeLiteral, type ClientBase } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { assert } from '../../../util/assert.ts';
import { OWN_SCHEMA } from '../session/names.ts';

/** A condition that is false in the applier's sessions, for `WHEN` of a trigger of any kind. */
export function notApplier(account: string): string {
  return `session_user OPERATOR(pg_catalog.<>) ${escapeLiteral(account)}::pg_catalog.name`;
}

/** Tables that are the user's: not ours, and of no extension, which brings and owns its own. */
const TABLES = `pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'
    AND n.nspname NOT IN ('information_schema', '${OWN_SCHEMA}')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
      AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass)`;

const TABLE_NAME = `pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)`;

/** Not ours, which have the condition: when they were made tells what became of partitions (overlay/watch.ts). */
const USERS = `t.tgfoid NOT IN (SELECT p.oid FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = pg_catalog.to_regnamespace('${OWN_SCHEMA}'))`;

interface Named {
  /** Quoted and qualified. */
  readonly table: string;
  readonly name: string;
}

interface TriggerRow extends Named {
  readonly conditional: boolean;
  readonly definition: string;
  readonly comment: string | null;
}

/**
 * Adapts the schema in the caller's transaction, and checks that all of it is. Returns what was
 * left out, each with the reason. `cure` says how to keep it. Sets `search_path` for the rest of
 * the transaction.
 */
export async function spareApplier(
  client: ClientBase,
  account: string,
  cure: string,
): Promise<readonly string[]> {
  // Definitions are read and written with qualified names, and pending checks allow no changes.
  await client.query(`SET LOCAL search_path = ''; SET CONSTRAINTS ALL IMMEDIATE`);
  const leftOut: string[] = [];
  const leave = (what: string): void => {
    leftOut.push(`${what}: it cannot spare an account that may not bypass triggers; ${cure}`);
  };
  for (const { table, name } of await namedRows(client, FOREIGN_KEYS)) {
    await client.query(`ALTER TABLE ${table} DROP CONSTRAINT ${escapeIdentifier(name)}`);
    leave(`foreign key ${name} of table ${plain(table)}`);
  }
  for (const { table, name } of await namedRows(client, RULES)) {
    await client.query(`DROP RULE ${escapeIdentifier(name)} ON ${table}`);
    leave(`rule ${name} of table ${plain(table)}`);
  }
  for (const { table } of await namedRows(client, FORCED_SECURITY)) {
    await client.query(`ALTER TABLE ${table} NO FORCE ROW LEVEL SECURITY`);
    leave(`FORCE ROW LEVEL SECURITY of table ${plain(table)}`);
  }
  await conditionTriggers(client, account);
  await assertSpared(client, account);
  return leftOut;
}

/**
 * APPLY_FAILED if something in the schema would act on the applier's writes: a migration made it
 * after the trunk was made. Only tables that the account may write to count: a candidate with the
 * right to make tables may have triggers and foreign keys among its own.
 */
export async function assertSpared(client: ClientBase, account: string): Promise<void> {
  const ours = `pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE')`;
  const { rows } = await client.query<Named & { readonly kind: string }>(
    `SELECT 'trigger' AS kind, ${TABLE_NAME} AS "table", t.tgname AS name
       FROM pg_catalog.pg_trigger t JOIN (${TABLES}) ON c.oid = t.tgrelid
       WHERE ${ours} AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND pg_catalog.strpos(
         pg_catalog.pg_get_triggerdef(t.oid),
         'SESSION_USER <> ' || pg_catalog.quote_literal($1::text) || '::name') = 0
     UNION ALL SELECT 'foreign key', ${TABLE_NAME}, k.conname
       FROM pg_catalog.pg_constraint k JOIN (${TABLES}) ON c.oid IN (k.conrelid, k.confrelid)
       WHERE ${ours} AND k.contype = 'f'
     UNION ALL SELECT 'rule', ${TABLE_NAME}, r.rulename
       FROM pg_catalog.pg_rewrite r JOIN (${TABLES}) ON c.oid = r.ev_class WHERE ${ours}
     ORDER BY 1, 2, 3 LIMIT 1`,
    [account],
  );
  const found = rows[0];
  if (found === undefined) return;
  throw new UnderstudyError('APPLY_FAILED', `a ${found.kind} acts on what is applied`, {
    table: plain(found.table),
    detail:
      `${found.kind} ${found.name}: drop it, or give a trigger ` +
      `the condition WHEN (${notApplier(account)})`,
  });
}

const FOREIGN_KEYS = `SELECT ${TABLE_NAME} AS "table", k.conname AS name
  FROM pg_catalog.pg_constraint k JOIN (${TABLES}) ON c.oid = k.conrelid
  WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 1, 2`;

const RULES = `SELECT ${TABLE_NAME} AS "table", r.rulename AS name
  FROM pg_catalog.pg_rewrite r JOIN (${TABLES}) ON c.oid = r.ev_class ORDER BY 1, 2`;

const FORCED_SECURITY = `SELECT ${TABLE_NAME} AS "table", c.relname AS name
  FROM (${TABLES}) WHERE c.relforcerowsecurity ORDER BY 1`;

async function namedRows(client: ClientBase, sql: string): Promise<readonly Named[]> {
  return (await client.query<Named>(sql)).rows;
}

/**
 * Makes each trigger again with the condition added. Clones of a partitioned table's triggers come
 * and go with it. What is not in a definition, its state and comment, is put back.
 */
async function conditionTriggers(client: ClientBase, account: string): Promise<void> {
  const triggers = await client.query<TriggerRow>(
    `SELECT ${TABLE_NAME} AS "table", t.tgname AS name, t.tgqual IS NOT NULL AS conditional,
       pg_catalog.pg_get_triggerdef(t.oid) AS definition,
       pg_catalog.obj_description(t.oid, 'pg_trigger') AS comment
     FROM pg_catalog.pg_trigger t JOIN (${TABLES}) ON c.oid = t.tgrelid
     WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND ${USERS} ORDER BY 1, 2`,
  );
  // A partition's clone may have another state than its parent: parents first.
  const states = await client.query<Named & { readonly state: keyof typeof STATES }>(
    `SELECT ${TABLE_NAME} AS "table", t.tgname AS name, t.tgenabled::text AS state
     FROM pg_catalog.pg_trigger t JOIN (${TABLES}) ON c.oid = t.tgrelid
     WHERE NOT t.tgisinternal AND t.tgenabled <> 'O' AND ${USERS} ORDER BY t.tgparentid <> 0, 1, 2`,
  );
  for (const { table, name, comment, ...trigger } of triggers.rows) {
    const on = `TRIGGER ${escapeIdentifier(name)} ON ${table}`;
    await client.query(`DROP ${on}`);
    await client.query(withCondition(trigger, notApplier(account)));
    if (comment !== null) await client.query(`COMMENT ON ${on} IS ${escapeLiteral(comment)}`);
  }
  for (const { table, name, state } of states.rows) {
    await client.query(`ALTER TABLE ${table} ${STATES[state]} TRIGGER ${escapeIdentifier(name)}`);
  }
}

const STATES = { D: 'DISABLE', A: 'ENABLE ALWAYS', R: 'ENABLE REPLICA' } as const;

/**
 * The place of `WHEN` in what pg_get_triggerdef writes: after the first FOR EACH that is not in a
 * quoted name. No name has it unquoted, for it has spaces.
 */
const HEAD = /^((?:[^"]|"(?:[^"]|"")*")*? FOR EACH (?:ROW|STATEMENT) )(WHEN \()?/s;

/**
 * A trigger's definition with one more condition. An existing one follows the AND as it is: the
 * server writes conditions with all their parentheses, and nothing but OR would bind weaker.
 */
export function withCondition(
  trigger: { readonly definition: string; readonly conditional: boolean },
  condition: string,
): string {
  const { definition, conditional } = trigger;
  const match = HEAD.exec(definition);
  const head = match?.[1];
  assert(match !== null && head !== undefined, 'a trigger’s definition says FOR EACH');
  assert((match[2] !== undefined) === conditional, 'a condition stands where it was looked for');
  const rest = definition.slice(match[0].length);
  return `${head}WHEN (${condition}${conditional ? ' AND ' : ') '}${rest}`;
}

/** For messages. */
function plain(table: string): string {
  return table.replaceAll('"', '');
}
