/**
 * The overlay of MySQL and MariaDB under fire: writers of a candidate and an applier on the same few rows,
 * with an exact model of both (overlay-fire.ts). See test/torture/overlay-mysql.ts for what must hold, and
 * test/integration/mysql-overlay-controls.db.test.ts for appliers that must not hold it.
 *
 * How the model can be exact: every candidate write takes a number, of an AUTO_INCREMENT, in a statement of
 * its own while it holds the row's lock, and every release does so too. For one key the order of the
 * numbers is the order of the writes; a rollback takes its numbers with it.
 */
import { equal } from 'node:assert/strict';
import type { Connection, ResultSetHeader } from 'mysql2/promise';
import type { ShadowServer } from '../../src/dialect/dialect.ts';
import { applyBatch } from '../../src/dialect/mysql/apply/apply.ts';
import { resetOverlay } from '../../src/dialect/mysql/overlay/reset.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import type { MySqlServer } from './mysql-server.ts';
import { batchOf } from './overlay-applier.ts';
import {
  connectTo,
  emptyEntries,
  FORBIDDEN,
  isCollision,
  journalOf,
  logOf,
  openProduct,
  openProductApplier,
  rowsOf,
  SOURCE,
  sweepAll,
  type OpenApplier,
  type Place,
} from './overlay-binlog-applier.ts';
import { Fire, HOT_KEYS, type FireOptions, type HotRow, type LastWrite } from './overlay-fire.ts';
import { FAMILY_DDL, playFamily } from './overlay-family.ts';
import type { Random } from './random.ts';
import type { TortureStage, TortureSuite } from './seeds.ts';

const WRITERS = 10;
const TRUNK = 'trunk';
const CANDIDATE = 'candidate';

const COLUMNS = `(id INT PRIMARY KEY, a INT NOT NULL, b VARCHAR(20), c VARCHAR(20))`;
const TABLES = [
  `CREATE TABLE plain ${COLUMNS}`,
  `CREATE TABLE parted ${COLUMNS} PARTITION BY HASH (id) PARTITIONS 2`,
  ...FAMILY_DDL,
];

function candidateUrl(place: Pick<Place, 'url' | 'database'>): string {
  const url = new URL(place.url);
  [url.username, url.password] = [CANDIDATE, 'x'];
  url.pathname = place.database;
  return url.href;
}

class Scenario {
  readonly #place: Place;
  readonly #candidateUrl: string;
  readonly #observer: Connection;
  readonly #fire: Fire;

  constructor(options: FireOptions, place: Place, observer: Connection) {
    this.#place = place;
    this.#observer = observer;
    this.#fire = new Fire(options);
    this.#candidateUrl = candidateUrl(place);
  }

  async play(open: OpenApplier): Promise<number> {
    const applier = await open(this.#place);
    try {
      await this.#fire.play(
        {
          apply: (changes) => applier.apply(changes),
          release: async (random) => {
            // One that gives way is no longer wanted; the next is as good.
            if (random.chance(0.3)) await applier.sweep();
            else await applier.reset(random.chance(0.7) ? 'all' : random.integer(1, HOT_KEYS));
          },
          sweep: async () => {
            equal(await applier.sweep(), true);
          },
          empty: () => this.#empty(),
          write: (random) => this.#write(random),
          check: () => this.#check(),
        },
        WRITERS,
      );
      return this.#fire.checks;
    } finally {
      await applier.close();
    }
  }

