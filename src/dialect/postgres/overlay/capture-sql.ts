/**
 * The triggers that copy production's image of a row aside before the candidate's first write to
 * it. Generated per table.
 *
 * The functions run with our rights in the candidate's session, whose search_path is the
 * candidate's: an unqualified operator, function or table would be a way to become us. So every
 * one of them is qualified, also where it looks silly. `NULLIF`, `IN`, `CASE x WHEN` and
 * `IS DISTINCT FROM` look up `=` by the search_path, and must not be used in the bodies.
 */
import { escapeIdentifier, escapeLiteral } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import type { TableSchema } from '../../../schema/table-schema.ts';
import { assert } from '../../../util/assert.ts';
import type { SparedAccount } from '../apply/applier-rights.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { notApplier } from '../shadow/fallback-schema.ts';
import {
  CAPTURED_TABLE,
  functionId,
  JOURNAL,
  OWN_SCHEMA,
  RAISED,
  relation,
  TRACE_CHARACTERS,
  TRACE_SETTING,
} from '../session/names.ts';

/**
 * Whether the transaction sees each statement's own snapshot, as most do. Above that what capture does may fail
 * to serialize where production's statement would not.
 */
const READ_COMMITTED = `pg_catalog.current_setting('transaction_isolation')
      OPERATOR(pg_catalog.=) 'read committed'`;

/** Counts that what comes before raised it, and raises it again as it was. In a handler of its own block. */
function counted(kind: keyof typeof RAISED): string {
  return `WHEN serialization_failure THEN
      PERFORM pg_catalog.nextval('${RAISED[kind]}'::pg_catalog.regclass);
      RAISE;`;
}

/**
 * Statements that are counted if they fail to serialize; in READ COMMITTED they are as they are. `above`: what
 * comes before them where they see no snapshot of their own.
 */
function countedAbove(
  kind: keyof typeof RAISED,
  statements: string,
  { before = '', above = before }: { readonly before?: string; readonly above?: string } = {},
): string {
  return `IF ${READ_COMMITTED} THEN
    ${before}
    ${statements}
  ELSE
    BEGIN
      ${above}
      ${statements}
    EXCEPTION ${counted(kind)}
    END;
  END IF;`;
}

/** `!` sorts before letters: of several BEFORE triggers ours fires first. */
export const TRIGGERS = {
  row: '!understudy_row',
  key: '!understudy_key',
  insert: '!understudy_insert',
  truncate: '!understudy_truncate',
  trace: '!understudy_trace',
} as const;

/** Of the functions that a captured table may have, see functionId. */
export const CAPTURE_PURPOSES = ['row', 'key', 'insert', 'truncate'] as const;

/**
 * `understudy.mine(xid)`: did this transaction, or a part of it, write that row version? Asked
 * only of versions not older than the transaction itself, which are few. `age` counts modulo 2^32:
 * a frozen row's xmin may look newer than everything, and is then refused as an unknown id.
 */
export const CREATE_MINE = `CREATE FUNCTION ${OWN_SCHEMA}.mine(version xid) RETURNS boolean
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $mine$
DECLARE
  own xid8 := pg_current_xact_id_if_assigned();
  later int8 := -age(version);
BEGIN
  IF own IS NULL OR later < 0 THEN RETURN false; END IF;
  IF later = 0 THEN RETURN true; END IF;
  RETURN pg_xact_status((own::text::numeric + later)::text::xid8) = 'in progress';
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN false;
END $mine$;
REVOKE ALL ON FUNCTION ${OWN_SCHEMA}.mine(xid) FROM PUBLIC`;

const setting = (name: string): string => `pg_catalog.current_setting('${name}', true)`;
const isThere = (text: string): string => `pg_catalog.length(${text}) OPERATOR(pg_catalog.>) 0`;

/** What `understudy.note_trace()` noted of the statement at hand. */
const NOTED = 'understudy.noted_trace';

/** The session's setting, or what was noted of the statement. */
const TRACE = `CASE WHEN ${isThere(setting(TRACE_SETTING))}
      THEN pg_catalog."left"(${setting(TRACE_SETTING)}, ${String(TRACE_CHARACTERS)})
      WHEN ${isThere(setting(NOTED))} THEN ${setting(NOTED)} END`;

/**
 * Notes, once for a statement, the trace id of a W3C traceparent in a comment of what the client sent, as
 * sqlcommenter writes it. (https://google.github.io/sqlcommenter/spec/, https://www.w3.org/TR/trace-context/)
 * Asked by each row, a long statement would be read as often as it has rows. One without a comment is of the
 * request that the transaction's last one with a comment was of.
 */
