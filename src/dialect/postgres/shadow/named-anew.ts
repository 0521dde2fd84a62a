/** Keys and indexes whose names another table's index has here: of one that was renamed, say. */
import type { ClientBase } from 'pg';
import type { PlanStatement } from '../../../schema/shadow-plan.ts';

/** A key that is a constraint, by its table and name. */
const KEY = /^ALTER TABLE (.+) ADD CONSTRAINT "((?:[^"]|"")+)" ((?:PRIMARY KEY|UNIQUE)[^]*)$/;

/** As the server writes it, or the plan: see `onAllPartitions()`. A name without need of quotes has none. */
const NAME = String.raw`(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)`;
const INDEX = new RegExp(
  String.raw`^(CREATE (?:UNIQUE )?INDEX) (${NAME}) (ON (?:ONLY )?(${NAME}\.${NAME}) [^]*)$`,
);

/** What makes the same by a name of the server's choice. */
export interface Unnamed {
  readonly table: string;
  readonly statement: PlanStatement;
}

/** Null if what it makes is on its table under its name, or is neither a key nor an index. */
export async function namedAnew(
  client: ClientBase,
  statement: PlanStatement,
): Promise<Unnamed | null> {
  const [, table, name, key] = KEY.exec(statement.sql) ?? [];
  if (table !== undefined && name !== undefined && key !== undefined) {
    const { rows } = await client.query<{ is: boolean }>(
      `SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = pg_catalog.to_regclass($1) AND (contype = 'p' AND $3 OR conname = $2)) AS is`,
      [table, name.replaceAll('""', '"'), key.startsWith('PRIMARY')],
    );
    if (rows[0]?.is === true) return null;
    return { table, statement: { ...statement, sql: `ALTER TABLE ${table} ADD ${key}` } };
  }
  const [, make, index, on, of] = INDEX.exec(statement.sql) ?? [];
  if (make === undefined || index === undefined || on === undefined || of === undefined)
    return null;
  const { rows } = await client.query<{ is: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = pg_catalog.to_regclass($1)
        AND c.relname = (pg_catalog.parse_ident($2))[1]) AS is`,
    [of, index],
  );
  if (rows[0]?.is === true) return null;
  return { table: of, statement: { ...statement, sql: `${make} ${on}` } };
}

/** The indexes of a table, each with what it is apart from its name. */
export async function readIndexes(
  client: ClientBase,
  table: string,
): Promise<readonly { readonly id: string; readonly what: string }[]> {
  const { rows } = await client.query<{ id: string; what: string }>(
    `SELECT c.oid::text AS id, pg_catalog.concat_ws(' ', pg_catalog.replace(
        pg_catalog.pg_get_indexdef(c.oid), ' INDEX ' || pg_catalog.quote_ident(c.relname) || ' ON ',
        ' INDEX ON '), pg_catalog.pg_get_constraintdef(k.oid)) AS what
      FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = c.oid AND k.conrelid = i.indrelid
        AND k.contype IN ('p', 'u', 'x')
      WHERE i.indrelid = pg_catalog.to_regclass($1)`,
    [table],
  );
  return rows;
}
