import type { ClientBase } from 'pg';
import {
  CATALOGUE,
  type CatalogueObject,
  type Findings,
  literal,
  objectKey,
  plainName,
  quote,
  RANK,
  read,
  type Remark,
  USER_SCHEMA,
} from './introspect-object.ts';

interface RoutineRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly form: 'f' | 'p' | 'w' | 'a';
  readonly types: string;
  readonly definition: string | null;
}

/**
 * Functions, procedures and aggregates. Bodies are not checked when they are made, as they may
 * name what comes later. The constructors of range types come with their type.
 */
export async function readRoutines(client: ClientBase): Promise<Findings> {
  const rows = await read<RoutineRow>(
    client,
    `SELECT p.oid, n.nspname AS schema, p.proname AS name, p.prokind::text AS form,
       (SELECT coalesce(string_agg(format_type(u.t, NULL), ', ' ORDER BY u.i), '')
        FROM unnest(p.proargtypes) WITH ORDINALITY u(t, i)) AS types,
       CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END AS definition
     FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE ${USER_SCHEMA} AND NOT EXISTS (SELECT FROM pg_depend d
       WHERE d.classid = ${CATALOGUE.proc} AND d.objid = p.oid AND d.deptype = 'i')`,
  );
  const aggregates = await readAggregates(client);
  const objects = rows.map((row): CatalogueObject => {
    const word = row.form === 'p' ? 'procedure' : row.form === 'a' ? 'aggregate' : 'function';
    const sql = row.definition ?? aggregates.get(row.oid);
    const base = {
      key: objectKey(CATALOGUE.proc, row.oid),
      what: `${word} ${plainName(row.schema, row.name)}(${row.types.replaceAll('"', '')})`,
      rank: RANK.routine,
      optional: true,
    };
    return sql === undefined
      ? { ...base, sql: [], reason: 'the server could not write its definition' }
      : { ...base, sql: [sql.trimEnd()] };
  });
  return { objects, remarks: [] };
}

interface AggregateRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly arguments: string;
  readonly options: readonly (string | null)[];
  readonly initial: string | null;
  readonly movingInitial: string | null;
  readonly parallel: 's' | 'r' | 'u';
}

const FINISH = `CASE %s WHEN 'r' THEN 'READ_ONLY' WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END`;
const PARALLEL = { s: 'SAFE', r: 'RESTRICTED', u: 'UNSAFE' } as const;

/** A function option of an aggregate, where it is set. */
function functionOption(option: string, column: string): string {
  return `CASE WHEN a.${column} <> 0 THEN '${option} = ' || a.${column}::regproc::text END`;
}

async function readAggregates(client: ClientBase): Promise<Map<number, string>> {
  const rows = await read<AggregateRow>(
    client,
    `SELECT p.oid, n.nspname AS schema, p.proname AS name,
       pg_get_function_identity_arguments(p.oid) AS arguments,
       a.agginitval AS initial, a.aggminitval AS "movingInitial", p.proparallel::text AS parallel,
       ARRAY[
         'SFUNC = ' || a.aggtransfn::regproc::text,
         'STYPE = ' || format_type(a.aggtranstype, NULL),
         CASE WHEN a.aggtransspace > 0 THEN 'SSPACE = ' || a.aggtransspace END,
         ${functionOption('FINALFUNC', 'aggfinalfn')},
         CASE WHEN a.aggfinalextra THEN 'FINALFUNC_EXTRA' END,
         CASE WHEN a.aggfinalfn <> 0
           THEN 'FINALFUNC_MODIFY = ' || ${FINISH.replace('%s', 'a.aggfinalmodify')} END,
         ${functionOption('COMBINEFUNC', 'aggcombinefn')},
         ${functionOption('SERIALFUNC', 'aggserialfn')},
         ${functionOption('DESERIALFUNC', 'aggdeserialfn')},
         ${functionOption('MSFUNC', 'aggmtransfn')},
         ${functionOption('MINVFUNC', 'aggminvtransfn')},
         CASE WHEN a.aggmtranstype <> 0
           THEN 'MSTYPE = ' || format_type(a.aggmtranstype, NULL) END,
         CASE WHEN a.aggmtransspace > 0 THEN 'MSSPACE = ' || a.aggmtransspace END,
         ${functionOption('MFINALFUNC', 'aggmfinalfn')},
         CASE WHEN a.aggmfinalextra THEN 'MFINALFUNC_EXTRA' END,
         CASE WHEN a.aggmfinalfn <> 0
           THEN 'MFINALFUNC_MODIFY = ' || ${FINISH.replace('%s', 'a.aggmfinalmodify')} END,
         CASE WHEN a.aggsortop <> 0 THEN (SELECT format('SORTOP = OPERATOR(%I.%s)', son.nspname,
           so.oprname) FROM pg_operator so JOIN pg_namespace son ON son.oid = so.oprnamespace
           WHERE so.oid = a.aggsortop) END,
         CASE WHEN a.aggkind = 'h' THEN 'HYPOTHETICAL' END] AS options
     FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid
     JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${USER_SCHEMA}`,
  );
  return new Map(
    rows.map((row) => {
      const options = [
        ...row.options.filter((option) => option !== null),
        ...(row.initial === null ? [] : [`INITCOND = ${literal(row.initial)}`]),
        ...(row.movingInitial === null ? [] : [`MINITCOND = ${literal(row.movingInitial)}`]),
        `PARALLEL = ${PARALLEL[row.parallel]}`,
      ];
      const args = row.arguments === '' ? '*' : row.arguments;
      const name = quote(row.schema, row.name);
      return [row.oid, `CREATE AGGREGATE ${name}(${args}) (${options.join(', ')})`];
    }),
  );
}

interface TriggerRow {
  readonly class: number;
  readonly oid: number;
  readonly table: number;
  readonly schema: string;
  readonly tableName: string;
  readonly name: string;
  readonly state: 'O' | 'D' | 'R' | 'A';
  readonly definition: string;
}

/**
 * Triggers of tables and views. Those set to fire for replicated changes too (ALWAYS, REPLICA)
 * must not: their effects arrive in the event log themselves.
 */
export async function readTriggers(client: ClientBase): Promise<Findings> {
  const rows = await read<TriggerRow>(
    client,
    `SELECT t.tableoid AS class, t.oid, c.oid AS table, n.nspname AS schema,
       c.relname AS "tableName", t.tgname AS name, t.tgenabled::text AS state,
       pg_get_triggerdef(t.oid) AS definition
     FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND c.relkind IN ('r', 'p', 'v')
       AND c.relpersistence <> 't' AND ${USER_SCHEMA}`,
  );
  const objects: CatalogueObject[] = [];
  const remarks: Remark[] = [];
  for (const row of rows) {
    const table = objectKey(CATALOGUE.class, row.table);
    const on = quote(row.schema, row.tableName);
    const what = `trigger ${row.name} of ${plainName(row.schema, row.tableName)}`;
    const disabled = row.state === 'D' || row.state === 'R';
    objects.push({
      key: objectKey(row.class, row.oid),
      what,
      rank: RANK.trigger,
      sql: [
        row.definition,
        ...(disabled ? [`ALTER TABLE ${on} DISABLE TRIGGER ${quote(row.name)}`] : []),
      ],
      optional: true,
      needs: [table],
      partOf: table,
    });
    if (row.state === 'A' || row.state === 'R') {
      remarks.push({
        what: `state ${row.state === 'A' ? 'ALWAYS' : 'REPLICA'} of ${what}`,
        why: 'it would fire for the changes that follow production; those bring its effects along',
      });
    }
  }
  return { objects, remarks };
}
