/** Errors of the candidate that capture raised, and production would not: see dialect/possibly-ours.ts. */
import type { ClientBase } from 'pg';
import type { PossiblyOurs } from '../../possibly-ours.ts';
import { RAISED } from '../session/names.ts';

const WHEN: Readonly<Record<keyof typeof RAISED, string>> = {
  row: 'on a row that is changed for the first time, in SERIALIZABLE',
  insert:
    'on an insert of a key that others made and gave up since the snapshot, above READ COMMITTED',
  truncate: 'on TRUNCATE of a table that was changed since the snapshot, above READ COMMITTED',
};

/**
 * That a native statement finds a row changed since its snapshot is raised before any trigger fires, and
 * production raises it as well where it changed the row.
 */
const UNCOUNTED =
  'waits for the applier’s locks that a lock_timeout or the deadlock check of the candidate’s ended, and ' +
  '40001 of a statement itself, on a row that the applier changed since the snapshot';

export async function readRaised(client: ClientBase): Promise<PossiblyOurs> {
  const names = Object.keys(RAISED) as (keyof typeof RAISED)[];
  const counts = names.map(
    (
      kind,
    ) => `SELECT '${kind}' AS kind, CASE WHEN is_called THEN last_value ELSE 0 END::float8 AS count
      FROM ${RAISED[kind]}`,
  );
  const { rows } = await client.query<{ kind: keyof typeof RAISED; count: number }>(
    counts.join(' UNION ALL '),
  );
  return {
    count: rows.reduce((sum, { count }) => sum + count, 0),
    kinds: rows.map(({ kind, count }) => ({ code: '40001', when: WHEN[kind], count })),
    uncounted: UNCOUNTED,
  };
}
