/**
 * A rollout in the storm, through the port: writers of a candidate, production's changes, resets and sweeps,
 * migrations of the candidate in mid-flight, and holders that are killed in the midst of any of it. Beside it an
 * exact model (overlay-fire.ts).
 *
 * How the model can be exact: every write of the candidate's, also by a migration, is logged in its own
 * transaction, by a number taken while it holds the row's lock: for one key the order of the numbers is the order
 * of the writes. Nobody logs what is given up, which is inferred: where there is no entry, the row must be
 * production's, and what the candidate wrote there last must have been reset since, or have been production's.
 */
import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { ShadowServer } from '../../../src/dialect/dialect.ts';
import {
  Fire,
  HOT_KEYS,
  isEqual,
  type FireOptions,
  type HotChange,
  type LastWrite,
} from '../overlay-fire.ts';
import type { Random } from '../random.ts';
import { Batches } from './batches.ts';
import type { Places, Session, StormEngine } from './engine.ts';
import { explained } from './explain.ts';
import { Holders, type Acted, type Holder } from './holder.ts';
import { Last, Waits } from './last.ts';
import { Beside, planMigration, takeStep, type Ground, type Migration } from './migration.ts';
import { PLAIN, readRows, readShape, refusedBy, shownBy, type Shape } from './shape.ts';
import { StormWriter } from './writer.ts';

export const STORM_DDL = [
  'CREATE TABLE plain (id INT PRIMARY KEY, a INT NOT NULL, b VARCHAR(20), c VARCHAR(20))',
  'CREATE TABLE single (id INT PRIMARY KEY, a INT NOT NULL, b VARCHAR(20), c VARCHAR(20) UNIQUE)',
];
const TABLES = ['plain', 'plain', 'single'] as const;

const ACT = { likelihood: 0.06, withinMs: 25 };
/** Of a migration's beginning and end, which take longer. */
const MIGRATE = { likelihood: 0.3, withinMs: 250 };

export interface StormOptions extends Omit<FireOptions, 'unique'> {
  readonly engine: StormEngine;
  readonly server: ShadowServer;
  /** The candidate's account, and its address. */
  readonly role: string;
  readonly candidateUrl: string;
}

/** Plays one seed on a rollout with its overlay, whose fence nobody holds. */
export async function playStorm(options: StormOptions): Promise<void> {
  const { engine, serverUrl, database, note, random } = options;
  const table = random.pick(TABLES);
  note(table);
  // On a server without schemas each name is told in full: its own database must not be the rollout's.
  const admin = await engine.connect(engine.adminUrl(serverUrl, database));
  const observer = await engine.connect(engine.adminUrl(serverUrl, database));
  try {
    await engine.makeLog(admin, database, options.role);
    await new Storm({ ...options, table, admin, observer }).play();
  } finally {
    await Promise.all([admin, observer].map((session) => session.end().catch(() => undefined)));
  }
}

interface Scene extends StormOptions {
  readonly table: (typeof TABLES)[number];
  readonly admin: Session;
  readonly observer: Session;
}

class Storm {
  readonly #options: Scene;
  readonly #ground: Ground;
  readonly #places: Places;
  readonly #holders: Holders;
  readonly #fire: Fire;
  readonly #batches: Batches;
  readonly #beside = new Beside();
  readonly #waits = new Waits();
  /** Rows that were kept out when a migration began: what is seen beside may be the candidate's after it. */
  readonly #left = new Set<number>();
  #shape = PLAIN;
  /** Of all checks. */
  #keptOut = 0;
  #waited = 0;
  #migrations = 0;

