/**
 * Production's triggers, which the trunk keeps aside as texts: on these servers a trigger fires for whoever writes, and
 * asking in each row who does would slow down what is applied. Rollouts get them, sparing who applies.
 *
 * These servers look up what a text names when it runs. So whether a trigger fits its tables is told here, before it is
 * made and whenever these were changed: else each write of the candidate's would fail.
 */
import type { PlanTrigger } from '../../../schema/shadow-plan.ts';
import { namedRoutines } from '../schema/defined-programs.ts';
import { readDefinedTriggers, type DefinedTrigger } from '../schema/defined-triggers.ts';
import { moveCode, namesIn } from '../schema/moved-names.ts';
import type { Client } from '../session/client.ts';
import { companionName, quote } from '../session/names.ts';

const calls = (database: string): string =>
  quote(companionName(database), 'production_trigger_call');
const aside = (database: string): string => quote(companionName(database), 'production_trigger');

/** In the order in which they act. */
export async function putAside(
  client: Client,
  database: string,
  triggers: readonly PlanTrigger[],
): Promise<void> {
  for (const table of [aside(database), calls(database)]) await client.run(`DELETE FROM ${table}`);
  for (const [place, one] of triggers.entries()) {
    await client.run(
      `INSERT INTO ${aside(database)}
        (place, name, table_name, timing, event, body, sql_mode, collation_name, named)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      [
        ...[place, one.name, one.table, one.timing, one.event, one.body, one.sqlMode],
        ...[one.collation, JSON.stringify(one.names)],
      ],
    );
    for (const routine of one.calls) {
      await client.run(`INSERT INTO ${calls(database)} (name, routine) VALUES (?, ?)`, [
        one.name,
        routine,
      ]);
    }
  }
}

export async function readAside(client: Client, database: string): Promise<readonly PlanTrigger[]> {
  const rows = await client.rows<DefinedTrigger & { readonly named: string }>(
    `SELECT name, table_name AS \`table\`, timing, event, body, sql_mode AS sqlMode,
        collation_name AS collation, named
      FROM ${aside(database)} ORDER BY place`,
  );
  const called = await client.rows<{ name: string; routine: string }>(
    `SELECT name, routine FROM ${calls(database)}`,
  );
  const byTrigger = Map.groupBy(called, ({ name }) => name);
  return rows.map(({ named, ...one }) => ({
    ...one,
    names: JSON.parse(named) as string[],
    calls: (byTrigger.get(one.name) ?? []).map(({ routine }) => routine),
  }));
}

/** Those that name and call nothing which the database has not. `source`: production's name of it. */
export async function whichFit(
  client: Client,
  { database, source }: { readonly database: string; readonly source: string },
  triggers: readonly PlanTrigger[],
): Promise<readonly PlanTrigger[]> {
  if (triggers.length === 0) return [];
  const found = await client.rows<{ table: string; name: string }>(
    `SELECT TABLE_NAME AS \`table\`, COLUMN_NAME AS name FROM information_schema.COLUMNS
      WHERE TABLE_SCHEMA = ?`,
    [database],
  );
  const columns = Map.groupBy(found, ({ table }) => table.toLowerCase());
  const routines = new Set(
    (await namedRoutines(client, database)).map(({ name }) => name.toLowerCase()),
  );
  return triggers.filter(({ table, names, calls, body, sqlMode }) => {
    const own = new Set(columns.get(table.toLowerCase())?.map(({ name }) => name.toLowerCase()));
    const read = namesIn(body, sqlMode, source);
    return (
      read !== null &&
      names.every((name) => columns.has(name)) &&
      calls.every((name) => routines.has(name)) &&
      [...read.ofRow].every((name) => own.has(name))
    );
  });
}

/** Drops those of a rollout that do not fit its tables any more, and says which. */
export async function dropUnfit(
  client: Client,
  place: { readonly database: string; readonly source: string },
): Promise<readonly string[]> {
  const { database, source } = place;
  const all = await readAside(client, database);
  const fit = new Set(await whichFit(client, place, all));
  const there = await readDefinedTriggers(client, database);
  const dead = all.filter((one) => {
    const body = moveCode(one.body, one.sqlMode, { from: source, to: database });
    // What a migration of the candidate's made under the name is its own.
    return (
      !fit.has(one) &&
      there.some(({ name, body: now }) => name === one.name && now.includes(body ?? one.body))
    );
  });
  for (const { name } of dead) await client.run(`DROP TRIGGER ${quote(database, name)}`);
  return dead.map(
    ({ name, table }) => `trigger ${name} of table ${table}: it names what is there no more`,
  );
}
