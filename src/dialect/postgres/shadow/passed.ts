/** Places of production's log as they were passed, see sql/passed-places.ts. */
import type { ClientBase } from 'pg';
import { OWN_SCHEMA } from '../session/names.ts';

const PASSED = `${OWN_SCHEMA}.passed`;

/** Where the log is saved to stand. In the transaction that saves it, or any later one. */
export async function notePassed(client: ClientBase): Promise<void> {
  await client.query(
    `INSERT INTO ${PASSED} (at, source) SELECT pg_catalog.clock_timestamp(), p.source
      FROM ${OWN_SCHEMA}.progress p WHERE p.source IS NOT NULL ON CONFLICT (at) DO NOTHING`,
  );
}

/** An expression: the place that was passed last by then; NULL if none is remembered. */
export function passedBy(moment: string): string {
  return `(SELECT n.source FROM ${PASSED} n WHERE n.at <= ${moment} ORDER BY n.at DESC LIMIT 1)`;
}

/** But for the last of them, which stands for what comes after. */
export async function forgetPassed(client: ClientBase, olderThanMs: number): Promise<void> {
  await client.query(
    `DELETE FROM ${PASSED} WHERE at < (SELECT pg_catalog.max(n.at) FROM ${PASSED} n
      WHERE n.at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1::float8 / 1000))`,
    [olderThanMs],
  );
}
