/**
 * A candidate that migrates by itself, with its own URL. An event trigger begins a migration inside the
 * candidate's transaction, before its first statement that changes tables: by the statements that begin any
 * (migrating.ts), which are written down beforehand. So a transaction that is rolled back leaves everything
 * as it was, and one that commits leaves what `rollout migrate` leaves between its ends.
 *
 * Invariant: nothing of ours is applied between that beginning and its end. Every fenced transaction takes a
 * lock on a table first that whoever begins takes against it, until the candidate's transaction ends; then it
 * looks, by a statement of its own, whether one was begun, and does nothing if so (ASK_BEGUN).
 *
 * What is written down holds for the tables as they were then. Whoever changes them writes it anew in the same
 * transaction; should anybody not, the beginning is refused.
 */
import { escapeIdentifier, escapeLiteral, type ClientBase } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { functionId, OWN_SCHEMA, relation, WAITING_TABLE, waitingId } from '../session/names.ts';
import { isSuperuser } from '../shadow/candidate-role.ts';
import { giveAll, migratingRole } from '../shadow/migrating-role.ts';
import { keysEqual, type ApplyTable } from '../apply/apply-table.ts';
import { DROP_TRIGGERS, readBeginning } from './migrating.ts';
import { withImagesNow } from './views.ts';

const TABLE = `${OWN_SCHEMA}.self_migration`;
const SHAPE = `${OWN_SCHEMA}.shape_of`;
const BEGIN = `${OWN_SCHEMA}.begin_migration`;
const NOTICE = `${OWN_SCHEMA}.notice_migration`;

/** How long a beginning waits for keys to be written that wait for other sessions of the candidate. */
const WAITING_S = 3;

/**
 * Statements that change no table that is there, and no trigger or sequence. Those of them that make tables or
 * indexes are looked at when they are done, since there was nothing to keep before: so temporary tables begin
 * nothing, and indexes may be made and dropped CONCURRENTLY, which takes a transaction that did nothing before.
 */
const HARMLESS = [
  'ALTER (DEFAULT PRIVILEGES|FUNCTION|MATERIALIZED VIEW|PROCEDURE|ROUTINE|VIEW)',
  'COMMENT',
  'CREATE (ACCESS METHOD|AGGREGATE|CAST|COLLATION|CONVERSION|DOMAIN|EXTENSION|FUNCTION|INDEX|LANGUAGE)',
  'CREATE (MATERIALIZED VIEW|OPERATOR|OPERATOR CLASS|OPERATOR FAMILY|PROCEDURE|SCHEMA|SEQUENCE|STATISTICS)',
  'CREATE (TABLE|TABLE AS|TEXT SEARCH [A-Z]+|TRANSFORM|TYPE|VIEW)',
  'DROP (INDEX|MATERIALIZED VIEW|VIEW)',
  'GRANT',
  'REFRESH MATERIALIZED VIEW',
  'REINDEX',
  'REVOKE',
  'SECURITY LABEL',
  'SELECT INTO',
].join('|');

/** A line for each thing that what is written down depends on, of the tables that it knows. */
const LINES = `SELECT format('%s %I.%I %s %I %s %s %s %s %s', c.oid, n.nspname, c.relname, a.attnum, a.attname,
      a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated, pg_get_expr(d.adbin, d.adrelid)) AS line
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum AND a.attgenerated <> ''
    WHERE c.oid = ANY (tables)
  UNION ALL SELECT format('version %s', max(version)) FROM ${OWN_SCHEMA}.migration
  UNION ALL SELECT format('acts %s %I %s', t.tgrelid, t.tgname, t.tgenabled)
    FROM pg_trigger t WHERE t.tgrelid = ANY (tables) AND NOT t.tgisinternal AND t.tgenabled IN ('A', 'R')
  UNION ALL SELECT format('captured %I.%I %I', schema, name, journal) FROM ${OWN_SCHEMA}.captured_table
  UNION ALL SELECT format('reshaped %s', shape) FROM ${OWN_SCHEMA}.reshaped
  UNION ALL SELECT format('own %I.%I', schema, name) FROM ${OWN_SCHEMA}.own_table`;

/** Labels of enums that production's image is made of, as lines. */
const LABELS = `SELECT DISTINCT e.enumtypid || ' ' || e.enumlabel AS label
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_enum e ON e.enumtypid IN (t.oid, t.typelem, t.typbasetype)
  WHERE a.attnum > 0 AND NOT a.attisdropped AND (
    n.nspname = '${OWN_SCHEMA}' AND pg_catalog."right"(c.relname, 5) = '#kept'
    OR EXISTS (SELECT FROM ${OWN_SCHEMA}.captured_table r WHERE r.schema = n.nspname AND r.name = c.relname)
      AND NOT EXISTS (SELECT FROM ${OWN_SCHEMA}.own_table o WHERE o.schema = n.nspname AND o.name = c.relname))`;

