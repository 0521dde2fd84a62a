/**
 * The overlay under fire: writers of a candidate and an applier on the same few rows, with an
 * exact model of both. See test/torture/overlay.ts for what must hold, and
 * test/integration/overlay-controls.db.test.ts for appliers that must not hold it.
 *
 * How the model can be exact: every candidate write takes a number from a sequence in a statement
 * of its own while it holds the row's lock, and every reset or release does so too. For one key
 * the order of the numbers is the order of the writes; a rollback takes its numbers with it.
 */
import { equal } from 'node:assert/strict';
import pg from 'pg';
import { installOverlay } from '../../src/dialect/postgres/overlay/capture.ts';
import {
  Fire,
  HOT_KEYS,
  SHARED_VALUES,
  type FireOptions,
  type HotChange,
  type HotRow,
  type LastWrite,
} from './overlay-fire.ts';
import { createLedgers } from './ledgers.ts';
import { createDatabase, dropDatabase } from './postgres.ts';
import type { Random } from './random.ts';

export type Released = (client: pg.ClientBase, keys: readonly number[]) => Promise<void>;

/** The part under test: what writes to a rollout beside the candidate. */
export interface Applier {
  /**
   * Applies the changes as one batch and commits. Calls `released` within the transaction with the keys
   * it gave up. False if it gave way to a candidate and wrote nothing: then it is called again with
   * the same batch.
   */
  apply(changes: readonly HotChange[], released: Released): Promise<boolean>;
  /**
   * Gives the candidate's rows up, all or the one with this key: puts them back, or only those
   * equal to production's. False if it gave way.
   */
  release(key: number | 'all', how: 'reset' | 'release', released: Released): Promise<boolean>;
  /** Gives up all that are equal to production's, part by part. */
  sweep(released: Released): Promise<boolean>;
  /** Writes keys that waited, as far as nobody is at them. Returns how many wait still; false if it gave way. */
  settle?(released: Released): Promise<number | false>;
  /** How often a race was met and repaired. */
  repairs(): number;
  close(): Promise<void>;
}

export interface ScenarioOptions extends FireOptions {
  readonly openApplier: (url: string) => Promise<Applier>;
}

const KEYS = HOT_KEYS;
const WRITERS = 16;

const PLAIN = `CREATE TABLE public.hot (id int PRIMARY KEY, a int NOT NULL, b text, c text)`;
const PARTITIONED = `CREATE TABLE public.hot (id int PRIMARY KEY, a int NOT NULL, b text, c text)
    PARTITION BY HASH (id);
  CREATE TABLE public.hot_0 PARTITION OF public.hot FOR VALUES WITH (MODULUS 2, REMAINDER 0);
  CREATE TABLE public.hot_1 PARTITION OF public.hot FOR VALUES WITH (MODULUS 2, REMAINDER 1)`;
const UNIQUE = 'ALTER TABLE public.hot ADD CONSTRAINT hot_c UNIQUE (c)';
const LOG = `CREATE TABLE public.written (seq int8 PRIMARY KEY, id int NOT NULL,
    kind text NOT NULL, a text, b text, c text);
  CREATE SEQUENCE public.write_order`;

/** What concurrent sessions may do to each other; anything else fails the seed. */
const COLLISIONS = new Set(['40001', '40P01', '23505', '55P03']);

export function isCollision(error: unknown): boolean {
  return error instanceof pg.DatabaseError && COLLISIONS.has(error.code ?? '');
}

