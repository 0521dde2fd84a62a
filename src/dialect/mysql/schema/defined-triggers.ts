/** Triggers as they are defined, and which of production's a rollout can have. */
import type { PlanTrigger } from '../../../schema/shadow-plan.ts';
import type { Client } from '../session/client.ts';
import { namesIn } from './moved-names.ts';

/** Of a stored program: what its text means depends on these. */
export type Circumstances = Pick<PlanTrigger, 'sqlMode' | 'collation'>;

export type DefinedTrigger = PlanTrigger;

/** All of a database's, in the order in which they act. */
export function readDefinedTriggers(
  client: Client,
  database: string,
): Promise<readonly DefinedTrigger[]> {
  return client.rows<DefinedTrigger>(
    `SELECT TRIGGER_NAME AS name, EVENT_OBJECT_TABLE AS \`table\`, ACTION_TIMING AS timing,
        EVENT_MANIPULATION AS event, ACTION_STATEMENT AS body,
        SQL_MODE AS sqlMode, COLLATION_CONNECTION AS collation
      FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ?
      ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER`,
    [database],
  );
}

/** What there is in production that a rollout has not; names in lower case. */
export interface Elsewhere {
  /** Tables of the followed database that are not followed, and its routines. */
  readonly names: ReadonlyMap<string, string>;
  readonly databases: ReadonlySet<string>;
}

export async function readElsewhere(
  client: Client,
  source: string,
  followed: ReadonlySet<string>,
): Promise<Elsewhere> {
  const tables = await client.rows<{ name: string }>(
    `SELECT TABLE_NAME AS name FROM information_schema.TABLES
      WHERE TABLE_SCHEMA = ? AND TABLE_TYPE <> 'VIEW'`,
    [source],
  );
  const routines = await client.rows<{ name: string }>(
    'SELECT ROUTINE_NAME AS name FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = ?',
    [source],
  );
  const databases = await client.rows<{ name: string }>(
    'SELECT SCHEMA_NAME AS name FROM information_schema.SCHEMATA WHERE SCHEMA_NAME <> ?',
    [source],
  );
  const unfollowed = tables.filter(({ name }) => !followed.has(name));
  return {
    names: new Map([
      ...unfollowed.map(({ name }) => [name.toLowerCase(), `table ${name}`] as const),
      ...routines.map(({ name }) => [name.toLowerCase(), `routine ${name}`] as const),
    ]),
    databases: new Set(databases.map(({ name }) => name.toLowerCase())),
  };
}

/**
 * Why a rollout cannot have a trigger of production's: a candidate's writes would fail there. Null if it can. Too many
 * are kept out rather than too few: a column may be called like a table that is not followed.
 */
export function whyNotCarried(
  { body, sqlMode }: DefinedTrigger,
  source: string,
  { names, databases }: Elsewhere,
): string | null {
  const read = namesIn(body, sqlMode, source);
  if (read === null) return 'it cannot be told for sure what its text names';
  for (const name of read.names) {
    const what = names.get(name);
    if (what !== undefined) return `it names ${what}, which a rollout has not`;
  }
  const other = [...read.qualifiers].find((name) => databases.has(name));
  return other === undefined ? null : `it names database ${other}`;
}
