/** Places of production's log as they were passed, see sql/passed-places.ts. */
import { NOW_US } from '../session/clock.ts';
import type { Client } from '../session/client.ts';
import { companionName, quote } from '../session/names.ts';

/** Where the log is saved to stand. In the transaction that saves it, or any later one. */
export async function notePassed(client: Client, database: string): Promise<void> {
  const companion = companionName(database);
  await client.run(
    `INSERT IGNORE INTO ${quote(companion, 'passed')} (at_us, source) SELECT ${NOW_US}, p.source
      FROM ${quote(companion, 'progress')} p WHERE p.source IS NOT NULL`,
  );
}

/** An expression: the place that was passed last by then; NULL if none is remembered. `companion`: quoted. */
export function passedBy(companion: string, momentUs: string): string {
  return `(SELECT n.source FROM ${companion}.passed n WHERE n.at_us <= ${momentUs}
    ORDER BY n.at_us DESC LIMIT 1)`;
}

/** But for the last of them, which stands for what comes after. */
export async function forgetPassed(
  client: Client,
  database: string,
  olderThanMs: number,
): Promise<void> {
  const passed = quote(companionName(database), 'passed');
  const { last } = await client.row<{ last: string | null }>(
    `SELECT MAX(at_us) AS last FROM ${passed} WHERE at_us < ${NOW_US} - ? * 1000`,
    [olderThanMs],
  );
  if (last !== null) await client.run(`DELETE FROM ${passed} WHERE at_us < ?`, [last]);
}