const FUNCTIONS = [
  `CREATE OR REPLACE FUNCTION ${SHAPE}(tables oid[]) RETURNS text LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $shape$
  BEGIN
    RETURN (SELECT md5(string_agg(l.line, E'\\n' ORDER BY l.line COLLATE "C")) FROM (${LINES}) l);
  END $shape$`,
  `CREATE OR REPLACE FUNCTION ${BEGIN}() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
    SET enable_hashjoin = on SET enable_mergejoin = on AS $begin$
  DECLARE
    own ${TABLE}%ROWTYPE;
    line text;
    waits boolean;
    since timestamptz := clock_timestamp();
  BEGIN
    -- Its snapshot might be older than what was applied last.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
        MESSAGE = 'tables of a rollout are changed in READ COMMITTED alone',
        HINT = 'begin the transaction without another isolation level';
    END IF;
    WHILE clock_timestamp() < since + interval '${String(WAITING_S)} seconds'
      AND EXISTS (SELECT FROM ${WAITING_TABLE}) LOOP
      PERFORM pg_sleep(0.05);
    END LOOP;
    LOCK TABLE ${TABLE} IN EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM ${OWN_SCHEMA}.migrating) THEN RETURN; END IF;
    SELECT * INTO STRICT own FROM ${TABLE};
    FOREACH line IN ARRAY own.locks LOOP EXECUTE line; END LOOP;
    IF ${SHAPE}(own.tables) IS DISTINCT FROM own.shape THEN
      RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = 'the tables of this rollout are not as understudy noted them',
        HINT = 'try again in a moment, while somebody follows the rollout';
    END IF;
    EXECUTE own.waits INTO waits;
    IF waits THEN
      RAISE EXCEPTION USING ERRCODE = 'lock_not_available',
        MESSAGE = 'changes of production wait for rows that sessions of the candidate hold',
        HINT = 'try again when their transactions have ended';
    END IF;
    -- First, since statements of ours are looked at, too.
    INSERT INTO ${OWN_SCHEMA}.migrating (candidate, begun, by_itself)
      VALUES (own.candidate, own.begun, true);
    FOREACH line IN ARRAY own.keep LOOP EXECUTE line; END LOOP;
    FOR line IN ${DROP_TRIGGERS} LOOP EXECUTE line; END LOOP;
    FOREACH line IN ARRAY own.let_go LOOP EXECUTE line; END LOOP;
  END $begin$`,
  `REVOKE ALL ON FUNCTION ${SHAPE}(oid[]), ${BEGIN}() FROM PUBLIC`,
];

/** `session_user` is who logged in: neither SET ROLE nor a SECURITY DEFINER function changes it. */
function createNotice(database: string): string {
  return `CREATE OR REPLACE FUNCTION ${NOTICE}() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $notice$
  BEGIN
    IF (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) THEN RETURN; END IF;
    IF tg_event = 'sql_drop' THEN
      -- With a type or a function goes what is made of it, whoever owns that.
      IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() d
        WHERE d.schema_name = '${OWN_SCHEMA}') THEN
        RAISE EXCEPTION USING ERRCODE = 'dependent_objects_still_exist',
          MESSAGE = 'production''s image of a table needs what would be dropped',
          HINT = 'leave it in this rollout, and drop columns that are made of it';
      END IF;
      RETURN;
    END IF;
    -- The image would say another word than production.
    IF tg_event = 'ddl_command_end' AND tg_tag = 'ALTER TYPE' AND EXISTS (
      SELECT FROM ${TABLE} s CROSS JOIN unnest(s.labels) l (label)
      WHERE NOT EXISTS (SELECT FROM pg_enum e WHERE e.enumtypid || ' ' || e.enumlabel = l.label)) THEN
      RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
        MESSAGE = 'a label that production has keeps its name in a rollout',
        HINT = 'add another, and leave this one';
    END IF;
    IF session_user = ${escapeLiteral(migratingRole(database))} THEN RETURN; END IF;
    IF tg_event = 'ddl_command_start' THEN
      IF tg_tag ~ '^(${HARMLESS})$' THEN RETURN; END IF;
    ELSIF tg_tag <> 'DROP INDEX' AND NOT EXISTS (SELECT FROM pg_event_trigger_ddl_commands() d
      WHERE d.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE INDEX')
        AND d.schema_name <> 'pg_temp') THEN RETURN;
    END IF;
    PERFORM ${BEGIN}();
  END $notice$;
  REVOKE ALL ON FUNCTION ${NOTICE}() FROM PUBLIC`;
}

/**
 * In the caller's fenced transaction, once for a rollout: tables are the candidate's, which may change them
 * from now on. DATABASE_PERMISSION if the account is no superuser.
 */
export async function letMigrate(
  client: ClientBase,
  at: { readonly database: string; readonly candidate: string },
): Promise<void> {
  await assertMayLet(client);
  await client.query(`INSERT INTO ${TABLE} (candidate) VALUES ($1)`, [at.candidate]);
  await noteAnew(client, at.database);
  for (const event of ['ddl_command_start', 'ddl_command_end', 'sql_drop']) {
    await client.query(`CREATE EVENT TRIGGER understudy_${event} ON ${event}
      EXECUTE FUNCTION ${NOTICE}()`);
  }
}