const HAS_TRACE = `pg_catalog.strpos(pg_catalog.current_query(), 'traceparent=') > 0`;
const NOTE_TRACE = `${OWN_SCHEMA}.note_trace`;
export const CREATE_NOTE_TRACE = `CREATE OR REPLACE FUNCTION ${NOTE_TRACE}() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $note$
DECLARE
  query text := current_query();
  place int := strpos(query, 'traceparent=');
BEGIN
  PERFORM set_config('${NOTED}', CASE WHEN place > 0 THEN COALESCE(
    "substring"(substr(query, place, 80), '^traceparent=''[0-9a-f]{2}-([0-9a-f]{32})-'), '') ELSE '' END, true);
  RETURN NULL;
END $note$;
REVOKE ALL ON FUNCTION ${NOTE_TRACE}() FROM PUBLIC`;

function triggerFunction(name: string, body: string): string {
  return `CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $capture$
${body}
$capture$;
REVOKE ALL ON FUNCTION ${name}() FROM PUBLIC`;
}

function journalOf(table: ApplyTable): string {
  assert(table.journal !== null, `${table.label} has a journal`);
  return table.journal;
}

function list(columns: readonly { readonly name: string }[], prefix = ''): string {
  return columns.map((column) => prefix + column.name).join(', ');
}

const NOW = 'pg_catalog.clock_timestamp()';

/** An entry, `j`, of a row that was kept out becomes the candidate's: who writes the row first does so now. */
const TAKE_UP = `${JOURNAL.at} = ${NOW}, ${JOURNAL.trace} = ${TRACE}, ${JOURNAL.blocked} = NULL`;

/** The same where the entry may be any, and stays as it is otherwise. */
const TAKE_UP_BLOCKED = `${JOURNAL.at} = CASE WHEN j.${JOURNAL.blocked} IS NULL THEN j.${JOURNAL.at} ELSE ${NOW} END,
        ${JOURNAL.trace} = CASE WHEN j.${JOURNAL.blocked} IS NULL THEN j.${JOURNAL.trace} ELSE ${TRACE} END,
        ${JOURNAL.blocked} = NULL`;

const NOT_SERIALIZABLE = `pg_catalog.current_setting('transaction_isolation')
        OPERATOR(pg_catalog.<>) 'serializable'`;

/**
 * Before UPDATE or DELETE: OLD is production's image, if nobody owns the row. A row that this very
 * transaction inserted, whose insert trigger has not fired yet, has no image: production does not
 * have it.
 *
 * In READ COMMITTED `ON CONFLICT DO NOTHING`; above it that would read the snapshot, miss an entry
 * released since, and raise serialization failures production would not: there the plain insert
 * with an exception block.
 *
 * Of a row that was kept out the entry becomes the candidate's. Above READ COMMITTED that may fail to serialize:
 * then it is left to who settles it (blocked-sql.ts), where no trace is known. In SERIALIZABLE it always is, since
 * to look for it could make other transactions fail.
 */
function rowFunction(table: ApplyTable, name: string): string {
  const journal = journalOf(table);
  const key = list(table.key);
  const image = `INSERT INTO ${journal} (${list(table.columns)}, ${JOURNAL.present}, ${JOURNAL.trace})
      VALUES (${list(table.columns, 'OLD.')}, true, ${TRACE})`;
  const nothing = `INSERT INTO ${journal} (${key}, ${JOURNAL.present}, ${JOURNAL.trace})
      VALUES (${list(table.key, 'OLD.')}, false, ${TRACE})`;
  const same = table.key.map((c) => `j.${c.name} ${c.equals} OLD.${c.name}`).join(' AND ');
  const takeUp = `UPDATE ${journal} j SET ${TAKE_UP} WHERE ${same} AND j.${JOURNAL.blocked} IS NOT NULL`;
  return triggerFunction(
    name,
    `DECLARE
  mine boolean := pg_catalog.age(OLD.xmin) OPERATOR(pg_catalog.<=) 0
    AND ${OWN_SCHEMA}.mine(OLD.xmin);
BEGIN
  IF ${READ_COMMITTED} THEN
    IF mine THEN ${nothing} ON CONFLICT (${key}) DO NOTHING;
    ELSE ${image} ON CONFLICT (${key}) DO NOTHING;
    END IF;
    IF NOT FOUND THEN ${takeUp}; END IF;
  ELSE
    BEGIN
      IF mine THEN ${nothing};
      ELSE ${image};
      END IF;
    EXCEPTION WHEN unique_violation THEN
      IF ${NOT_SERIALIZABLE} THEN
        BEGIN
          ${takeUp};
        EXCEPTION WHEN serialization_failure THEN NULL;
        END;
      END IF;
      ${counted('row')}
    END;
  END IF;
  IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END`,
  );
}

