/**
 * The overlay under fire: writers of a candidate and an applier on the same few rows, with an
 * exact model of both. See overlay-suite.ts for what must hold, and
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
import { sameKey } from './hot-table.ts';
import { createLedgers } from './ledgers.ts';
import { COMMON_TABLES, pgHotTable, type PgHotTable } from './overlay-tables.ts';
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
  readonly openApplier: (url: string, table: PgHotTable) => Promise<Applier>;
  /** One of them by chance: see overlay-tables.ts. Default: COMMON_TABLES. */
  readonly tables?: readonly string[];
}

const KEYS = HOT_KEYS;
const JOURNAL = 'understudy."public.hot#journal"';
const WRITERS = 16;

const LOG = `CREATE TABLE public.written (seq int8 PRIMARY KEY, id int NOT NULL,
    kind text NOT NULL, a text, b text, c text);
  CREATE SEQUENCE public.write_order`;

/** What concurrent sessions may do to each other; anything else fails the seed. */
const COLLISIONS = new Set(['40001', '40P01', '23505', '23P01', '55P03']);

export function isCollision(error: unknown): boolean {
  return error instanceof pg.DatabaseError && COLLISIONS.has(error.code ?? '');
}

/** Plays one seed on a database of its own. Rejects if the overlay differs from the model. */
export async function playOverlay(options: ScenarioOptions): Promise<void> {
  const { random, note, serverUrl, database } = options;
  const url = await createDatabase(serverUrl, database);
  try {
    await withClient(url, async (client) => {
      const name = random.pick(options.tables ?? COMMON_TABLES);
      note(name);
      const table = pgHotTable(name);
      await client.query(table.definition);
      await createLedgers(client);
      await client.query('BEGIN');
      await installOverlay(client);
      await client.query('COMMIT');
      await client.query(LOG);
      const unique = table.unique === true;
      await new Scenario({ ...options, unique }, table, url, client).play();
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
  readonly #table: PgHotTable;
  readonly #url: string;
  readonly #observer: pg.Client;
  readonly #fire: Fire;
  /** Rows seen that were kept out, of all checks. */
  blocked = 0;
  /** And that waited. */
  waited = 0;

  constructor(options: ScenarioOptions, table: PgHotTable, url: string, observer: pg.Client) {
    this.#options = options;
    this.#table = table;
    this.#url = url;
    this.#observer = observer;
    this.#fire = new Fire(options);
  }

  async play(): Promise<void> {
    const { openApplier, note } = this.#options;
    const applier = await openApplier(this.#url, this.#table);
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
    const { arbiters, key, hasA } = this.#table;
    await this.#await(client, id);
    const update = (set: string): Promise<void> =>
      this.#logged(client, `UPDATE public.hot SET ${set} WHERE ${this.#is(id, random)}`);
    switch (random.integer(0, 9)) {
      case 0:
      case 1:
        if (this.#options.unique === true && random.chance(0.6)) {
          const c = random.pick(SHARED_VALUES);
          return update(`b = '${value}', c = '${random.chance(0.3) ? c.toUpperCase() : c}'`);
        }
        return update(`b = '${value}'`);
      case 2:
        return update('b = b');
      case 3: {
        const insert = this.#insert(id, { a: '7', b: value, c: null });
        if (arbiters === 'none') return this.#logged(client, insert);
        const or = `ON CONFLICT (${key.join(', ')}) DO UPDATE SET b = excluded.b`;
        return this.#logged(client, `${insert} ${or}`);
      }
      case 4: {
        const insert = this.#insert(id, { a: '8', b: value, c: null });
        if (arbiters === 'none') return this.#logged(client, insert);
        const by = arbiters === 'by key' ? `(${key.join(', ')})` : '';
        return this.#logged(client, `${insert} ON CONFLICT ${by} DO NOTHING`);
      }
      case 5:
        await this.#delete(client, id, random);
        return;
      case 6:
      case 7: {
        // Equal to what it was, but another row version, which a release has not locked.
        const row = await this.#delete(client, id, random);
        if (row === undefined) return;
        return this.#logged(client, this.#insert(id, row));
      }
      case 8: {
        // Of a key that is spelled freely: another spelling, under which it is the same.
        const a = String(random.integer(0, 9));
        return update(hasA ? `a = ${a}` : this.#sets(id, a));
      }
      default:
        return this.#move(client, id, random.integer(1, KEYS), random);
    }
  }

  /** Where a key may be two rows' for a while, a row's lock is not the key's: see the head. */
  async #await(client: pg.Client, id: number): Promise<void> {
    if (this.#table.arbiters !== 'none') return;
    await client.query('SELECT pg_advisory_xact_lock($1)', [id]);
  }

  /** By any spelling of its key. */
  #is(id: number, random: Random): string {
    const values = this.#table.keyOf(id, String(random.integer(0, 9)));
    return this.#table.key.map((name, i) => `${name} = '${values[i] ?? ''}'`).join(' AND ');
  }

  #sets(id: number, a: string): string {
    const values = this.#table.keyOf(id, a);
    return this.#table.key.map((name, i) => `${name} = '${values[i] ?? ''}'`).join(', ');
  }

  #insert(id: number, { a, b, c }: HotRow): string {
    const { key, keyOf, hasA } = this.#table;
    const names = [...key, ...(hasA ? ['a'] : []), 'b', 'c'];
    const values = [...keyOf(id, a), ...(hasA ? [a] : []), b].map((one) => `'${one}'`);
    values.push(c === null ? 'NULL' : `'${c}'`);
    return `INSERT INTO public.hot (${names.join(', ')}) VALUES (${values.join(', ')})`;
  }

  /** `id, a, b, c` of the model. */
  #columns(alias = ''): string {
    const { id, a } = this.#table;
    const of = (name: string): string => `${alias}${name}`;
    return `${id(of)} AS id, ${a(of)} AS a, ${alias}b, ${alias}c`;
  }

  async #move(client: pg.Client, id: number, to: number, random: Random): Promise<void> {
    await this.#await(client, to);
    const set = this.#table.hasA ? this.#sets(to, '0') : this.#sets(to, '3');
    const moved = await client.query<HotRow>(
      `UPDATE public.hot SET ${set} WHERE ${this.#is(id, random)} RETURNING ${this.#columns()}`,
    );
    const row = moved.rows[0];
    if (row === undefined) return;
    if (to !== id) await this.#log(client, id, null);
    await this.#log(client, to, row);
  }

  async #delete(client: pg.Client, id: number, random: Random): Promise<HotRow | undefined> {
    const deleted = await client.query<HotRow>(
      `DELETE FROM public.hot WHERE ${this.#is(id, random)} RETURNING ${this.#columns()}`,
    );
    // Of a key that is checked late there may be two.
    if (deleted.rows.length > 0) await this.#log(client, id, null);
    return deleted.rows[0];
  }

  async #logged(client: pg.Client, sql: string): Promise<void> {
    const written = await client.query<HotRow & { id: number }>(
      `${sql} RETURNING ${this.#columns()}`,
    );
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
    const idsOf = async (from: string): Promise<readonly number[]> => {
      const id = this.#table.id((name) => name);
      const found = await this.#observer.query<{ id: number }>(
        `SELECT ${id} AS id FROM ${from} ORDER BY 1`,
      );
      return found.rows.map((row) => row.id);
    };
    const entries = await idsOf(JOURNAL);
    const blocked = await idsOf(`public__difference.hot WHERE understudy_kind = 'blocked'`);
    const waiting = await idsOf('understudy."public.hot#waiting"');
    const { collide } = this.#table;
    this.#fire.judge({
      ...{ image, visible, log: log.rows, settled },
      ...{ entries, blocked, waiting },
      ...(collide !== undefined && { collide }),
    });
    this.waited += waiting.length;
    this.blocked += blocked.length;
    await this.#observer.query('COMMIT');
  }

  async #empty(): Promise<number> {
    const { key, hasA } = this.#table;
    const names = [...key, ...(hasA ? ['a'] : []), 'b', 'c'];
    const image = (alias: string): string =>
      `ROW(${names.map((name) => `${alias}.${name}`).join(', ')})`;
    const { rows } = await this.#observer.query<{ empty: number }>(
      `SELECT count(*)::int4 AS empty FROM ${JOURNAL} j
        LEFT JOIN public.hot t ON ${sameKey(this.#table, 't', 'j')}
        WHERE j.understudy_blocked IS NULL AND CASE WHEN j.understudy_present
          THEN record_image_eq(${image('t')}, ${image('j')}) ELSE t.${key[0] ?? ''} IS NULL END`,
    );
    return rows[0]?.empty ?? -1;
  }

  async #read(relation: string): Promise<readonly (readonly [number, HotRow])[]> {
    const result = await this.#observer.query<HotRow & { id: number }>(
      `SELECT ${this.#columns()} FROM ${relation} ORDER BY 1`,
    );
    return result.rows.map(({ id, a, b, c }) => [id, { a, b, c }]);
  }
}
