import pg from 'pg';
import { START } from '../../src/change/position.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import type { ChangeBatch } from '../../src/order/change-batch.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
  tableOf,
  type ApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { stageRelation } from '../../src/dialect/postgres/apply/stage.ts';
import { releaseOverlay, sweepOverlay } from '../../src/dialect/postgres/overlay/release.ts';
import { resetOverlay } from '../../src/dialect/postgres/overlay/reset.ts';
import { writeWaiting } from '../../src/dialect/postgres/overlay/write-waiting.ts';
import { LockPatience } from '../../src/dialect/sql/lock-patience.ts';
import { netChange, type HotTable } from './hot-table.ts';
import type { Applier, Released } from './overlay-scenario.ts';

const TABLE = { schema: 'public', name: 'hot' };
/** A batch of steps, at no position. */
export function batchOf(...steps: ChangeBatch['steps']): ChangeBatch {
  return { steps, position: START, txIds: [], unmarked: 0, events: 0, transactions: 0, bytes: 0 };
}

/**
 * What the applier gives up goes through this table, which only it deletes from: whatever act it is, and in how
 * many parts.
 */
const givenUpBy = ({ id }: HotTable): string => `CREATE TEMPORARY TABLE given_up (id int);
  CREATE OR REPLACE FUNCTION public.note_given_up() RETURNS trigger LANGUAGE plpgsql AS $note$
  BEGIN INSERT INTO pg_temp.given_up VALUES (${id((name) => `OLD.${name}`)}); RETURN NULL; END $note$;
  CREATE OR REPLACE TRIGGER given_up AFTER DELETE ON understudy."public.hot#journal"
    FOR EACH ROW EXECUTE FUNCTION public.note_given_up();
  ALTER TABLE understudy."public.hot#journal" ENABLE ALWAYS TRIGGER given_up`;

/** The product's own applier, for which keys wait that it was refused for so long. */
export async function openParkingApplier(
  url: string,
  hot: HotTable,
  patienceMs: number,
): Promise<Applier> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(`${applierSessionSql}; ${givenUpBy(hot)}`);
  return realApplier(client, hot, patienceMs);
}

/** The product's own applier on `public.hot`. */
export async function openRealApplier(url: string, hot: HotTable): Promise<Applier> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(applierSessionSql);
  return realApplier(client, hot, null);
}

/** Acts of an applier's, a transaction each. False: it gave way to a candidate, and did nothing. */
export function actsOn(client: pg.ClientBase): (work: () => Promise<unknown>) => Promise<boolean> {
  return async (work) => {
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
}

async function realApplier(
  client: pg.Client,
  hot: HotTable,
  patienceMs: number | null,
): Promise<Applier> {
  const session: ApplySession = await openApplySession(client, await readCatalogue(client));
  let repairs = 0;
  const patience = new LockPatience(() => false, patienceMs ?? Infinity);

  const act = actsOn(client);

  /** Of the transaction, while it keeps what it locked. */
  const note = async (released: Released, freed: string): Promise<void> => {
    const { rows } = await client.query<{ id: number }>(freed);
    if (rows.length > 0)
      await released(
        client,
        rows.map(({ id }) => id),
      );
  };
  const described = tableOf(session, TABLE);
  const stage = stageRelation(described);
  const staged = hot.id(
    (name) => described.key.find(({ schema }) => schema.name === name)?.staged ?? '',
  );
  const givenUp =
    'WITH gone AS (DELETE FROM pg_temp.given_up RETURNING id) SELECT DISTINCT id FROM gone';
  const freed = patienceMs === null ? `SELECT ${staged} AS id FROM ${stage} WHERE freed` : givenUp;
  const reset =
    patienceMs === null
      ? `SELECT ${hot.id((name) => name)} AS id FROM pg_temp.understudy_keys`
      : givenUp;

  return {
    apply: (changes, released) =>
      act(async () => {
        const step = {
          kind: 'rows' as const,
          table: TABLE,
          changes: changes.map((one) => netChange(hot, one)),
        };
        const apply = (parks: boolean) => applyBatch(session, batchOf(step), new Set(), parks);
        repairs += (await patience.try(apply)).repairs;
        await note(released, freed);
      }),
    release: (key, how, released) =>
      act(async () => {
        const only = key === 'all' ? { table: TABLE } : { table: TABLE, key: hot.keyOf(key, '0') };
        if (how === 'release') {
          await releaseOverlay(session, only);
          await note(released, freed);
        } else if ((await resetOverlay(session, only)) > 0 || patienceMs !== null) {
          await note(released, reset);
        }
      }),
    ...(patienceMs !== null && {
      settle: async (released: Released): Promise<number | false> => {
        let left = 0;
        const done = await act(async () => {
          ({ left } = await writeWaiting(session));
          await note(released, freed);
        });
        return done && left;
      },
    }),
    async sweep(released) {
      let place: string | null = null;
      do {
        const from: string | null = place;
        const done = await act(async () => {
          place = (await sweepOverlay(session, from)).next;
          if (place !== null) await note(released, freed);
        });
        if (!done) return false;
      } while (place !== null);
      return true;
    },
    repairs: () => repairs,
    close: () => client.end(),
  };
}