/**
 * After an INSERT, or for the new key after a change of key: the candidate owns a row that
 * production does not have. An entry that is there keeps its image, but is locked, so that a
 * release cannot take it away before this transaction ends.
 */
function newRowFunction(table: ApplyTable, name: string, rows: 'transition table' | 'row'): string {
  // Under a deferred key one statement may insert a key twice, and clear it up later.
  const distinct = table.keyDeferrable ? `DISTINCT ON (${list(table.key)})` : '';
  const source =
    rows === 'row'
      ? `VALUES (${list(table.key, 'NEW.')}, false, ${TRACE})`
      : `SELECT ${distinct} ${list(table.key)}, false, ${TRACE} FROM understudy_new`;
  return triggerFunction(
    name,
    `BEGIN
  ${countedAbove(
    'insert',
    `INSERT INTO ${journalOf(table)} AS j (${list(table.key)}, ${JOURNAL.present}, ${JOURNAL.trace})
      ${source}
      ON CONFLICT (${list(table.key)}) DO UPDATE SET ${TAKE_UP_BLOCKED};`,
    table.keyDeferrable
      ? { before: imageOfOthers(table, rows), above: imageOfOthers(table, rows, 'FOR SHARE OF t') }
      : {},
  )}
  RETURN NULL;
END`,
  );
}

/**
 * Under a deferred key production's row may still be there beside the new one, until a later statement
 * moves it: its image comes first. A snapshot that is older than the statement may show one that production
 * has no more: it is locked there, so that this fails to serialize.
 */
function imageOfOthers(
  table: ApplyTable,
  rows: 'transition table' | 'row',
  lock: '' | 'FOR SHARE OF t' = '',
): string {
  const same = (alias: string): string =>
    table.key.map((c) => `t.${c.name} ${c.equals} ${alias}.${c.name}`).join(' AND ');
  const which =
    rows === 'row' ? same('NEW') : `EXISTS (SELECT FROM understudy_new n WHERE ${same('n')})`;
  return `INSERT INTO ${journalOf(table)} (${list(table.columns)}, ${JOURNAL.present}, ${JOURNAL.trace})
    SELECT ${list(table.columns, 't.')}, true, ${TRACE} FROM ${table.rows} t
    WHERE ${which} AND NOT (pg_catalog.age(t.xmin) OPERATOR(pg_catalog.<=) 0
      AND ${OWN_SCHEMA}.mine(t.xmin))
    ${lock} ON CONFLICT (${list(table.key)}) DO NOTHING;`;
}

/**
 * Before TRUNCATE: images of all rows nobody owns. The table is locked by then, so that a READ
 * COMMITTED statement sees every row. A snapshot taken earlier may miss rows that TRUNCATE removes
 * all the same: there the lock on the registry's row fails to serialize if the table changed since.
 */
function truncateFunction(table: ApplyTable, name: string, truncated: TableSchema): string {
  const { schema, name: root } = table.schema.id;
  const rows = truncated.partitioned ? relation(truncated.id) : `ONLY ${relation(truncated.id)}`;
  return triggerFunction(
    name,
    `BEGIN
  ${countedAbove(
    'truncate',
    `PERFORM FROM ${CAPTURED_TABLE} WHERE schema OPERATOR(pg_catalog.=) ${escapeLiteral(schema)}
      AND name OPERATOR(pg_catalog.=) ${escapeLiteral(root)} FOR SHARE;
    INSERT INTO ${journalOf(table)} (${list(table.columns)}, ${JOURNAL.present}, ${JOURNAL.trace})
      SELECT ${list(table.columns)}, true, ${TRACE} FROM ${rows}
      ON CONFLICT (${list(table.key)}) DO NOTHING;
    UPDATE ${journalOf(table)} j SET ${TAKE_UP} FROM ${rows} t
      WHERE j.${JOURNAL.refused} IS NOT NULL AND j.${JOURNAL.blocked} IS NOT NULL
        AND ${table.key.map((c) => `t.${c.name} ${c.equals} j.${c.name}`).join(' AND ')};`,
  )}
  RETURN NULL;
END`,
  );
}

