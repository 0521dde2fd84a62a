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
import type { Connection } from 'mysql2/promise';
import { applyBatch } from '../../src/dialect/mysql/apply/apply.ts';
import { resetOverlay } from '../../src/dialect/mysql/overlay/reset.ts';
import type { ShadowServer } from '../../src/dialect/dialect.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import type { MySqlServer } from './mysql-server.ts';
import {
  FORBIDDEN,
  isCollision,
  journalOf,
  logOf,
  openProduct,
  openProductApplier,
  settleAll,
  SOURCE,
  sweepAll,
  waitingOf,
  type OpenApplier,
  type Place,
} from './overlay-binlog-applier.ts';
import { connectTo, rowsOf } from './overlay-binlog-session.ts';
import { sameKey } from './hot-table.ts';
import { HOT_DDL, HOT_TABLES, hotTable } from './overlay-binlog-tables.ts';
import { BinlogWriter } from './overlay-binlog-writer.ts';
import { batchOf } from './overlay-applier.ts';
import { Fire, HOT_KEYS, type FireOptions, type HotRow, type LastWrite } from './overlay-fire.ts';
import { FAMILY_DDL, playFamily } from './overlay-family.ts';
import type { Random } from './random.ts';
import type { TortureStage, TortureSuite } from './seeds.ts';

const WRITERS = 16;
const TRUNK = 'trunk';
const CANDIDATE = 'candidate';

const TABLES = [...HOT_DDL, ...FAMILY_DDL];

/** What the applier gives up, whatever act it is: nobody else deletes entries. */
function notingGivenUp(place: Place): string {
  const hot = hotTable(place.table);
  return `CREATE TRIGGER \`${place.database}__understudy\`.given_up AFTER DELETE ON ${journalOf(place)}
    FOR EACH ROW IF OLD.understudy_blocked IS NULL THEN
      INSERT INTO ${logOf(place)} (id, kind) VALUES (${hot.id((name) => `OLD.${name}`)}, 'released');
    END IF`;
}

