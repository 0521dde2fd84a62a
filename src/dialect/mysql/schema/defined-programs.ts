/** Routines and events as they are defined, and how they are defined again elsewhere. */
import type { StoredProgram } from '../../../schema/shadow-plan.ts';
import { withSettings, type Client } from '../session/client.ts';
import { literal, quote } from '../session/names.ts';

export interface DefinedProgram extends StoredProgram {
  /** What the server prints behind CREATE and the definer. */
  readonly sql: string;
}

export type RoutineKind = 'FUNCTION' | 'PROCEDURE';

const SHOWN = {
  FUNCTION: 'Create Function',
  PROCEDURE: 'Create Procedure',
  EVENT: 'Create Event',
} as const;
const DEFINED_BY =
  /^CREATE DEFINER=(?:`(?:[^`]|``)*`|"(?:[^"]|"")*")@(?:`(?:[^`]|``)*`|"(?:[^"]|"")*") /;

/** A database's functions and procedures that our account sees, by name. */
export function namedRoutines(
  client: Client,
  database: string,
): Promise<readonly { readonly kind: RoutineKind; readonly name: string }[]> {
  return client.rows(
    `SELECT ROUTINE_TYPE AS kind, ROUTINE_NAME AS name FROM information_schema.ROUTINES
      WHERE ROUTINE_SCHEMA = ? AND ROUTINE_TYPE IN ('FUNCTION', 'PROCEDURE')
      ORDER BY ROUTINE_TYPE, ROUTINE_NAME`,
    [database],
  );
}

/** Null without the right to see its text. */
export async function readProgram(
  client: Client,
  database: string,
  { kind, name }: { readonly kind: keyof typeof SHOWN; readonly name: string },
): Promise<DefinedProgram | null> {
  const shown = await client.row<Record<string, string | null>>(
    `SHOW CREATE ${kind} ${quote(database, name)}`,
  );
  const text = shown[SHOWN[kind]] ?? '';
  const head = DEFINED_BY.exec(text);
  const collation = shown['collation_connection'];
  if (head === null || collation === null || collation === undefined) return null;
  return { sql: text.slice(head[0].length), sqlMode: shown['sql_mode'] ?? '', collation };
}

/**
 * Runs the statement as when the program was written: what it is made of, and of what character set texts in it are.
 * `afterwards`: the session's sql_mode then.
 */
export async function defineProgram(
  client: Client,
  { sqlMode, collation }: StoredProgram,
  sql: string,
  afterwards: string,
): Promise<void> {
  await withSettings(
    client,
    `sql_mode = ${literal(sqlMode)}, collation_connection = ${collation}`,
    `sql_mode = ${literal(afterwards)}, character_set_connection = utf8mb4`,
    () => client.run(sql),
  );
}
