import pg from 'pg';
import { START } from '../../src/change/position.ts';
import { RowShape } from '../../src/change/value.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import type { ChangeBatch, NetChange } from '../../src/order/change-batch.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
  type ApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { releaseConverged, resetOverlay } from '../../src/dialect/postgres/overlay/reset.ts';
import type { HotChange } from './overlay-fire.ts';
import type { Applier } from './overlay-scenario.ts';

const TABLE = { schema: 'public', name: 'hot' };
const FULL = new RowShape(['id', 'a', 'b', 'c']);
const PARTIAL = new RowShape(['id', 'b']);

/** A batch of steps, at no position. */
export function batchOf(...steps: ChangeBatch['steps']): ChangeBatch {
  return { steps, position: START, txIds: [], unmarked: 0, events: 0, transactions: 0, bytes: 0 };
}

function netChange({ id, row, partial, from }: HotChange): NetChange {
  if (row === null) return { kind: 'delete', key: [`${id}`] };
  const image = partial
    ? { shape: PARTIAL, values: [`${id}`, row.b] }
    : { shape: FULL, values: [`${id}`, row.a, row.b, row.c] };
  return { kind: 'upsert', key: [`${id}`], from: [`${from}`], complete: !partial, image };
}

/** The product's own applier on `public.hot`. */
export async function openRealApplier(url: string): Promise<Applier> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(applierSessionSql);
  const session: ApplySession = await openApplySession(client, await readCatalogue(client));
  let repairs = 0;

  const act = async (work: () => Promise<void>): Promise<boolean> => {
    await client.query('BEGIN');
    try {
      await work();
      await client.query('COMMIT');
      return true;
    } catch (error) {
      await client.query('ROLLBACK');
      if (isUnderstudyError(error, 'APPLY_BLOCKED')) return false;
      throw error;
    }
  };

  return {
    apply: (changes) =>
      act(async () => {
        const step = { kind: 'rows' as const, table: TABLE, changes: changes.map(netChange) };
        repairs += (await applyBatch(session, batchOf(step))).repairs;
      }),
    release: (key, how, released) =>
      act(async () => {
        const giveUp = how === 'reset' ? resetOverlay : releaseConverged;
        const only = key === 'all' ? { table: TABLE } : { table: TABLE, key: [`${key}`] };
        if ((await giveUp(session, only)) === 0) return;
        // The acts keep the keys they locked until the transaction ends.
        const gone = await client.query<{ id: number }>(
          `SELECT k.id FROM pg_temp.understudy_keys k WHERE NOT EXISTS (
             SELECT FROM understudy."public.hot#journal" j WHERE j.id = k.id)`,
        );
        await released(
          client,
          gone.rows.map((row) => row.id),
        );
      }),
    repairs: () => repairs,
    close: () => client.end(),
  };
}
