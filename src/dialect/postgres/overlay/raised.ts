/** Errors of the candidate that capture raised, and production would not: see dialect/possibly-ours.ts. */
import { escapeLiteral, type ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { PossiblyOurs } from '../../possibly-ours.ts';
import { describeTable } from '../apply/apply-table.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { readComparisons } from '../catalogue/key-facts.ts';
import { CAPTURED_TABLE, OWN_SCHEMA, RAISED } from '../session/names.ts';
import { captureFunctions } from './capture-sql.ts';
import { partitionsOf } from './changed-tables.ts';
import { readCaptured } from './journal.ts';

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

/** Captured tables of which a function is an older version's, that counts nothing. */
const SILENT = `SELECT DISTINCT r.schema, r.name FROM ${CAPTURED_TABLE} r
  JOIN pg_catalog.pg_namespace n ON n.nspname = r.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = r.name
  JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
  WHERE p.pronamespace = pg_catalog.to_regnamespace('${OWN_SCHEMA}')
    AND pg_catalog."right"(p.proname, 4) = '#row'
    AND pg_catalog.strpos(p.prosrc, ${escapeLiteral(RAISED.row)}) = 0`;

/**
 * Makes the functions of rollouts that an older version made anew, so that they count, and notes since when they
 * do. In the caller's fenced transaction; keeps no candidate waiting.
 */
export async function countAnew(client: ClientBase): Promise<void> {
  const captured = await readCaptured(client);
  if (captured === null) return;
  const { rows: silent } = await client.query<TableId>(SILENT);
  if (silent.length === 0) return;
  const catalogue = await readCatalogue(client);
  const comparisons = await readComparisons(client);
  for (const id of silent) {
    const label = tableName(id);
    const [schema, journal] = [catalogue.get(label), captured.get(label)];
    if (schema === undefined || journal === undefined) continue;
    const partitions = partitionsOf(catalogue.values(), label);
    const table = describeTable(schema, comparisons, journal);
    await client.query(captureFunctions(table, partitions).join(';\n'));
  }
  await client.query(`DO $since$ BEGIN
    EXECUTE pg_catalog.format('COMMENT ON SEQUENCE ${RAISED.row} IS %L', pg_catalog.clock_timestamp());
  END $since$`);
}

/** Of a rollout that an older version made; null of others. */
async function readSince(client: ClientBase): Promise<string | null> {
  const silent = await client.query(SILENT);
  if (silent.rows.length > 0)
    return 'all, until an applier of this version has seen to what captures';
  const { rows } = await client.query<{ since: string | null }>(
    `SELECT pg_catalog.obj_description('${RAISED.row}'::pg_catalog.regclass, 'pg_class') AS since`,
  );
  const since = rows[0]?.since ?? null;
  return since === null ? null : `what was raised before ${since}, while an older version captured`;
}

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
  const since = await readSince(client);
  return {
    count: rows.reduce((sum, { count }) => sum + count, 0),
    kinds: rows.map(({ kind, count }) => ({ code: '40001', when: WHEN[kind], count })),
    uncounted: since === null ? UNCOUNTED : `${since}; ${UNCOUNTED}`,
  };
}
