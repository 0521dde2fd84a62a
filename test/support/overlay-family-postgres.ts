/** Foreign keys of the overlay under fire on PostgreSQL: see overlay-family.ts. */
import { deepStrictEqual } from 'node:assert/strict';
import pg from 'pg';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { installOverlay } from '../../src/dialect/postgres/overlay/capture.ts';
import { readOrphans } from '../../src/dialect/postgres/overlay/orphans.ts';
import { sweepOverlay } from '../../src/dialect/postgres/overlay/release.ts';
import { resetOverlay } from '../../src/dialect/postgres/overlay/reset.ts';
import { writeWaiting } from '../../src/dialect/postgres/overlay/write-waiting.ts';
import { LockPatience } from '../../src/dialect/sql/lock-patience.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { actsOn, batchOf } from './overlay-applier.ts';
import {
  FAMILY_DDL,
  FAMILY_TABLES,
  playFamily,
  type FamilySession,
  type Table,
} from './overlay-family.ts';
import type { FireOptions } from './overlay-fire.ts';
import { createLedgers } from './ledgers.ts';
import { isCollision } from './overlay-scenario.ts';
import { createDatabase, dropDatabase } from './postgres.ts';

const FOREIGN_KEY = '23503';
const PATIENCE_MS = 30;

/**
 * What the candidate did, also what its deletes go on to: a trigger of its own, which fires for it alone, takes a
 * number while the row is locked.
 */
const LOG = `CREATE TABLE public.written (seq int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
    id int NOT NULL, up int, v text);
  CREATE FUNCTION public.note_written() RETURNS trigger LANGUAGE plpgsql AS $note$ BEGIN
    IF TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR OLD.id <> NEW.id) THEN
      INSERT INTO public.written (name, id) VALUES (TG_TABLE_NAME, OLD.id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
      INSERT INTO public.written (name, id, up, v) VALUES (TG_TABLE_NAME, NEW.id, NEW.up, NEW.v);
    END IF;
    RETURN NULL;
  END $note$;
  ${FAMILY_TABLES.map(
    (name) => `CREATE TRIGGER note_written AFTER INSERT OR UPDATE OR DELETE ON public.${name}
      FOR EACH ROW EXECUTE FUNCTION public.note_written()`,
  ).join(';')}`;

const journalOf = (name: Table): string => `understudy."public.${name}#journal"`;
const waitingOf = (name: Table): string => `understudy."public.${name}#waiting"`;

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  // A session ended by force tells so here first; the query in flight rejects as well.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Of each row what became of it last, as a batch has it. */
function netSteps(steps: readonly BatchStep[]): readonly BatchStep[] {
  const net = new Map<string, BatchStep>();
  for (const step of steps) {
    if (step.kind !== 'rows') throw new Error(`${step.kind} is not of this log`);
    for (const change of step.changes) {
      const name = `${step.table.name} ${change.key.join()}`;
      net.delete(name);
      net.set(name, { ...step, changes: [change] });
    }
  }
  return [...net.values()];
}

/** Plays one seed on a database of its own. Rejects if the overlay differs from the model. */
export async function playPostgresFamily(options: FireOptions): Promise<void> {
  const { serverUrl, database } = options;
  const url = await createDatabase(serverUrl, database);
  const [observer, applier] = [await connect(url), await connect(url)];
  try {
    for (const sql of FAMILY_DDL) await observer.query(sql);
    await createLedgers(observer);
    await observer.query('BEGIN');
    await installOverlay(observer);
    await observer.query('COMMIT');
    await observer.query(LOG);
    await applier.query(applierSessionSql);
    await playOn(options, { url, observer, applier });
  } finally {
    await observer.end();
    await applier.end();
    await dropDatabase(serverUrl, database);
  }
}

async function playOn(
  options: FireOptions,
  at: { readonly url: string; readonly observer: pg.Client; readonly applier: pg.Client },
): Promise<void> {
  const { url, observer, applier } = at;
  const session = await openApplySession(applier, await readCatalogue(applier));
  const patience = new LockPatience(() => false, PATIENCE_MS);
  const act = actsOn(applier);
  const sweep = async (): Promise<boolean> => {
    for (let place: string | null = null; ;) {
      const from: string | null = place;
      const done = await act(async () => {
        place = (await sweepOverlay(session, from)).next;
      });
      if (!done) return false;
      if (place === null) return true;
    }
  };
  let [waited, orphaned] = [0, 0];
  const checks = await playFamily(options, {
    source: 'public',
    tellsAll: true,
    apply: (steps) =>
      act(() =>
        patience.try((parks) => applyBatch(session, batchOf(...netSteps(steps)), new Set(), parks)),
      ),
    reset: (name) =>
      act(() => resetOverlay(session, name === null ? {} : { table: { schema: 'public', name } })),
    sweep,
    async settle() {
      for (let left = 1; left > 0;) {
        options.signal.throwIfAborted();
        const done = await act(async () => {
          ({ left } = await writeWaiting(session));
        });
        if (!done) return false;
      }
      return sweep();
    },
    image: async (name) =>
      (
        await observer.query<{ id: number; up: number | null; v: string }>(
          `SELECT id, up, v FROM public__production.${name} ORDER BY id`,
        )
      ).rows,
    begin: async () => {
      await observer.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    },
    end: async () => {
      await observer.query('COMMIT');
    },
    async connect(): Promise<FamilySession> {
      const client = await connect(url);
      await client.query(`SET lock_timeout = '2s'`);
      return {
        begin: async (random) => {
          const level = random.pick(['READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ']);
          await client.query(`BEGIN ISOLATION LEVEL ${level}`);
        },
        run: (sql) => client.query(sql),
        end: () => client.end(),
      };
    },
    isCollision: (error) =>
      isCollision(error) || (error instanceof pg.DatabaseError && error.code === FOREIGN_KEY),
    async also(settled) {
      const found: string[] = [];
      for (const name of FAMILY_TABLES) {
        // What the candidate owns is as it wrote it last.
        const { rows } = await observer.query(
          `SELECT j.id, w.up AS written_up, w.v AS written_v, t.up, t.v FROM ${journalOf(name)} j
            LEFT JOIN public.${name} t ON t.id = j.id
            LEFT JOIN (SELECT DISTINCT ON (id) id, up, v FROM public.written WHERE name = $1
              ORDER BY id, seq DESC) w ON w.id = j.id
            WHERE j.understudy_blocked IS NULL AND ROW(w.up, w.v) IS DISTINCT FROM ROW(t.up, t.v)`,
          [name],
        );
        deepStrictEqual(rows, [], `the candidate’s rows in ${name} are as it wrote them`);
        const waits = await observer.query(`SELECT FROM ${waitingOf(name)}`);
        waited += waits.rows.length;
        const above = { p: null, c: 'p', g: 'c', n: 'c', e: 'e' }[name];
        if (!settled || above === null) continue;
        const orphans = await observer.query<{ id: number }>(
          `SELECT t.id FROM public.${name} t WHERE t.up IS NOT NULL
            AND NOT EXISTS (SELECT FROM public.${above} a WHERE a.id = t.up)`,
        );
        found.push(...orphans.rows.map(({ id }) => `${name} ${String(id)}`));
      }
      if (!settled) return;
      orphaned = found.length;
      const told = await readOrphans(observer, 1_000, {});
      deepStrictEqual(
        told.map(({ table, key }) => `${table.name} ${key.join()}`).toSorted(),
        found.toSorted(),
        'what refers to none is told',
      );
    },
  });
  options.note(`checks ${String(checks)}, waited ${String(waited)}, orphans ${String(orphaned)}`);
}