  async #write(random: Random): Promise<void> {
    const client = await connectTo(this.#candidateUrl);
    try {
      await client.query('SET SESSION innodb_lock_wait_timeout = 2');
      await this.#fire.write(random, {
        begin: () => this.#begin(client, random),
        run: (sql) => client.query(sql),
        statement: () => this.#statement(client, random),
        isCollision: (error) => isCollision(error),
      });
    } finally {
      await client.end();
    }
  }

  async #begin(client: Connection, random: Random): Promise<void> {
    const level = random.pick([
      ...['READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'REPEATABLE READ', 'SERIALIZABLE'],
    ]);
    await client.query(`SET TRANSACTION ISOLATION LEVEL ${level}`);
    await client.query('START TRANSACTION');
    // A snapshot that may be older than the entries.
    if (random.chance(0.3)) await client.query(`SELECT COUNT(*) FROM ${this.#place.table}`);
  }

  async #statement(client: Connection, random: Random): Promise<void> {
    const id = random.integer(1, HOT_KEYS);
    const value = this.#fire.meant(id);
    const { table } = this.#place;
    const put = async (sql: string, ...values: readonly unknown[]): Promise<void> => {
      const [{ affectedRows }] = await client.query<ResultSetHeader>(sql, [...values]);
      if (affectedRows > 0) await this.#log(client, id, await this.#row(client, id));
    };
    switch (random.integer(0, 9)) {
      case 0:
      case 1:
        return put(`UPDATE ${table} SET b = ? WHERE id = ?`, value, id);
      case 2:
        // Changes nothing, and so nobody owns it.
        await client.query(`UPDATE ${table} SET a = a WHERE id = ?`, [id]);
        return;
      case 3:
        return put(
          `INSERT INTO ${table} (id, a, b) VALUES (?, 7, ?) ON DUPLICATE KEY UPDATE b = VALUES(b)`,
          ...[id, value],
        );
      case 4:
        return put(`INSERT IGNORE INTO ${table} (id, a, b) VALUES (?, 8, ?)`, id, value);
      case 5:
        return put(`REPLACE INTO ${table} (id, a, b) VALUES (?, 9, ?)`, id, value);
      case 6:
        await this.#delete(client, id);
        return;
      case 7:
      case 8: {
        const row = await this.#delete(client, id);
        if (row === null) {
          await put(`INSERT INTO ${table} (id, a, b) VALUES (?, 6, ?)`, id, value);
          await this.#delete(client, id);
          return;
        }
        const { a, b, c } = row;
        return put(`INSERT INTO ${table} (id, a, b, c) VALUES (?, ?, ?, ?)`, id, a, b, c);
      }
      default: {
        const to = random.integer(1, HOT_KEYS);
        if (to === id) return;
        const moved = `UPDATE ${table} SET id = ? WHERE id = ?`;
        const [{ affectedRows }] = await client.query<ResultSetHeader>(moved, [to, id]);
        if (affectedRows === 0) return;
        await this.#log(client, id, null);
        await this.#log(client, to, await this.#row(client, to));
      }
    }
  }

  /** Null if there was none. */
  async #delete(client: Connection, id: number): Promise<HotRow | null> {
    const row = await this.#row(client, id, 'FOR UPDATE');
    const sql = `DELETE FROM ${this.#place.table} WHERE id = ?`;
    const [{ affectedRows }] = await client.query<ResultSetHeader>(sql, [id]);
    if (affectedRows > 0) await this.#log(client, id, null);
    return row;
  }

  async #row(client: Connection, id: number, lock = ''): Promise<HotRow | null> {
    const [row] = await rowsOf<HotRow>(
      client,
      `SELECT CAST(a AS CHAR) AS a, b, c FROM ${this.#place.table} WHERE id = ${String(id)} ${lock}`,
    );
    return row === undefined ? null : { a: row.a, b: row.b, c: row.c };
  }

  /** In a statement after the write's, so that the write's triggers have fired: see the head. */
  async #log(client: Connection, id: number, row: HotRow | null): Promise<void> {
    const kind = row === null ? 'delete' : 'put';
    await client.query(
      `INSERT INTO ${logOf(this.#place)} (id, kind, a, b, c) VALUES (?, ?, ?, ?, ?)`,
      [...[id, kind, row?.a ?? null, row?.b ?? null, row?.c ?? null]],
    );
  }

  async #empty(): Promise<number> {
    const sql = `SELECT COUNT(*) AS entries ${emptyEntries(this.#place)}`;
    const [row] = await rowsOf<{ entries: number }>(this.#observer, sql);
    return row?.entries ?? -1;
  }

  async #check(): Promise<void> {
    const { database, table } = this.#place;
    const journal = journalOf(this.#place);
    await this.#observer.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY');
    const read = async (sql: string): Promise<readonly (readonly [number, HotRow])[]> => {
      const rows = await rowsOf<HotRow & { id: number }>(this.#observer, `${sql} ORDER BY id`);
      return rows.map(({ id, a, b, c }) => [id, { a, b, c }] as const);
    };
    const list = 't.id, CAST(t.a AS CHAR) AS a, t.b, t.c';
    const visible = await read(`SELECT ${list} FROM ${database}.${table} t`);
    const image = await read(
      `SELECT ${list} FROM ${database}.${table} t
        WHERE NOT EXISTS (SELECT 1 FROM ${journal} j WHERE j.id = t.id)
        UNION ALL SELECT ${list} FROM ${journal} t WHERE t.understudy_present = 1`,
    );
    const entries = await rowsOf<{ id: number }>(
      this.#observer,
      `SELECT id FROM ${journal} ORDER BY id`,
    );
    const log = await rowsOf<LastWrite>(
      this.#observer,
      `SELECT w.id, w.kind, w.a, w.b, w.c FROM ${logOf(this.#place)} w
        JOIN (SELECT MAX(seq) AS seq FROM ${logOf(this.#place)} GROUP BY id) last
          ON last.seq = w.seq`,
    );
    await this.#observer.query('COMMIT');
    this.#fire.judge({ image, visible, log, entries: entries.map(({ id }) => id) });
  }
}