  constructor(options: Scene) {
    const { engine, server, database, random, signal, note, admin, table } = options;
    this.#options = options;
    this.#places = engine.places(database, table);
    const isUnique = table === 'single';
    this.#fire = new Fire({ ...options, unique: isUnique });
    this.#ground = {
      ...{ engine, places: this.#places, isUnique },
      table: { schema: engine.source, name: table },
    };
    this.#holders = new Holders({
      ...{ server, rollout: database, random: random.fork(), signal, note },
      end: () => engine.endHolders(admin, database),
    });
    this.#batches = new Batches({
      ...{ table: this.#ground.table, holders: this.#holders, signal },
      act: (what, act) => this.#act(what, act),
      check: () => this.#check(),
    });
  }

  async play(): Promise<void> {
    const { engine, note } = this.#options;
    try {
      await this.#holders.takeOver();
      await this.#fire.play(
        {
          apply: (changes) => this.#apply(changes),
          release: (random) => this.#something(random),
          write: (random) => this.#write(random),
          check: (settled) => this.#check(settled),
          sweep: () => this.#batches.sweepAll(),
          empty: () => this.#empty(),
        },
        engine.writers,
      );
      const { database, fence } = this.#holders.now;
      deepStrictEqual(await database.watchCapture(fence), [], 'all captures');
      strictEqual((await database.progress()).parked, 0, 'nothing is parked');
    } finally {
      const { break: broken, end, stop } = this.#holders.kills;
      note(
        `checks ${String(this.#fire.checks)}, batches ${String(this.#batches.applied)}, kept out ${String(this.#keptOut)}, waited ${String(this.#waited)}, ` +
          `migrations ${String(this.#migrations)}, killed ${[broken, end, stop].join('+')}, applied again ${String(this.#batches.again)}`,
      );
      await this.#holders.end();
    }
  }

  // ---- production ---------------------------------------------------------------------------

  async #apply(changes: readonly HotChange[]): Promise<boolean> {
    const isDone = await this.#batches.apply(changes);
    if (isDone) await this.#mark('batch', Number(this.#batches.applied));
    return isDone;
  }

  async #act<T>(what: string, act: (holder: Holder) => Promise<T>, how = ACT): Promise<Acted<T>> {
    const acted = await this.#holders.act(what, act, how);
    if (acted.kind === 'lost') await this.#look();
    return acted;
  }

  async #look(): Promise<Shape> {
    const { observer, engine, database, table } = this.#options;
    this.#shape = await readShape(observer, engine, { database, table });
    return this.#shape;
  }

  /** Of what the log is to know beside writes; numbered after all that is committed by now. */
  async #mark(kind: 'batch' | 'reset', id: number): Promise<void> {
    const { log } = this.#places;
    await this.#options.admin.run(
      `INSERT INTO ${log} (id, kind) VALUES (${String(id)}, '${kind}')`,
    );
  }

  // ---- what else a holder does ----------------------------------------------------------------

  async #something(random: Random): Promise<void> {
    const { table } = this.#ground;
    const id = random.chance(0.6) ? 0 : random.integer(1, HOT_KEYS);
    const only = id === 0 ? { table } : { table, key: [String(id)] };
    const choice = random.next();
    if (choice < 0.3) {
      await this.#act('reset', (at) => at.database.resetOverlay(at.fence, only));
      await this.#mark('reset', id);
    } else if (choice < 0.45) {
      await this.#act('release', (at) => at.database.releaseOverlay(at.fence, only));
    } else if (choice < 0.55) await this.#batches.sweep();
    else if (choice < 0.62) {
      await this.#act('wait no more', (at) => at.database.waiting.write(at.fence));
    } else if (choice < 0.7) {
      const side = random.pick(['ours', 'theirs'] as const);
      await this.#act('resolve', (at) => at.database.resolveOverlay(at.fence, only, side));
      // Rows that keep one of them out are put back as well.
      if (side === 'theirs') await this.#mark('reset', 0);
    } else if (choice < 0.75) {
      const watched = await this.#act('watch', (at) => at.database.watchCapture(at.fence));
      if (watched.kind === 'done') deepStrictEqual(watched.value, [], 'all captures');
    } else if (choice < 0.95) {
      const migration = planMigration(this.#ground, this.#shape, this.#beside, random);
      if (migration.steps.length > 0) await this.#migrate(migration, random);
    }
  }

  // ---- the candidate ------------------------------------------------------------------------

  async #migrate(migration: Migration, random: Random): Promise<void> {
    const { role, note } = this.#options;
    const { renames, steps } = migration;
    note(
      `migration: ${steps.map((step) => ('sql' in step ? step.sql : JSON.stringify(step))).join('; ')}`,
    );
    // Nothing is kept out from here on that was not.
    for (const id of (await this.#readEntries()).blocked) this.#left.add(id);
    const begun = await this.#act(
      'begin',
      ({ database, fence }) => database.migrations.begin(fence, { role, renames }),
      MIGRATE,
    );
    if (begun.kind !== 'done') return;
    this.#migrations += 1;
    const commanded = await this.#act(
      'command',
      () => this.#command(begun.value.url, steps, random),
      {
        ...MIGRATE,
        likelihood: 0.15,
      },
    );
    if (commanded.kind === 'lost') return;
    for (;;) {
      this.#options.signal.throwIfAborted();
      const ended = await this.#act('end', (at) => at.database.migrations.end(at.fence), MIGRATE);
      if (ended.kind !== 'blocked') break;
    }
    await this.#look();
  }

  /** As a tool does: it stops at the first statement that is refused. */
  async #command(url: string, steps: Migration['steps'], random: Random): Promise<void> {
    const { engine, database, table, note, admin } = this.#options;
    const isWhole = engine.undoesDdl && random.chance(0.4);
    let session: Session | null = null;
    try {
      await engine.openLog(admin, database, new URL(url).username);
      session = await engine.connect(url);
      if (isWhole) await session.run('BEGIN');
      for (const step of steps) {
        const shape = await readShape(session, engine, { database, table });
        if (!isWhole) this.#shape = shape;
        if (!isWhole && step.kind !== 'sql') await session.run('BEGIN');
        await takeStep(session, step, { places: this.#places, shape });
        if (!isWhole && step.kind !== 'sql') await session.run('COMMIT');
        await pause(random.integer(0, 10));
      }
      if (isWhole) await session.run('COMMIT');
    } catch (error) {
      // Its account is closed when the holder is killed.
      note(`  stopped: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      await session?.end().catch(() => undefined);
    }
  }

  async #write(random: Random): Promise<void> {
    const { engine, candidateUrl } = this.#options;
    const { isUnique } = this.#ground;
    const session = await engine.connect(candidateUrl);
    try {
      const writer = new StormWriter(session, {
        ...{ engine, places: this.#places, random, fire: this.#fire, isUnique },
        shape: () => this.#shape,
      });
      await this.#fire.write(random, {
        begin: () => writer.begin(),
        run: (sql) => writer.run(sql),
        statement: () => writer.statement(),
        isCollision: (error) => engine.isCollision(error),
      });
    } finally {
      await session.end();
    }
  }

  // ---- the judge ----------------------------------------------------------------------------

  /** In one snapshot, so that it may be taken while the candidate writes. */
  async #check(settled = false): Promise<void> {
    const { observer, engine } = this.#options;
    const { production, log } = this.#places;
    await observer.run(engine.snapshot);
    const rows = await observer.rows(`SELECT id, a, b, c FROM ${production} ORDER BY id`);
    const visible = await readRows(observer, this.#places, this.#shape, 'ORDER BY id');
    const { owned, blocked } = await this.#readEntries();
    const waiting = await observer.rows(`SELECT id FROM ${this.#places.waiting} ORDER BY id`);
    const writes = await observer.rows(
      `SELECT w.id, w.kind, w.a, w.b, w.c, w.x, w.seq FROM ${log} w JOIN (SELECT MAX(seq) AS seq
        FROM ${log} WHERE kind IN ('put', 'delete') GROUP BY id) l ON l.seq = w.seq`,
    );
    const marks = await observer.rows(
      `SELECT kind, id, seq FROM ${log} WHERE kind IN ('batch', 'reset')`,
    );
    await observer.run('COMMIT');
    const waits = this.#waits;
    waits.note(
      Number(this.#batches.applied),
      waiting.map(([id]) => Number(id)),
    );
    const last = new Last({ fire: this.#fire, shape: this.#shape, waits }, marks, visible);
    const written: LastWrite[] = [];
    const out = new Set(blocked);
    const logged = new Map(
      writes.map(([id, kind, a, b, c, x, seq]) => [
        Number(id),
        {
          ...{ id: Number(id), kind: kind ?? '', a: a ?? '', b: b ?? '', c: c ?? null },
          x: x ?? null,
          seq: Number(seq),
        },
      ]),
    );
    for (const id of owned) {
      const one = logged.get(id);
      const adopted = this.#left.has(id) ? last.adopted(id, one) : null;
      if (adopted !== null) written.push(adopted);
      else if (one !== undefined) {
        written.push(one);
        last.assertOwn(one);
      }
    }
    for (const one of logged.values()) {
      if (owned.has(one.id)) continue;
      // Made and deleted while a migration ran, where nothing was seen before: nobody can tell.
      const isAsBefore = one.kind === 'delete' && this.#left.has(one.id) && out.has(one.id);
      if (!isAsBefore) await this.#explained(() => last.assertGivenUp(one), [one.id]);
      written.push({ ...one, kind: 'released' });
    }
    await this.#explained(() =>
      this.#fire.judge({
        ...{
          log: written,
          entries: [...owned, ...blocked].sort((x, y) => x - y),
          blocked,
          settled,
        },
        image: rows.map(([id, a, b, c]) => [Number(id), { a: a ?? '', b: b ?? '', c: c ?? null }]),
        visible: visible.map(({ id, a, b, c }) => [id, { a, b, c }]),
        waiting: waiting.map(([id]) => Number(id)),
        ...{ shown: shownBy(this.#shape), refuses: refusedBy(this.#shape) },
      }),
    );
    this.#keptOut += blocked.length;
    this.#waited += waiting.length;
  }

  async #explained(judge: () => void, which?: readonly number[]): Promise<void> {
    const { observer, note } = this.#options;
    await explained(judge, {
      ...{ observer, note, places: this.#places },
      ...(which !== undefined && { which }),
    });
  }

  async #readEntries(): Promise<{
    readonly owned: ReadonlySet<number>;
    readonly blocked: readonly number[];
  }> {
    const { observer } = this.#options;
    const { journal, keptOut } = this.#places;
    const ids = async (sql: string): Promise<readonly number[]> =>
      (await observer.rows(`${sql} ORDER BY id`)).map(([id]) => Number(id));
    const blocked = await ids(keptOut);
    const owned = new Set(await ids(`SELECT id FROM ${journal}`));
    for (const id of blocked) owned.delete(id);
    return { owned, blocked };
  }

  /** Owned rows that do not differ from production's, nor in what only the candidate has. */
  async #empty(): Promise<number> {
    const { observer, note } = this.#options;
    const { production, journal } = this.#places;
    const rows = await observer.rows(`SELECT id, a, b, c FROM ${production}`);
    const visible = await readRows(observer, this.#places, this.#shape);
    const own = this.#shape.own ?? 'NULL';
    const { owned } = await this.#readEntries();
    const entries = (await observer.rows(`SELECT id, ${own} FROM ${journal}`)).filter(([id]) =>
      owned.has(Number(id)),
    );
    const shown = shownBy(this.#shape);
    const image = new Map(
      rows.map(([id, a, b, c]) => [Number(id), shown({ a: a ?? '', b: b ?? '', c: c ?? null })]),
    );
    const seen = new Map(visible.map((row) => [row.id, row]));
    const empty = entries.filter(([key, x]) => {
      const id = Number(key);
      const row = seen.get(id);
      const isOwn = row !== undefined && row.x !== null && row.x !== `${own}=${x ?? ''}`;
      return isEqual(image.get(id) ?? null, row ?? null) && !isOwn;
    });
    for (const [id] of empty) note(`the entry of ${id ?? ''} is empty`);
    return empty.length;
  }
}