/** Entries, as `j`, of which nothing is left. */
export function emptyEntries(place: Place): string {
  const hot = hotTable(place.table);
  const of = (alias: string) => (column: string) => `${alias}.${column}`;
  return `FROM ${journalOf(place)} j LEFT JOIN ${place.database}.${place.table} t ON ${sameKey(hot, 't', 'j')}
    WHERE j.understudy_blocked IS NULL AND CASE WHEN t.${hot.key[0] ?? ''} IS NULL THEN j.understudy_present = 0
      ELSE j.understudy_present = 1 AND ${hot.a(of('t'))} <=> ${hot.a(of('j'))}
        AND BINARY t.b <=> BINARY j.b AND BINARY t.c <=> BINARY j.c END`;
}

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
  readonly #random: Random;
  readonly #note: FireOptions['note'];
  readonly #isUnique: boolean;
  /** Rows seen that were kept out, of all checks. */
  keptOut = 0;
  /** And that waited. */
  waited = 0;

  constructor(options: FireOptions, place: Place, observer: Connection) {
    this.#place = place;
    this.#observer = observer;
    this.#isUnique = hotTable(place.table).unique === true;
    this.#random = options.random.fork();
    this.#note = options.note;
    this.#fire = new Fire({ ...options, unique: this.#isUnique });
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
            if (random.chance(0.2)) {
              await applier.resolve(random.pick(['ours', 'theirs', 'merge', 'merge']));
            } else if (random.chance(0.3)) await applier.sweep();
            else {
              // Where rows are kept out, most of them are to be let in by something else.
              const all = random.chance(this.#isUnique ? 0.15 : 0.7);
              await applier.reset(all ? 'all' : random.integer(1, HOT_KEYS));
            }
          },
          sweep: async () => {
            // So that there is something to be let in.
            if (this.#isUnique) await this.#write(this.#random, (writer) => writer.giveBack());
            equal(await applier.settle(), true);
            equal(await applier.sweep(), true);
          },
          empty: () => this.#empty(),
          write: (random) => this.#write(random),
          check: (settled) => this.#check(settled),
        },
        WRITERS,
      );
      const collisions = [...this.#fire.collisions].map(([code, n]) => `${code}: ${String(n)}`);
      this.#note(`candidate ended ${String(this.#fire.ended)}, ${collisions.join(', ')}`);
      return this.#fire.checks;
    } finally {
      await applier.close();
    }
  }

  /** All through the fire, or once what is given. */
  async #write(random: Random, once?: (writer: BinlogWriter) => Promise<void>): Promise<void> {
    const client = await connectTo(this.#candidateUrl);
    try {
      await client.query('SET SESSION innodb_lock_wait_timeout = 2');
      const [{ version } = { version: '' }] = await rowsOf<{ version: string }>(
        client,
        'SELECT VERSION() AS version',
      );
      const writer = new BinlogWriter(client, {
        ...{ random, fire: this.#fire, table: this.#place.table, log: logOf(this.#place) },
        firesInVain: version.includes('MariaDB'),
      });
      if (once !== undefined) return await once(writer);
      await this.#fire.write(random, {
        begin: () => writer.begin(),
        run: (sql) => writer.run(sql),
        statement: () => writer.statement(),
        isCollision: (error) => isCollision(error) || writer.isCollision(error),
      });
    } finally {
      await client.end();
    }
  }

  async #empty(): Promise<number> {
    const sql = `SELECT COUNT(*) AS entries ${emptyEntries(this.#place)}`;
    const [row] = await rowsOf<{ entries: number }>(this.#observer, sql);
    return Number(row?.entries ?? -1);
  }

  async #check(settled = false): Promise<void> {
    const { database, table } = this.#place;
    const journal = journalOf(this.#place);
    const hot = hotTable(table);
    const of = (alias: string) => (column: string) => `${alias}.${column}`;
    await this.#observer.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY');
    const read = async (sql: string): Promise<readonly (readonly [number, HotRow])[]> => {
      const rows = await rowsOf<HotRow & { id: number }>(this.#observer, `${sql} ORDER BY id`);
      return rows.map(({ id, a, b, c }) => [Number(id), { a, b, c }] as const);
    };
    const list = `${hot.id(of('t'))} AS id, ${hot.a(of('t'))} AS a, t.b, t.c`;
    const visible = await read(`SELECT ${list} FROM ${database}.${table} t`);
    const waiting = waitingOf(this.#place);
    // What the product shows, and not what it should.
    const image = await read(`SELECT ${list} FROM \`${database}__production\`.${table} t`);
    const late = await rowsOf<{ id: number }>(
      this.#observer,
      `SELECT ${hot.id(of('w'))} AS id FROM ${waiting} w ORDER BY id`,
    );
    this.waited += late.length;
    const entries = await rowsOf<{ id: number; isOut: number }>(
      this.#observer,
      `SELECT ${hot.id(of('j'))} AS id, j.understudy_blocked IS NOT NULL AS isOut
        FROM ${journal} j ORDER BY id`,
    );
    const ids = (some: typeof entries): readonly number[] => some.map(({ id }) => Number(id));
    const blocked = ids(entries.filter(({ isOut }) => Number(isOut) === 1));
    this.keptOut += blocked.length;
    const log = await rowsOf<LastWrite>(
      this.#observer,
      `SELECT w.id, w.kind, w.a, w.b, w.c FROM ${logOf(this.#place)} w
        JOIN (SELECT MAX(seq) AS seq FROM ${logOf(this.#place)} GROUP BY id) last
          ON last.seq = w.seq`,
    );
    await this.#observer.query('COMMIT');
    this.#fire.judge({
      ...{ image, visible, log, entries: ids(entries), blocked, settled },
      waiting: late.map(({ id }) => Number(id)),
    });
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
  async play(
    options: Omit<FireOptions, 'serverUrl'>,
    open: OpenApplier,
    tables: readonly string[] = HOT_TABLES,
  ): Promise<void> {
    const { database, random, note } = options;
    const table = random.pick(tables);
    const place = { url: this.#url, database, table };
    note(table);
    await this.#onRollout(place, async (client) => {
      await client.query(notingGivenUp(place));
      const scenario = new Scenario({ ...options, serverUrl: this.#url }, place, client);
      const checks = await scenario.play(open);
      note(
        `checks ${String(checks)}, kept out ${String(scenario.keptOut)}, waited ${String(scenario.waited)}`,
      );
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
            tellsAll: false,
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
                `SELECT id, up, v FROM \`${database}__production\`.${table} ORDER BY id`,
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
              return {
                async begin(random) {
                  const level = random.pick([
                    ...['READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ'],
                  ]);
                  const checks = random.chance(0.2) ? '0' : '1';
                  await candidate.query(`SET TRANSACTION ISOLATION LEVEL ${level}`);
                  await candidate.query(`SET SESSION foreign_key_checks = ${checks}`);
                  await candidate.query('START TRANSACTION');
                },
                run: (sql) => candidate.query(sql),
                end: () => candidate.end(),
              };
            },
            sweep: () => sweepAll(session, act),
            settle: () => settleAll(session, act),
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
 * Sixteen writers of a candidate and the applier on fifty rows, plain or partitioned, with unique values that
 * both sides give, or on tables that foreign keys lead between, with resets in between. With `idleMs` some of the
 * candidate's transactions stay idle at what they wrote, for longer than anybody waits.
 */
export function overlayBinlogSuite(
  name: string,
  start: () => Promise<MySqlServer>,
  fire: Pick<FireOptions, 'durationMs' | 'idleMs'> = { durationMs: 1_500 },
): TortureSuite {
  return {
    name,
    promise:
      'production’s image is production, the candidate sees its own writes, a row is owned iff written, and one ' +
      'that is kept out has something in its way',
    deadlineMs: 60_000,
    ...(fire.idleMs !== undefined && { seedsInTests: 4 }),
    async open(): Promise<TortureStage> {
      const server = await start();
      const ground = await OverlayGround.make(server.url);
      return {
        run: (seed, { random, signal, note }) => {
          const options = {
            ...{ database: `torture_${String(seed)}`, random, signal, note, ...fire },
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