/** A server with a trunk to clone. */
export class OverlayGround {
  readonly #url: string;
  readonly #server: ShadowServer;

  private constructor(url: string, server: ShadowServer) {
    this.#url = url;
    this.#server = server;
  }

  static async make(url: string): Promise<OverlayGround> {
    const client = await connectTo(url);
    await client.query(`DROP DATABASE IF EXISTS ${SOURCE}`);
    await client.query(`CREATE DATABASE ${SOURCE} CHARACTER SET utf8mb4`);
    await client.query(`USE ${SOURCE}`);
    for (const sql of TABLES) await client.query(sql);
    await client.query(`CREATE USER IF NOT EXISTS '${CANDIDATE}'@'%' IDENTIFIED BY 'x'`);
    await client.end();
    const dialect = dialectFor(url);
    await using production = await dialect.connectProduction(`${url}${SOURCE}`, () => true);
    const server = await dialect.connectShadow(url, { leaseMs: 60_000 });
    const plan = await production.planShadow();
    await server.createTrunk({ name: TRUNK, topicPrefix: 'p', plan });
    return new OverlayGround(url, server);
  }

  /** Plays one seed on a rollout of its own. Rejects if the overlay differs from the model. */
  async play(options: Omit<FireOptions, 'serverUrl'>, open: OpenApplier): Promise<void> {
    const { database, random, note } = options;
    const table = random.pick(['plain', 'parted']);
    const place = { url: this.#url, database, table };
    note(table);
    await this.#onRollout(place, async (client) => {
      const scenario = new Scenario({ ...options, serverUrl: this.#url }, place, client);
      note(`checks ${String(await scenario.play(open))}`);
    });
  }

  /** The same of tables that foreign keys lead between. */
  async playFamily(options: Omit<FireOptions, 'serverUrl'>): Promise<void> {
    const { database, note } = options;
    const place = { url: this.#url, database };
    note('family');
    await this.#onRollout(place, async (client) => {
      const product = await openProduct(place);
      const { session, act } = product;
      try {
        const checks = await playFamily(
          { ...options, serverUrl: this.#url },
          {
            source: SOURCE,
            apply: (steps) => act(() => applyBatch(session, batchOf(...steps))),
            reset: (table) =>
              act(() =>
                resetOverlay(
                  session,
                  table === null ? {} : { table: { schema: SOURCE, name: table } },
                ),
              ),
            image: (table) =>
              rowsOf(
                client,
                `SELECT t.id, t.up, t.v FROM ${database}.${table} t WHERE NOT EXISTS
                (SELECT 1 FROM ${journalOf({ ...place, table })} j WHERE j.id = t.id)
              UNION ALL SELECT t.id, t.up, t.v FROM ${journalOf({ ...place, table })} t
                WHERE t.understudy_present = 1 ORDER BY id`,
              ),
            begin: async () => {
              await client.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY');
            },
            end: async () => {
              await client.query('COMMIT');
            },
            async connect() {
              const candidate = await connectTo(candidateUrl(place));
              await candidate.query('SET SESSION innodb_lock_wait_timeout = 2');
              return candidate;
            },
            sweep: () => sweepAll(session, act, () => Promise.resolve()),
            isCollision: (error) => isCollision(error, FORBIDDEN),
          },
        );
        note(`checks ${String(checks)}`);
      } finally {
        await product.client.end();
      }
    });
  }

  async #onRollout(
    { database }: Pick<Place, 'database'>,
    play: (observer: Connection) => Promise<void>,
  ): Promise<void> {
    const client = await connectTo(this.#url);
    try {
      await this.#server.clone({ from: TRUNK, to: database, rolloutName: 'next' });
      await this.#install(database);
      await client.query(`CREATE DATABASE ${database}_log`);
      await client.query(`CREATE TABLE ${database}_log.written (seq BIGINT AUTO_INCREMENT PRIMARY KEY,
        id INT NOT NULL, kind VARCHAR(9) NOT NULL, a VARCHAR(20), b VARCHAR(20), c VARCHAR(20))`);
      for (const one of [database, `${database}_log`]) {
        await client.query(
          `GRANT SELECT, INSERT, UPDATE, DELETE ON ${one}.* TO '${CANDIDATE}'@'%'`,
        );
      }
      await play(client);
    } finally {
      await client.query('ROLLBACK').catch(() => undefined);
      await this.#server.drop({ database, role: null });
      await client.query(`DROP DATABASE IF EXISTS ${database}_log`);
      await client.end();
    }
  }

  async #install(name: string): Promise<void> {
    const database = await this.#server.open(name);
    if (database === null) throw new Error('there is no such rollout');
    await using opened = database;
    const fence = await opened.takeFence('torture');
    if (fence === null) throw new Error('the fence of a new rollout is taken');
    await opened.installOverlay(fence);
    await opened.releaseFence(fence);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.drop({ database: TRUNK, role: null });
    await this.#server[Symbol.asyncDispose]();
  }
}

/**
 * Ten writers of a candidate and the applier on fifty rows, plain or partitioned, or on tables that foreign
 * keys lead between, with resets in between.
 */
export function overlayBinlogSuite(name: string, start: () => Promise<MySqlServer>): TortureSuite {
  return {
    name,
    promise:
      'production’s image is production, the candidate sees its own writes, and a row is owned iff written',
    deadlineMs: 60_000,
    async open(): Promise<TortureStage> {
      const server = await start();
      const ground = await OverlayGround.make(server.url);
      return {
        run: (seed, { random, signal, note }) => {
          const options = {
            ...{ database: `torture_${String(seed)}`, random, signal, note, durationMs: 1_500 },
          };
          return random.chance(0.4)
            ? ground.playFamily(options)
            : ground.play(options, openProductApplier);
        },
        async [Symbol.asyncDispose](): Promise<void> {
          await ground[Symbol.asyncDispose]();
          await server.stop();
        },
      };
    },
  };
}