/** Nobody but a superuser makes event triggers. */
export async function assertMayLet(client: ClientBase): Promise<void> {
  if (await isSuperuser(client)) return;
  const what = 'no candidate migrates by itself where the account of shadow.url is no superuser';
  throw new UnderstudyError('DATABASE_PERMISSION', what, {
    detail:
      'its migrations are noticed by event triggers, which a superuser makes; ' +
      'or run them by `understudy rollout migrate NAME -- COMMAND`',
  });
}

/**
 * Writes down anew what begins a migration; nothing where the candidate does not migrate by itself, or one is
 * begun. Last in the caller's fenced transaction, since it sets `search_path`.
 */
export async function noteBeginning(client: ClientBase, database: string): Promise<void> {
  const { rows } = await client.query<{ candidate: string }>(
    `SELECT candidate FROM ${TABLE} WHERE NOT EXISTS (SELECT FROM ${OWN_SCHEMA}.migrating)`,
  );
  const candidate = rows[0]?.candidate;
  if (candidate === undefined) return;
  await client.query(`SET LOCAL search_path = ''`);
  await giveAll(client, { database, owner: candidate });
  const { keep, letGo, begun, tables } = await readBeginning(client, withWaiting);
  // Who makes a partition makes its clones of these triggers. Without a right on the schema nobody names them.
  const cloned = tables
    .filter(({ schema }) => schema.partitioned)
    .flatMap(({ schema }) =>
      (['row', 'key', 'insert'] as const).map((one) => `${relation(functionId(schema.id, one))}()`),
    );
  if (cloned.length > 0) {
    const to = escapeIdentifier(candidate);
    await client.query(`GRANT EXECUTE ON FUNCTION ${cloned.join(', ')} TO ${to}`);
  }
  const emptied = tables.map(({ schema }) => `DELETE FROM ${relation(waitingId(schema.id))}`);
  const locks = tables.map(({ relation: name }) => `LOCK TABLE ${name} IN ACCESS EXCLUSIVE MODE`);
  const known = await client.query<{ oid: number }>(
    `SELECT pg_catalog.to_regclass(t.name)::oid::int8::float8 AS oid FROM pg_catalog.unnest($1::text[]) AS t (name)`,
    [tables.map(({ schema }) => relation(schema.id))],
  );
  await client.query(
    `UPDATE ${TABLE} SET begun = $1, keep = $2, let_go = $3, locks = $4, waits = $5, tables = $6::oid[],
      shape = ${SHAPE}($6::oid[]), labels = ARRAY(${LABELS}), turn = turn + 1`,
    [
      ...[begun, [...keep, ...emptied, `DELETE FROM ${WAITING_TABLE}`], letGo, locks],
      ...[anyWaits(tables), known.rows.map(({ oid }) => oid)],
    ],
  );
}

/** The same, and what does it: another program may have made both. */
export async function noteAnew(client: ClientBase, database: string): Promise<void> {
  if (!(await isLet(client))) return;
  await client.query([...FUNCTIONS, createNotice(database)].join(';\n'));
  await noteBeginning(client, database);
}

/** The same if the tables are not as they were noted. */
export async function noteChanged(client: ClientBase, database: string): Promise<void> {
  if (!(await isLet(client))) return;
  const { rows } = await client.query<{ same: boolean }>(
    `SELECT ${SHAPE}(tables) = shape AS same FROM ${TABLE}`,
  );
  if (rows[0]?.same === false) await noteBeginning(client, database);
}

async function isLet(client: ClientBase): Promise<boolean> {
  return (await client.query(`SELECT FROM ${TABLE}`)).rows.length > 0;
}

const withWaiting = (table: ApplyTable): ApplyTable =>
  withImagesNow(table, relation(waitingId(table.schema.id)));

/**
 * Whether a key waits that nobody owns: what was kept of it would be production's image, and the row that is
 * seen would be of before.
 */
function anyWaits(tables: readonly ApplyTable[]): string {
  const some = tables.map(
    (table) => `EXISTS (SELECT FROM ${relation(waitingId(table.schema.id))} w
      WHERE NOT EXISTS (SELECT FROM ${table.journal ?? ''} j
        WHERE ${keysEqual(table, ['j', 'name'], ['w', 'name'])}))`,
  );
  return `SELECT ${['false', ...some].join(' OR ')}`;
}

/** What a fenced transaction is to know. */
export interface SelfMigrating {
  /** The candidate began one, which nobody ended yet. */
  readonly begun: boolean;
  /** Another number: what is known of the tables may not hold any more. */
  readonly turn: string;
}

/**
 * To be said in a fenced transaction before anything is written. The answer is to the second statement, which
 * sees what was committed before the lock was got: no row where the candidate does not migrate by itself.
 */
export const ASK_BEGUN = `LOCK TABLE ${TABLE} IN ROW SHARE MODE;
  SELECT s.turn::text AS turn, m.by_itself IS TRUE AS begun
    FROM ${TABLE} s LEFT JOIN ${OWN_SCHEMA}.migrating m ON true`;
