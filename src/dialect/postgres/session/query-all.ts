import type { ClientBase, QueryResult, QueryResultRow } from 'pg';

/** Runs statements in one message and returns the result of each. */
export async function queryAll(
  client: ClientBase,
  statements: readonly string[],
): Promise<readonly QueryResult<QueryResultRow>[]> {
  const results: unknown = await client.query(statements.join(';\n'));
  // The driver answers a message of several statements with a list, which its types do not say.
  return (Array.isArray(results) ? results : [results]) as QueryResult<QueryResultRow>[];
}