/** Plays one seed on a database of its own. Rejects if the overlay differs from the model. */
export async function playOverlay(options: ScenarioOptions): Promise<void> {
  const { random, note, serverUrl, database } = options;
  const url = await createDatabase(serverUrl, database);
  try {
    await withClient(url, async (client) => {
      const partitioned = random.chance(0.3);
      note(partitioned ? 'partitioned' : 'plain');
      await client.query(partitioned ? PARTITIONED : PLAIN);
      // A unique constraint of a partitioned table has the columns of its partitions in it.
      const unique = !partitioned && random.chance(0.6);
      if (unique) await client.query(UNIQUE);
      note(unique ? 'unique' : 'not unique');
      await createLedgers(client);
      await client.query('BEGIN');
      await installOverlay(client);
      await client.query('COMMIT');
      await client.query(LOG);
      await new Scenario({ ...options, unique }, url, client).play();
    });
  } finally {
    await dropDatabase(serverUrl, database);
  }
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  // A session ended by force tells so here first; the query in flight rejects as well.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

async function noteReleased(client: pg.ClientBase, keys: readonly number[]): Promise<void> {
  await client.query(
    `INSERT INTO public.written SELECT nextval('public.write_order'), k, 'released'
     FROM unnest($1::int[]) AS k`,
    [keys],
  );
}

/** One that gives way is no longer wanted; the next is as good. */
async function release(applier: Applier, random: Random): Promise<void> {
  const key = random.chance(0.7) ? 'all' : random.integer(1, KEYS);
  const how = random.pick(['reset', 'reset', 'release', 'sweep'] as const);
  if (random.chance(0.3)) await applier.settle?.(noteReleased);
  if (how === 'sweep') await applier.sweep(noteReleased);
  else await applier.release(key, how, noteReleased);
}

class Scenario {
  readonly #options: ScenarioOptions;
  readonly #url: string;
  readonly #observer: pg.Client;
  readonly #fire: Fire;
  /** Rows seen that were kept out, of all checks. */
  blocked = 0;
  /** And that waited. */
  waited = 0;

  constructor(options: ScenarioOptions, url: string, observer: pg.Client) {
    this.#options = options;
    this.#url = url;
    this.#observer = observer;
    this.#fire = new Fire(options);
  }

  async play(): Promise<void> {
    const { openApplier, note } = this.#options;
    const applier = await openApplier(this.#url);
    try {
      const parts = {
        apply: (changes: readonly HotChange[]) => applier.apply(changes, noteReleased),
        release: (random: Random) => release(applier, random),
        write: (random: Random) => this.#write(random),
        check: (settled?: boolean) => this.#check(settled),
        sweep: async () => {
          if (applier.settle !== undefined) equal(await applier.settle(noteReleased), 0);
          equal(await applier.sweep(noteReleased), true);
        },
        empty: () => this.#empty(),
      };
      await this.#fire.play(parts, WRITERS);
      note(`repairs ${applier.repairs()}, checks ${this.#fire.checks}, kept out ${this.blocked}`);
      note(`waited ${this.waited}`);
    } finally {
      await applier.close();
    }
  }

  // ---- the candidate ------------------------------------------------------------------------

  async #write(random: Random): Promise<void> {
    await withClient(this.#url, async (client) => {
      await client.query(`SET lock_timeout = '2s'`);
      await this.#fire.write(random, {
        begin: () => {
          const level = random.pick([
            'READ COMMITTED',
            'READ COMMITTED',
            'REPEATABLE READ',
            'SERIALIZABLE',
          ]);
          return client.query(`BEGIN ISOLATION LEVEL ${level}`);
        },
        run: (sql) => client.query(sql),
        statement: () => this.#statement(client, random),
        isCollision,
      });
    });
  }

  async #statement(client: pg.Client, random: Random): Promise<void> {
    const id = random.integer(1, KEYS);
    const value = this.#fire.meant(id);
    const returning = 'RETURNING id, a::text, b, c';
    switch (random.integer(0, 8)) {
      case 0:
        if (this.#options.unique === true && random.chance(0.6)) {
          const c = random.pick(SHARED_VALUES);
          const sql = `UPDATE public.hot SET b = $2, c = $3 WHERE id = $1 ${returning}`;
          return this.#logged(client, sql, [id, value, c]);
        }
        return this.#logged(client, `UPDATE public.hot SET b = $2 WHERE id = $1 ${returning}`, [
          id,
          value,
        ]);
      case 1:
        return this.#logged(client, `UPDATE public.hot SET b = $2 WHERE id = $1 ${returning}`, [
          id,
          value,
        ]);
      case 2:
        return this.#logged(client, `UPDATE public.hot SET a = a WHERE id = $1 ${returning}`, [id]);
      case 3:
        return this.#logged(
          client,
          `INSERT INTO public.hot (id, a, b) VALUES ($1, 7, $2)
           ON CONFLICT (id) DO UPDATE SET b = excluded.b ${returning}`,
          [id, value],
        );
      case 4:
        return this.#logged(
          client,
          `INSERT INTO public.hot (id, a, b) VALUES ($1, 8, $2) ON CONFLICT DO NOTHING ${returning}`,
          [id, value],
        );
      case 5:
        await this.#delete(client, id);
        return;
      case 6:
      case 7: {
        // Equal to what it was, but another row version, which a release has not locked.
        const row = await this.#delete(client, id);
        if (row === undefined) return;
        return this.#logged(
          client,
          `INSERT INTO public.hot (id, a, b, c) VALUES ($1, $2, $3, $4) ${returning}`,
          [id, row.a, row.b, row.c],
        );
      }
      default: {
        const to = random.integer(1, KEYS);
        const moved = await client.query<HotRow & { id: number }>(
          `UPDATE public.hot SET id = $2 WHERE id = $1 ${returning}`,
          [id, to],
        );
        const row = moved.rows[0];
        if (row === undefined) return;
        if (to !== id) await this.#log(client, id, null);
        await this.#log(client, to, row);
      }
    }
  }

  async #delete(client: pg.Client, id: number): Promise<HotRow | undefined> {
    const deleted = await client.query<HotRow>(
      'DELETE FROM public.hot WHERE id = $1 RETURNING a::text, b, c',
      [id],
    );
    if (deleted.rowCount === 1) await this.#log(client, id, null);
    return deleted.rows[0];
  }

  async #logged(client: pg.Client, sql: string, values: readonly unknown[]): Promise<void> {
    const written = await client.query<HotRow & { id: number }>(sql, [...values]);
    for (const row of written.rows) await this.#log(client, row.id, row);
  }

  /** In a statement after the write's, so that the write's triggers have fired: see the head. */
  async #log(client: pg.Client, id: number, row: HotRow | null): Promise<void> {
    await client.query(
      `INSERT INTO public.written VALUES (nextval('public.write_order'), $1, $2, $3, $4, $5)`,
      row === null ? [id, 'delete', null, null, null] : [id, 'put', row.a, row.b, row.c],
    );
  }

  // ---- the judge ----------------------------------------------------------------------------

  /** In one snapshot, so that it may be taken while the candidate writes. */
  async #check(settled = false): Promise<void> {
    await this.#observer.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const image = await this.#read('public__production.hot');
    const log = await this.#observer.query<LastWrite>(
      'SELECT DISTINCT ON (id) id, kind, a, b, c FROM public.written ORDER BY id, seq DESC',
    );
    const visible = await this.#read('public.hot');
    const entries = await this.#observer.query<{ id: number }>(
      'SELECT id FROM understudy."public.hot#journal" ORDER BY id',
    );
    const blocked = await this.#observer.query<{ id: number }>(
      `SELECT id FROM public__difference.hot WHERE understudy_kind = 'blocked' ORDER BY id`,
    );
    const waiting = await this.#observer.query<{ id: number }>(
      'SELECT id FROM understudy."public.hot#waiting" ORDER BY id',
    );
    const ids = (found: typeof entries): readonly number[] => found.rows.map(({ id }) => id);
    this.#fire.judge({
      ...{ image, visible, log: log.rows, settled },
      ...{ entries: ids(entries), blocked: ids(blocked), waiting: ids(waiting) },
    });
    this.waited += waiting.rows.length;
    this.blocked += blocked.rows.length;
    await this.#observer.query('COMMIT');
  }

  async #empty(): Promise<number> {
    const { rows } = await this.#observer.query<{ empty: number }>(
      `SELECT count(*)::int4 AS empty FROM understudy."public.hot#journal" j
       WHERE j.understudy_blocked IS NULL AND (SELECT ROW(t.*) FROM public.hot t WHERE t.id = j.id) IS NOT DISTINCT FROM
         CASE WHEN j.understudy_present THEN ROW(j.id, j.a, j.b, j.c) END`,
    );
    return rows[0]?.empty ?? -1;
  }

  async #read(relation: string): Promise<readonly (readonly [number, HotRow])[]> {
    const result = await this.#observer.query<HotRow & { id: number }>(
      `SELECT id, a::text, b, c FROM ${relation} ORDER BY id`,
    );
    return result.rows.map(({ id, a, b, c }) => [id, { a, b, c }]);
  }
}
