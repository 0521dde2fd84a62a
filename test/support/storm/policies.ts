/**
 * Policies in the storm, through the port: writers of a candidate on rows that production's changes are written
 * into, resets and sweeps, and holders that are killed in the midst of it; beside it a model that plays again what
 * became of each row (replay.ts).
 */
import { strictEqual } from 'node:assert/strict';
import type { ShadowServer } from '../../../src/dialect/dialect.ts';
import { OVERLAY_WINS, type TablePolicy } from '../../../src/overlay/policy.ts';
import {
  Fire,
  HOT_KEYS,
  type FireOptions,
  type HotChange,
  type HotRow,
  type LastWrite,
} from '../overlay-fire.ts';
import type { Random } from '../random.ts';
import { Batches } from './batches.ts';
import type { Places, Session, StormEngine, TextRow } from './engine.ts';
import { explained } from './explain.ts';
import { Holders, type Acted, type Holder } from './holder.ts';
import { PolicyWriter } from './policy-writer.ts';
import { Replay, type Noted } from './replay.ts';

export interface PolicyGround {
  readonly table: 'plain' | 'single';
  readonly policy: TablePolicy;
}

/** Each column of some policy, with and without a unique value that another row may hold. */
export const POLICY_GROUNDS: Readonly<Record<string, PolicyGround>> = {
  counted: {
    table: 'plain',
    policy: { ...OVERLAY_WINS, others: 'merge', columns: new Map([['a', 'delta']]) },
  },
  columns: {
    table: 'plain',
    policy: {
      ...OVERLAY_WINS,
      columns: new Map([
        ['a', 'delta'],
        ['b', 'merge'],
        ['c', 'source-wins'],
      ]),
    },
  },
  merged: {
    table: 'single',
    policy: { ...OVERLAY_WINS, others: 'merge', columns: new Map([['a', 'delta']]) },
  },
  taken: {
    table: 'single',
    policy: { rows: 'source-wins', others: 'source-wins', columns: new Map() },
  },
};

const KILL = { likelihood: 0.04, withinMs: 25 };

export interface PolicyOptions extends Omit<FireOptions, 'unique'>, PolicyGround {
  readonly engine: StormEngine;
  /** With the policy. */
  readonly server: ShadowServer;
  readonly role: string;
  readonly candidateUrl: string;
}

/** Plays one seed on a rollout with its overlay, whose fence nobody holds. */
export async function playPolicies(options: PolicyOptions): Promise<void> {
  const { engine, serverUrl, database } = options;
  const admin = await engine.connect(engine.adminUrl(serverUrl, database));
  const observer = await engine.connect(engine.adminUrl(serverUrl, database));
  try {
    await engine.makeLog(admin, database, options.role);
    await engine.noteEntries(admin, database, options.table);
    await new Policies({ ...options, admin, observer }).play();
  } finally {
    await Promise.all([admin, observer].map((session) => session.end().catch(() => undefined)));
  }
}

class Policies {
  readonly #options: PolicyOptions & { readonly admin: Session; readonly observer: Session };
  readonly #places: Places;
  readonly #holders: Holders;
  readonly #fire: Fire;
  readonly #batches: Batches;
  #keptOut = 0;
  #waited = 0;
  #noted = 0;

