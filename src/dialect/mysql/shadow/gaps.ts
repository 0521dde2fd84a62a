/**
 * Reads what a shadow does not know of production. Full row images leave no value unknown: it is the
 * keys whose events were discarded, and those that are set aside.
 */
import type { GapCount, TableGaps } from '../../dialect.ts';
import { tableGaps } from '../../sql/table-gaps.ts';
import type { Client } from '../session/client.ts';
import { NOW_US } from '../session/clock.ts';
import { companionName, quote } from '../session/names.ts';
import { deadLetterTables, parseKey } from './dead-letters.ts';

/** The oldest `limit` parked keys; and all dead keys. */
export async function readGaps(
  client: Client,
  database: string,
  limit: number,
): Promise<readonly TableGaps[]> {
  const rows = await client.rows<{
    readonly schema: string;
    readonly name: string;
    readonly key: string;
  }>(
    `SELECT table_schema AS \`schema\`, table_name AS name, \`key\`
      FROM ${quote(companionName(database), 'parked')}
      ORDER BY at_us, table_schema, table_name, id LIMIT ?`,
    [limit],
  );
  return tableGaps(
    rows.map((row) => ({ ...row, key: parseKey(row.key), columns: null })),
    await deadLetterTables(client, database).keys(null),
  );
}

export async function countGaps(client: Client, database: string): Promise<readonly GapCount[]> {
  const rows = await client.rows<{
    readonly schema: string;
    readonly name: string;
    readonly entries: string;
    readonly oldestUs: string;
  }>(
    `SELECT table_schema AS \`schema\`, table_name AS name, COUNT(*) AS entries,
        ${NOW_US} - MIN(at_us) AS oldestUs
      FROM ${quote(companionName(database), 'parked')}
      GROUP BY table_schema, table_name ORDER BY table_schema, table_name`,
  );
  return rows.map(({ schema, name, entries, oldestUs }) => ({
    ...{ table: { schema, name }, column: null, entries: Number(entries) },
    oldestMs: Math.max(0, Number(oldestUs) / 1000),
  }));
}
