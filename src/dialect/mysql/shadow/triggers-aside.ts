/**
 * Production's triggers, which the trunk keeps aside as texts: on these servers a trigger fires for whoever writes, and
 * asking in each row who does would slow down what is applied. Rollouts get them, sparing who applies.
 */
import type { DefinedTrigger } from '../schema/defined-triggers.ts';
import type { Client } from '../session/client.ts';
import { companionName, quote } from '../session/names.ts';

const aside = (database: string): string => quote(companionName(database), 'production_trigger');

/** In the order in which they act. */
export async function putAside(
  client: Client,
  database: string,
  triggers: readonly DefinedTrigger[],
): Promise<void> {
  await client.run(`DELETE FROM ${aside(database)}`);
  for (const [place, one] of triggers.entries()) {
    await client.run(
      `INSERT INTO ${aside(database)}
        (place, name, table_name, timing, event, body, sql_mode, collation_name)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      [place, one.name, one.table, one.timing, one.event, one.body, one.sqlMode, one.collation],
    );
  }
}

export function readAside(client: Client, database: string): Promise<readonly DefinedTrigger[]> {
  return client.rows<DefinedTrigger>(
    `SELECT name, table_name AS \`table\`, timing, event, body, sql_mode AS sqlMode,
        collation_name AS collation
      FROM ${aside(database)} ORDER BY place`,
  );
}
