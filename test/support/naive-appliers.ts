/**
 * Ways to apply, and one to release, that look right and are not: negative controls for the overlay's
 * torture. They share all else with the real applier, so that nothing but the sequence differs.
 */
import pg from 'pg';
import { applierSessionSql } from '../../src/dialect/postgres/apply/apply.ts';
import { openRealApplier } from './overlay-applier.ts';
import type { HotChange } from './overlay-fire.ts';
import { isCollision, type Applier } from './overlay-scenario.ts';
import { pgHotTable } from './overlay-tables.ts';

const JOURNAL = 'understudy."public.hot#journal"';
const DATA = `pg_catalog.jsonb_to_recordset($1::jsonb) AS s(id int, gone boolean, a int, b text, c text)`;

/** Statements that run one after another with the batch as $1. */
type Sequence = readonly string[];

/**
 * Checks the owner in the statement that writes. The statement waits for the candidate's lock and
 * then looks at the new row, but its look into the journal is as old as its snapshot.
 */
export const CHECK_WHILE_WRITING: Sequence = [
  `DELETE FROM public.hot t USING ${DATA} WHERE t.id = s.id AND s.gone
     AND NOT EXISTS (SELECT FROM ${JOURNAL} j WHERE j.id = s.id)`,
  `INSERT INTO public.hot (id, a, b, c) SELECT s.id, s.a, s.b, s.c FROM ${DATA} WHERE NOT s.gone
     AND NOT EXISTS (SELECT FROM ${JOURNAL} j WHERE j.id = s.id)
     ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = excluded.b, c = excluded.c`,
  `UPDATE ${JOURNAL} j SET understudy_present = NOT s.gone, a = s.a, b = s.b, c = s.c
     FROM ${DATA} WHERE j.id = s.id`,
];

/** Reads the owners first; by the time it writes there may be more. */
export const READ_THEN_WRITE: Sequence = [
  `CREATE TEMPORARY TABLE owned ON COMMIT DROP AS SELECT j.id FROM ${JOURNAL} j`,
  `DELETE FROM public.hot t USING ${DATA} WHERE t.id = s.id AND s.gone
     AND NOT EXISTS (SELECT FROM pg_temp.owned o WHERE o.id = s.id)`,
  `INSERT INTO public.hot (id, a, b, c) SELECT s.id, s.a, s.b, s.c FROM ${DATA} WHERE NOT s.gone
     AND NOT EXISTS (SELECT FROM pg_temp.owned o WHERE o.id = s.id)
     ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = excluded.b, c = excluded.c`,
  `UPDATE ${JOURNAL} j SET understudy_present = NOT s.gone, a = s.a, b = s.b, c = s.c
     FROM ${DATA} WHERE j.id = s.id`,
];

/** An applier with another sequence of statements. It is given whole rows, never partial ones. */
export async function openNaiveApplier(url: string, sequence: Sequence): Promise<Applier> {
  const real = await openRealApplier(url, pgHotTable('plain'));
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(applierSessionSql);
  return {
    ...real,
    async apply(changes: readonly HotChange[]): Promise<boolean> {
      const rows = changes.map(({ id, row }) => ({ id, gone: row === null, ...row }));
      await client.query('BEGIN');
      try {
        for (const statement of sequence) {
          const values = statement.includes('$1') ? [JSON.stringify(rows)] : [];
          await client.query(statement, values);
        }
        await client.query('COMMIT');
        return true;
      } catch (error) {
        await client.query('ROLLBACK');
        if (isCollision(error)) return false;
        throw error;
      }
    },
    async close(): Promise<void> {
      await client.end();
      await real.close();
    },
  };
}

const EMPTY = `SELECT j.id FROM ${JOURNAL} j LEFT JOIN public.hot t ON t.id = j.id
  WHERE CASE WHEN j.understudy_present THEN (t.id, t.a, t.b, t.c) IS NOT DISTINCT FROM (j.id, j.a, j.b, j.c)
    ELSE t.id IS NULL END`;

/** A sweep that compares and then gives up, without a lock on the rows in between. */
export async function openNaiveReleaser(url: string): Promise<Applier> {
  const real = await openRealApplier(url, pgHotTable('plain'));
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(applierSessionSql);
  return {
    ...real,
    async sweep(released): Promise<boolean> {
      await client.query('BEGIN');
      try {
        const { rows } = await client.query<{ id: number }>(EMPTY);
        const keys = rows.map(({ id }) => id);
        await client.query(`DELETE FROM ${JOURNAL} j WHERE j.id = ANY ($1)`, [keys]);
        await released(client, keys);
        await client.query('COMMIT');
        return true;
      } catch (error) {
        await client.query('ROLLBACK');
        if (isCollision(error)) return false;
        throw error;
      }
    },
    async close(): Promise<void> {
      await client.end();
      await real.close();
    },
  };
}