  constructor(options: PolicyOptions & { readonly admin: Session; readonly observer: Session }) {
    const { engine, server, database, random, signal, note, admin, table } = options;
    this.#options = options;
    this.#places = engine.places(database, table);
    this.#fire = new Fire({ ...options, unique: table === 'single' });
    this.#holders = new Holders({
      ...{ server, rollout: database, random: random.fork(), signal, note: () => undefined },
      end: () => engine.endHolders(admin, database),
    });
    this.#batches = new Batches({
      ...{ table: this.#id, holders: this.#holders, signal },
      act: (what, act) => this.#act(what, act),
      check: () => this.#check(),
    });
    note(table);
  }

  get #id(): { readonly schema: string; readonly name: string } {
    return { schema: this.#options.engine.source, name: this.#options.table };
  }

  async play(): Promise<void> {
    const { engine, note } = this.#options;
    try {
      await this.#holders.takeOver();
      await this.#fire.play(
        {
          apply: (changes: readonly HotChange[]) => this.#batches.apply(changes),
          release: (random) => this.#something(random),
          write: (random) => this.#write(random),
          check: (settled) => this.#check(settled),
          sweep: () => this.#batches.sweepAll(),
          empty: () => this.#empty(),
        },
        engine.writers,
      );
      strictEqual((await this.#holders.now.database.progress()).parked, 0, 'nothing is parked');
    } finally {
      const { break: broken, end, stop } = this.#holders.kills;
      const collisions = [...this.#fire.collisions].map(([code, n]) => `${code} × ${String(n)}`);
      note(
        `checks ${String(this.#fire.checks)}, batches ${String(this.#batches.applied)}, noted ${String(this.#noted)}, kept out ${String(this.#keptOut)}, waited ${String(this.#waited)}, ` +
          `killed ${[broken, end, stop].join('+')}, applied again ${String(this.#batches.again)}, ended ${String(this.#fire.ended)}, ${collisions.join(', ')}`,
      );
      await this.#holders.end();
    }
  }

  #act<T>(what: string, act: (holder: Holder) => Promise<T>): Promise<Acted<T>> {
    return this.#holders.act(what, act, KILL);
  }

  /** What puts rows back may do so at any time between the two lines. */
  async #resetting(id: number, act: () => Promise<unknown>): Promise<void> {
    const { admin } = this.#options;
    const mark = (kind: 'reset' | 'done'): Promise<unknown> =>
      admin.run(`INSERT INTO ${this.#places.log} (id, kind) VALUES (${String(id)}, '${kind}')`);
    await mark('reset');
    await act();
    await mark('done');
  }

  async #something(random: Random): Promise<void> {
    const id = random.chance(0.6) ? 0 : random.integer(1, HOT_KEYS);
    const only = id === 0 ? { table: this.#id } : { table: this.#id, key: [String(id)] };
    const choice = random.next();
    if (choice < 0.4) {
      await this.#resetting(id, () =>
        this.#act('reset', (at) => at.database.resetOverlay(at.fence, only)),
      );
    } else if (choice < 0.6) {
      await this.#act('release', (at) => at.database.releaseOverlay(at.fence, only));
    } else if (choice < 0.75) await this.#batches.sweep();
    else if (choice < 0.85) {
      await this.#act('wait no more', (at) => at.database.waiting.write(at.fence));
    } else if (choice < 0.9) {
      // Rows that keep one of them out are put back as well.
      await this.#resetting(0, () =>
        this.#act('resolve', (at) => at.database.resolveOverlay(at.fence, only, 'theirs')),
      );
    } else {
      await this.#act('resolve', (at) => at.database.resolveOverlay(at.fence, only, 'ours'));
    }
  }

  async #write(random: Random): Promise<void> {
    const { engine, candidateUrl, table } = this.#options;
    const session = await engine.connect(candidateUrl);
    try {
      const writer = new PolicyWriter(session, {
        ...{ engine, places: this.#places, random, fire: this.#fire },
        isUnique: table === 'single',
      });
      await this.#fire.write(random, {
        begin: () => writer.begin(),
        run: (sql) => session.run(sql),
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
    const { observer, engine, policy, table, note } = this.#options;
    const { production, log, journal, keptOut, waiting, table: rows } = this.#places;
    await observer.run(engine.snapshot);
    const ids = async (sql: string): Promise<readonly number[]> =>
      (await observer.rows(`${sql} ORDER BY id`)).map(([id]) => Number(id));
    const image = (await observer.rows(`SELECT id, a, b, c FROM ${production} ORDER BY id`)).map(
      readRow,
    );
    const visible = (await observer.rows(`SELECT id, a, b, c FROM ${rows} ORDER BY id`)).map(
      readRow,
    );
    const entries = await ids(`SELECT id FROM ${journal}`);
    const blocked = await ids(keptOut);
    const waits = await ids(`SELECT id FROM ${waiting}`);
    // What became of a row before its entry was made last is played once, at the end.
    const last = `(SELECT id, MAX(seq) AS seq FROM ${log} WHERE kind = 'own' GROUP BY id)`;
    const since = settled ? '' : `WHERE w.kind IN ('reset', 'done') OR w.seq >= o.seq`;
    const noted = await observer.rows(
      `SELECT w.seq, w.id, w.kind, w.a, w.b, w.c, w.x FROM ${log} w
        LEFT JOIN ${last} o ON o.id = w.id ${since} ORDER BY w.seq`,
    );
    const taken = new Map<number, string>();
    for (const id of policy.rows === 'source-wins' ? blocked : []) {
      const [row] = await observer.rows(
        `SELECT id, a, b, c FROM ${log} WHERE id = ${String(id)} AND kind = 'put' ORDER BY seq DESC LIMIT 1`,
      );
      if (row !== undefined) taken.set(id, JSON.stringify(readRow(row)[1]));
    }
    await observer.run('COMMIT');
    const judge = (): void => {
      const replay = new Replay(policy, table === 'single').play(noted.map(readNoted));
      const seen = new Map(visible);
      const out = new Set(blocked);
      const written: LastWrite[] = entries
        .filter((id) => !out.has(id))
        .map((id) => {
          const row = replay.seen(id, seen.get(id) ?? null);
          const none = { a: '', b: '', c: null };
          return { id, kind: row === null ? 'delete' : 'put', ...(row ?? none) };
        });
      const log = { log: written, entries: [...entries], blocked, waiting: waits, settled };
      const takenBack = (id: number, row: HotRow): boolean => taken.get(id) === JSON.stringify(row);
      this.#fire.judge({ ...log, image, visible, takenBack });
    };
    const named = (error: unknown): readonly number[] => {
      const id = /\brow (\d+)/.exec(error instanceof Error ? error.message : '')?.[1];
      return id === undefined ? [] : [Number(id)];
    };
    try {
      await explained(judge, { observer, note, places: this.#places });
    } catch (error) {
      for (const id of named(error)) {
        const lines = noted.filter((line) => Number(line[1]) === id).slice(-14);
        for (const line of lines) note(`  ${line.map((one) => one ?? 'NULL').join(' ')}`);
      }
      throw error;
    }
    this.#keptOut += blocked.length;
    this.#waited += waits.length;
    this.#noted = Math.max(this.#noted, noted.length);
  }

  async #empty(): Promise<number> {
    const { observer, note } = this.#options;
    const { production, table, journal, keptOut } = this.#places;
    const rowsOf = async (relation: string): Promise<ReadonlyMap<number, string>> =>
      new Map(
        (await observer.rows(`SELECT id, a, b, c FROM ${relation}`)).map((row) => [
          Number(row[0]),
          JSON.stringify(row),
        ]),
      );
    const [image, visible] = [await rowsOf(production), await rowsOf(table)];
    const out = new Set((await observer.rows(keptOut)).map(([id]) => Number(id)));
    const empty = (await observer.rows(`SELECT id FROM ${journal}`))
      .map(([id]) => Number(id))
      .filter((id) => !out.has(id) && image.get(id) === visible.get(id));
    for (const id of empty) note(`the entry of ${String(id)} is empty`);
    return empty.length;
  }
}

function readRow([id, a, b, c]: TextRow): readonly [number, HotRow] {
  return [Number(id), { a: a ?? '', b: b ?? '', c: c ?? null }];
}

function readNoted([seq, id, kind, a, b, c, x]: TextRow): Noted {
  const row = a === null || a === undefined ? null : { a, b: b ?? '', c: c ?? null };
  return {
    ...{ seq: Number(seq), id: Number(id), kind: (kind ?? '') as Noted['kind'], row },
    how: x ?? '',
  };
}