/** The functions of `captureStatements` alone, which replace those of a table that was changed. */
export function captureFunctions(
  table: ApplyTable,
  partitions: readonly TableSchema[],
): readonly string[] {
  const { id, partitioned } = table.schema;
  const name = (purpose: string): string => relation(functionId(id, purpose));
  return [
    rowFunction(table, name('row')),
    newRowFunction(table, name('key'), 'row'),
    newRowFunction(table, name('insert'), partitioned ? 'row' : 'transition table'),
    ...[table.schema, ...partitions].map((truncated) =>
      truncateFunction(table, relation(functionId(truncated.id, 'truncate')), truncated),
    ),
  ];
}

/**
 * The statements that capture a candidate's writes to `table`. Row triggers of a partitioned table
 * are cloned to its partitions; TRUNCATE triggers are not, so each of `partitions` gets its own.
 * In fallback mode none of them fires for the account `spared`.
 */
export function captureStatements(
  table: ApplyTable,
  partitions: readonly TableSchema[],
  spared: SparedAccount,
): readonly string[] {
  const { id } = table.schema;
  const [row, insert] = ['row', 'insert'].map((purpose) => relation(functionId(id, purpose)));
  const byRow = table.schema.partitioned;
  const on = `ON ${table.relation}`;
  const when = spared === null ? '' : `WHEN (${notApplier(spared)})`;
  const others = spared === null ? '' : `${notApplier(spared)} AND `;
  return [
    ...captureFunctions(table, partitions),
    `CREATE TRIGGER ${escapeIdentifier(TRIGGERS.trace)} BEFORE INSERT OR UPDATE OR DELETE ${on}
      FOR EACH STATEMENT WHEN (${others}${HAS_TRACE}) EXECUTE FUNCTION ${NOTE_TRACE}()`,
    `CREATE TRIGGER ${escapeIdentifier(TRIGGERS.row)} BEFORE UPDATE OR DELETE ${on}
      FOR EACH ROW ${when} EXECUTE FUNCTION ${row}()`,
    keyTrigger(table, spared),
    byRow
      ? `CREATE TRIGGER ${escapeIdentifier(TRIGGERS.insert)} AFTER INSERT ${on}
          FOR EACH ROW ${when} EXECUTE FUNCTION ${insert}()`
      : `CREATE TRIGGER ${escapeIdentifier(TRIGGERS.insert)} AFTER INSERT ${on}
          REFERENCING NEW TABLE AS understudy_new
          FOR EACH STATEMENT ${when} EXECUTE FUNCTION ${insert}()`,
    ...[table.schema, ...partitions].map((truncated) => truncateTrigger(truncated, spared)),
  ];
}

/** The one trigger that depends on columns, those of the key, which cannot be altered under it. */
export function keyTrigger(table: ApplyTable, spared: SparedAccount): string {
  const unequal = table.key.map((c) => `NOT (OLD.${c.name} ${c.equals} NEW.${c.name})`);
  const others = spared === null ? '' : `${notApplier(spared)} AND `;
  return `CREATE TRIGGER ${escapeIdentifier(TRIGGERS.key)} AFTER UPDATE ON ${table.relation}
    FOR EACH ROW WHEN (${others}(${unequal.join(' OR ')}))
    EXECUTE FUNCTION ${relation(functionId(table.schema.id, 'key'))}()`;
}

export function dropKeyTrigger(table: TableId): string {
  return `DROP TRIGGER IF EXISTS ${escapeIdentifier(TRIGGERS.key)} ON ${relation(table)}`;
}

/** What a new partition of a captured table needs of its own. */
export function partitionCapture(
  table: ApplyTable,
  partition: TableSchema,
  spared: SparedAccount,
): readonly string[] {
  const name = relation(functionId(partition.id, 'truncate'));
  return [truncateFunction(table, name, partition), truncateTrigger(partition, spared)];
}

function truncateTrigger({ id }: TableSchema, spared: SparedAccount): string {
  const when = spared === null ? '' : `WHEN (${notApplier(spared)})`;
  return `CREATE TRIGGER ${escapeIdentifier(TRIGGERS.truncate)} BEFORE TRUNCATE ON ${relation(id)}
    FOR EACH STATEMENT ${when} EXECUTE FUNCTION ${relation(functionId(id, 'truncate'))}()`;
}
