import type { TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { PlanStatement, PlanTrigger, ShadowPlan } from '../../../schema/shadow-plan.ts';
import type { Client } from '../session/client.ts';
import { isConnectionLoss, serverError, tellable } from '../session/errors.ts';
import { quote } from '../session/names.ts';
import {
  namedRoutines,
  readProgram,
  type DefinedProgram,
  type RoutineKind,
} from './defined-programs.ts';
import { Elsewhere, readDefinedTriggers } from './defined-triggers.ts';
import { moveCode, NOT_SURE } from './moved-names.ts';
import {
  quotedNames,
  rewriteTable,
  rewriteView,
  viewsInOrder,
  type ViewFacts,
} from './table-definition.ts';

const SYSTEM = ['information_schema', 'mysql', 'performance_schema', 'sys'];

/**
 * How to make production's schema in an empty database of the shadow server: tables as SHOW CREATE
 * prints them, then routines, and the views that may call them. `database`: the one to follow; null takes the only one
 * that has included tables. Triggers are set aside for rollouts, since their effects are in the log by themselves
 * and these servers have no way to spare the applier; events stay out.
 * Errors: CONFIG_INVALID if included tables lie in several databases, or there are none.
 */
export async function planFromProduction(
  client: Client,
  database: string | null,
  include: (table: TableId) => boolean,
): Promise<ShadowPlan> {
  const tables = await includedTables(client, database, include);
  const source = onlyDatabase(tables);
  const names = new Set(tables.map((table) => table.name));
  const statements: PlanStatement[] = [await databaseDefaults(client, source)];
  const notCarried: { what: string; why: string }[] = [];
  for (const { name } of tables) {
    const { statement, remarks } = await tableStatement(client, { source, name }, names);
    statements.push(statement);
    notCarried.push(...remarks);
  }
  const routines = await readRoutines(client, source);
  statements.push(...routines.statements);
  const views = await readViews(client, source);
  for (const view of viewsInOrder(views)) {
    const viewNames = new Set(views.map((other) => other.name));
    const needs = [...quotedNames(view.definition)]
      .filter((name) => name !== view.name && viewNames.has(name))
      .map((name) => `view ${source}.${name}`);
    const sql = rewriteView(view, source);
    statements.push({ sql, what: `view ${source}.${view.name}`, optional: true, needs });
  }
  const { known } = routines;
  const { triggers, notCarried: kept } = await readTriggers(client, source, names, known);
  notCarried.push(...kept, ...routines.notCarried, ...(await readLeftOut(client, source)));
  notCarried.sort((a, b) => (a.what < b.what ? -1 : a.what > b.what ? 1 : 0));
  return { statements, notCarried, tables, triggers };
}

/** How to make one table of a followed database, as planFromProduction has it; null if it is not there. */
export async function planTable(
  client: Client,
  { schema, name }: TableId,
  include: (table: TableId) => boolean,
): Promise<PlanStatement | null> {
  const names = new Set((await includedTables(client, schema, include)).map((table) => table.name));
  if (!names.has(name)) return null;
  return (await tableStatement(client, { source: schema, name }, names)).statement;
}

/** `names`: of the followed tables. */
async function tableStatement(
  client: Client,
  { source, name }: { readonly source: string; readonly name: string },
  names: ReadonlySet<string>,
): Promise<{
  readonly statement: PlanStatement;
  readonly remarks: ReturnType<typeof rewriteTable>['remarks'];
}> {
  const definition = await client.row<Record<string, string>>(
    `SHOW CREATE TABLE ${quote(source, name)}`,
  );
  const text = definition['Create Table'] ?? '';
  const { sql, remarks } = rewriteTable(text, { source, name }, names);
  return { statement: { sql, what: `table ${source}.${name}`, optional: false }, remarks };
}

/** The database to follow; `database` and errors as of planFromProduction. */
export async function followedDatabase(
  client: Client,
  database: string | null,
  include: (table: TableId) => boolean,
): Promise<string> {
  return database ?? onlyDatabase(await includedTables(client, database, include));
}

async function includedTables(
  client: Client,
  database: string | null,
  include: (table: TableId) => boolean,
): Promise<readonly TableId[]> {
  const where = database === null ? '' : 'AND TABLE_SCHEMA = ?';
  const tables = await client.rows<TableId>(
    `SELECT TABLE_SCHEMA AS \`schema\`, TABLE_NAME AS name FROM information_schema.TABLES
      WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
        AND TABLE_SCHEMA NOT IN (${SYSTEM.map((name) => `'${name}'`).join(', ')}) ${where}
      ORDER BY TABLE_SCHEMA, TABLE_NAME`,
    database === null ? [] : [database],
  );
  return tables.map(({ schema, name }) => ({ schema, name })).filter(include);
}

function onlyDatabase(tables: readonly TableId[]): string {
  const names = [...new Set(tables.map((table) => table.schema))];
  const [only] = names;
  if (only === undefined) {
    throw new UnderstudyError('CONFIG_INVALID', 'production has no table that is to be followed', {
      detail: 'check tables.include, the database in production.url, and the account’s rights',
    });
  }
  if (names.length === 1) return only;
  throw new UnderstudyError(
    'CONFIG_INVALID',
    `tables.include takes tables of several databases: ${names.join(', ')}`,
    { detail: 'a shadow database follows one; name it in production.url or in tables.include' },
  );
}

/** So that what the candidate makes later begins with the same character set. */
async function databaseDefaults(client: Client, source: string): Promise<PlanStatement> {
  const { charset, collation } = await client.row<{ charset: string; collation: string }>(
    `SELECT DEFAULT_CHARACTER_SET_NAME AS charset, DEFAULT_COLLATION_NAME AS collation
      FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?`,
    [source],
  );
  return {
    sql: `ALTER DATABASE CHARACTER SET ${charset} COLLATE ${collation}`,
    what: `character set of database ${source}`,
    optional: true,
  };
}

/** The views of a database, with their columns in order. */
export async function readViews(client: Client, source: string): Promise<readonly ViewFacts[]> {
  const views = await client.rows<Omit<ViewFacts, 'columns'>>(
    `SELECT TABLE_NAME AS name, VIEW_DEFINITION AS definition, CHECK_OPTION AS checkOption,
        SECURITY_TYPE AS security
      FROM information_schema.VIEWS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME`,
    [source],
  );
  const columns = await client.rows<{ view: string; name: string }>(
    `SELECT c.TABLE_NAME AS view, c.COLUMN_NAME AS name FROM information_schema.COLUMNS c
      JOIN information_schema.VIEWS v
        ON v.TABLE_SCHEMA = c.TABLE_SCHEMA AND v.TABLE_NAME = c.TABLE_NAME
      WHERE c.TABLE_SCHEMA = ? ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION`,
    [source],
  );
  const byView = Map.groupBy(columns, (column) => column.view);
  return views.map((view) => ({
    ...view,
    columns: (byView.get(view.name) ?? []).map((column) => column.name),
  }));
}

/** Of the followed tables; with those that no rollout can have. */
async function readTriggers(
  client: Client,
  source: string,
  tables: ReadonlySet<string>,
  routines: ReadonlyMap<string, DefinedProgram | null>,
): Promise<Required<Pick<ShadowPlan, 'triggers' | 'notCarried'>>> {
  const all = await readDefinedTriggers(client, source);
  const elsewhere = await Elsewhere.read(client, source, { followed: tables, routines });
  const triggers: PlanTrigger[] = [];
  const notCarried: { what: string; why: string }[] = [];
  for (const trigger of all.filter((one) => tables.has(one.table))) {
    const carried = await elsewhere.carried(trigger);
    if (typeof carried !== 'string') triggers.push(carried);
    else {
      const what = `trigger ${trigger.name} of table ${source}.${trigger.table}`;
      notCarried.push({ what, why: carried });
    }
  }
  return { triggers, notCarried };
}

/** Functions and procedures, which views and triggers may call. */
async function readRoutines(
  client: Client,
  source: string,
): Promise<
  Pick<ShadowPlan, 'statements' | 'notCarried'> & {
    /** By name; null for what is not carried. */
    readonly known: ReadonlyMap<string, DefinedProgram | null>;
  }
> {
  const known = new Map<string, DefinedProgram | null>();
  const statements: PlanStatement[] = [];
  const notCarried: { what: string; why: string }[] = [];
  for (const { kind, name } of await namedRoutines(client, source)) {
    const what = `${kind.toLowerCase()} ${source}.${name}`;
    const { program, why } = await readRoutine(client, source, { kind, name });
    // A function and a procedure may have one name.
    if (why !== null || !known.has(name)) known.set(name, why === null ? program : null);
    if (program === null || why !== null) notCarried.push({ what, why: why ?? NOT_SURE });
    else {
      const { sql, ...circumstances } = program;
      statements.push({
        ...{ sql: `CREATE ${sql}`, what, optional: true },
        program: { ...circumstances, source },
      });
    }
  }
  return { statements, notCarried, known };
}

/** Also one that the server itself cannot load any more, or that is gone since it was listed. */
async function readRoutine(
  client: Client,
  source: string,
  which: { readonly kind: RoutineKind; readonly name: string },
): Promise<{ readonly program: DefinedProgram | null; readonly why: string | null }> {
  try {
    const program = await readProgram(client, source, which);
    if (program === null) return { program, why: 'the account may not read its text' };
    return { program, why: whyNotMoved(program, source) };
  } catch (error) {
    if (serverError(error) === null || isConnectionLoss(error)) throw error;
    return { program: null, why: tellable(error) };
  }
}

function whyNotMoved({ sql, sqlMode }: DefinedProgram, source: string): string | null {
  return moveCode(sql, sqlMode, { from: source, to: source }) === null ? NOT_SURE : null;
}

/** What is there of the database else: events, and MariaDB's packages. */
async function readLeftOut(client: Client, source: string): Promise<ShadowPlan['notCarried']> {
  const others = await client.rows<{ kind: string; name: string }>(
    `SELECT LOWER(ROUTINE_TYPE) AS kind, ROUTINE_NAME AS name FROM information_schema.ROUTINES
        WHERE ROUTINE_SCHEMA = ? AND ROUTINE_TYPE NOT IN ('FUNCTION', 'PROCEDURE')
      UNION ALL
      SELECT 'event', EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ?`,
    [source, source],
  );
  return others.map(({ kind, name }) => ({
    what: `${kind} ${source}.${name}`,
    why: `this version carries no ${kind}s on MySQL and MariaDB`,
  }));
}
