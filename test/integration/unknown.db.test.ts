/** Values that may be NULL or not sent, and rows that are not here: what the ledgers hold of them. */
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ChangeEvent } from '../../src/change/record.ts';
import { UNAVAILABLE, UNSURE, type ColumnValue } from '../../src/change/value.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
  type ApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { installOverlay } from '../../src/dialect/postgres/overlay/capture.ts';
import { coalesce } from '../../src/order/coalesce.ts';
import { changeEvent, image } from '../support/change-events.ts';
import { createLedgers } from '../support/ledgers.ts';
import { batchOf } from '../support/overlay-applier.ts';
import { testDatabase } from '../support/test-database.ts';

let applier: pg.Client;
let user: pg.Client;

beforeAll(async () => {
  const { url } = await testDatabase('unknown');
  [applier, user] = [
    new pg.Client({ connectionString: url }),
    new pg.Client({ connectionString: url }),
  ];
  await Promise.all([applier.connect(), user.connect()]);
  await applier.query(applierSessionSql);
});

afterAll(() => Promise.all([applier.end(), user.end()]));

const PLAIN = 'CREATE TABLE t (id int PRIMARY KEY, n text, v text)';
const NUMERIC_KEY = 'CREATE TABLE t (id numeric PRIMARY KEY, n text, v text)';
const PARTITIONED = `CREATE TABLE t (id int PRIMARY KEY, n text, v text) PARTITION BY HASH (id);
  CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
  CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)`;
const WHOLE_ROWS = `CREATE TABLE t (id int PRIMARY KEY, n text, v text, UNIQUE (id, n) DEFERRABLE)`;
const SHAPES = [PLAIN, NUMERIC_KEY, PARTITIONED];

async function fresh(ddl: string, overlay: boolean): Promise<ApplySession> {
  await user.query(`DROP SCHEMA IF EXISTS understudy, public, public__production,
      public__difference CASCADE;
    CREATE SCHEMA public; SET search_path = public; ${ddl}`);
  await createLedgers(user);
  if (overlay) {
    await user.query('BEGIN');
    await installOverlay(user);
    await user.query('COMMIT; SET search_path = public');
  }
  return openApplySession(applier, await readCatalogue(applier));
}

async function apply(session: ApplySession, events: readonly ChangeEvent[]): Promise<void> {
  await applier.query('BEGIN');
  try {
    await applyBatch(session, batchOf(...coalesce(events, session.catalogue)));
    await applier.query('COMMIT');
  } catch (error) {
    await applier.query('ROLLBACK');
    throw error;
  }
}

async function values(sql: string): Promise<readonly unknown[]> {
  return (await user.query({ text: sql, rowMode: 'array' })).rows;
}

const unknown = (): Promise<readonly unknown[]> =>
  values('SELECT key[1], column_name FROM understudy.unknown_value ORDER BY 1, 2');
const parked = (): Promise<readonly unknown[]> =>
  values('SELECT key[1], image FROM understudy.parked ORDER BY 1');

const LONG = 'x'.repeat(40);
const BIG = 'y'.repeat(5_000);

type Sent = Readonly<Record<string, ColumnValue>>;

const create = (row: Sent): ChangeEvent =>
  changeEvent({ op: 'create', key: image({ id: row['id'] ?? null }), after: image(row) });
const update = (row: Sent): ChangeEvent =>
  changeEvent({ op: 'update', key: image({ id: row['id'] ?? null }), after: image(row) });
const remove = (id: string): ChangeEvent => changeEvent({ op: 'delete', key: image({ id }) });
const move = (from: string, row: Sent): readonly ChangeEvent[] => {
  const [oldKey, newKey] = [image({ id: from }), image({ id: row['id'] ?? null })];
  return [
    changeEvent({ op: 'delete', key: oldKey, newKey }),
    changeEvent({ op: 'create', key: newKey, oldKey, after: image(row) }),
  ];
};

describe('a NULL that may be no value', () => {
  it('is written over NULL and over short values, and else leaves what is there', async () => {
    const session = await fresh(PLAIN, false);
    await user.query(`INSERT INTO t VALUES (1, 'a', NULL), (2, 'a', 'short'), (3, 'a', '${LONG}'),
      (4, 'a', '${BIG}')`);
    await apply(
      session,
      ['1', '2', '3', '4'].map((id) => update({ id, n: 'b', v: UNSURE })),
    );
    expect(await values('SELECT n, v FROM t ORDER BY id')).toEqual([
      ['b', null],
      ['b', null],
      ['b', LONG],
      ['b', BIG],
    ]);
    expect(await unknown()).toEqual([
      ['3', 'v'],
      ['4', 'v'],
    ]);
  });

  it('stays unknown until a value comes, whatever the old one was', async () => {
    const session = await fresh(PLAIN, false);
    await user.query(`INSERT INTO t VALUES (1, 'a', '${LONG}'), (2, 'a', '${LONG}')`);
    await apply(session, [update({ id: '1', n: 'b', v: UNSURE }), update({ id: '2', v: UNSURE })]);
    await user.query(`UPDATE t SET v = NULL WHERE id = 1`);
    await apply(session, [update({ id: '1', n: 'c', v: UNSURE })]);
    expect(await unknown()).toEqual([
      ['1', 'v'],
      ['2', 'v'],
    ]);
    await apply(session, [update({ id: '1', n: 'd', v: 'known' })]);
    expect(await unknown()).toEqual([['2', 'v']]);
    await apply(session, [remove('2')]);
    expect(await unknown()).toEqual([]);
  });

  it('moves with the row’s key, and goes with a truncate', async () => {
    const session = await fresh(PARTITIONED, true);
    await apply(session, [
      create({ id: '1', n: 'a', v: LONG }),
      create({ id: '2', n: 'a', v: LONG }),
    ]);
    await apply(session, [update({ id: '1', n: 'b', v: UNSURE }), update({ id: '2', v: UNSURE })]);
    await user.query(`UPDATE t SET n = 'mine' WHERE id = 1`);
    await apply(session, move('1', { id: '7', n: 'c', v: UNAVAILABLE }));
    expect(await unknown()).toEqual([
      ['2', 'v'],
      ['7', 'v'],
    ]);
    expect(await values('SELECT id, n, v FROM public__production.t ORDER BY id')).toEqual([
      [2, 'a', LONG],
      [7, 'c', LONG],
    ]);
    const of = await values(`SELECT tableoid::regclass::text FROM t WHERE id = 7`);
    await apply(session, [changeEvent({ op: 'truncate', table: String(of[0]) })]);
    const two = await values(`SELECT 1 FROM public__production.t WHERE id = 2`);
    expect(await unknown()).toEqual(two.length === 1 ? [['2', 'v']] : []);
    await apply(session, [changeEvent({ op: 'truncate' })]);
    expect(await unknown()).toEqual([]);
  });

  it('is judged by production’s value where the candidate owns the row', async () => {
    const session = await fresh(PLAIN, true);
    await apply(session, [
      create({ id: '1', n: 'a', v: 'short' }),
      create({ id: '2', n: 'a', v: LONG }),
    ]);
    await user.query(`UPDATE t SET v = '${LONG}' WHERE id = 1; UPDATE t SET v = NULL WHERE id = 2`);
    await apply(session, [update({ id: '1', n: 'b', v: UNSURE }), update({ id: '2', v: UNSURE })]);
    expect(await unknown()).toEqual([['2', 'v']]);
    expect(await values('SELECT v FROM public__production.t ORDER BY id')).toEqual([
      [null],
      [LONG],
    ]);
    expect(await values('SELECT v FROM t ORDER BY id')).toEqual([[LONG], [null]]);
  });

  it('costs nothing while there is none', async () => {
    const session = await fresh(PLAIN, false);
    const texts: string[] = [];
    const query = applier.query.bind(applier) as (...args: unknown[]) => unknown;
    const spied = Object.assign(Object.create(applier) as pg.Client, {
      query: (...args: unknown[]) => {
        if (typeof args[0] === 'string') texts.push(args[0]);
        return query(...args);
      },
    });
    await apply({ ...session, client: spied }, [create({ id: '1', n: 'a', v: LONG })]);
    await apply({ ...session, client: spied }, [update({ id: '1', n: 'b', v: UNAVAILABLE })]);
    expect(texts.length).toBeGreaterThan(2);
    expect(texts.filter((text) => /unknown_value|understudy\.parked|doubt = /.test(text))).toEqual(
      [],
    );
  });
});

describe('a row that is not here', () => {
  it('is parked, melts with what comes later, and is written when it is whole', async () => {
    const session = await fresh(PLAIN, false);
    await apply(session, [update({ id: '1', n: 'a', v: UNAVAILABLE })]);
    expect(await parked()).toEqual([['1', { n: 'a' }]]);
    await apply(session, [update({ id: '1', n: null, v: UNSURE })]);
    expect(await parked()).toEqual([['1', { n: null }]]);
    await apply(session, move('1', { id: '2', n: UNAVAILABLE, v: UNAVAILABLE }));
    expect(await parked()).toEqual([['2', { n: null }]]);
    await apply(session, [update({ id: '2', n: UNAVAILABLE, v: 'whole' })]);
    expect(await parked()).toEqual([]);
    expect(await values('SELECT * FROM t')).toEqual([[2, null, 'whole']]);
  });

  it('is written when an incremental snapshot reads it', async () => {
    const session = await fresh(PLAIN, true);
    await apply(session, [update({ id: '1', n: 'a', v: UNAVAILABLE })]);
    const after = image({ id: '1', n: 'a', v: LONG });
    const read = changeEvent({ op: 'read', key: image({ id: '1' }), after });
    await apply(session, [{ ...read, snapshot: 'incremental' }]);
    expect(await parked()).toEqual([]);
    expect(await values('SELECT * FROM public__production.t')).toEqual([[1, 'a', LONG]]);
  });

  it('takes the place of a row that held its new key', async () => {
    const session = await fresh(PLAIN, false);
    await user.query(`INSERT INTO t VALUES (2, 'other', 'other')`);
    await apply(session, [update({ id: '1', n: 'a', v: UNAVAILABLE })]);
    await apply(session, [remove('2'), ...move('1', { id: '2', n: 'b', v: UNAVAILABLE })]);
    expect(await values('SELECT * FROM t')).toEqual([]);
    expect(await parked()).toEqual([['2', { n: 'b' }]]);
    await apply(session, [remove('2')]);
    expect(await parked()).toEqual([]);
  });

  it('keeps nothing that is in doubt', async () => {
    const session = await fresh(`${PLAIN.slice(0, -1)}, w text)`, false);
    await apply(session, [update({ id: '1', n: 'a', v: LONG, w: UNAVAILABLE })]);
    await apply(session, [update({ id: '1', n: 'a', v: UNSURE, w: UNAVAILABLE })]);
    expect(await parked()).toEqual([['1', { n: 'a' }]]);
    expect(await unknown()).toEqual([]);
  });
});

// ---- against a model ------------------------------------------------------------------------

interface Cell {
  readonly v: string | null;
  readonly unknown: boolean;
}

const value = fc.constantFrom('a', 'b', `${LONG}1`, `${LONG}2`, null);
const id = fc.nat(4).map(String);
const act = fc.oneof(
  fc.record({ do: fc.constant('insert' as const), id, value }),
  fc.record({ do: fc.constant('set' as const), id, value }),
  { weight: 2, arbitrary: fc.record({ do: fc.constant('touch' as const), id }) },
  fc.record({ do: fc.constant('swap' as const), id, to: id }),
  fc.record({ do: fc.constant('delete' as const), id }),
  fc.record({ do: fc.constant('truncate' as const) }),
);
type Act = typeof act extends fc.Arbitrary<infer T> ? T : never;

const isLong = (text: string | null | undefined): boolean => (text?.length ?? 0) > 20;

/** Production, and what a shadow can know of it that judges change by change. */
class Model {
  readonly production = new Map<string, string | null>();
  readonly shadow = new Map<string, Cell>();
  serial = 0;

  play(step: Act): readonly ChangeEvent[] {
    this.serial += 1;
    const n = `n${this.serial}`;
    const { production, shadow } = this;
    if (step.do === 'truncate') {
      production.clear();
      shadow.clear();
      return [changeEvent({ op: 'truncate' })];
    }
    const old = production.get(step.id);
    if (step.do === 'insert') {
      if (old !== undefined) return [];
      production.set(step.id, step.value);
      shadow.set(step.id, { v: step.value, unknown: false });
      return [create({ id: step.id, n, v: step.value })];
    }
    if (old === undefined) return [];
    switch (step.do) {
      case 'set':
      case 'touch': {
        const now = step.do === 'set' ? step.value : old;
        production.set(step.id, now);
        const sent = now === null || (step.do === 'touch' && isLong(old)) ? UNSURE : now;
        this.#see(step.id, step.id, sent);
        return [update({ id: step.id, n, v: sent })];
      }
      case 'delete':
        production.delete(step.id);
        shadow.delete(step.id);
        return [remove(step.id)];
      case 'swap': {
        const hops = production.has(step.to)
          ? [
              [step.id, '9'],
              [step.to, step.id],
              ['9', step.to],
            ]
          : [[step.id, step.to]];
        if (step.id === step.to) return [];
        return hops.flatMap(([from = '', to = '']) => {
          const moved = production.get(from) ?? null;
          production.delete(from);
          production.set(to, moved);
          const sent = moved === null || isLong(moved) ? UNSURE : moved;
          this.#see(from, to, sent);
          return move(from, { id: to, n, v: sent });
        });
      }
    }
  }

  #see(from: string, to: string, sent: string | typeof UNSURE): void {
    const before = this.shadow.get(from);
    this.shadow.delete(from);
    if (before === undefined) return;
    const real = !before.unknown && !isLong(before.v);
    const judged = real ? { v: null, unknown: false } : { v: before.v, unknown: true };
    this.shadow.set(to, sent === UNSURE ? judged : { v: sent, unknown: false });
  }
}

describe('random histories', () => {
  it.each([
    ['on a trunk', false, SHAPES],
    ['beside a candidate', true, SHAPES],
    ['where whole rows are written', false, [WHOLE_ROWS]],
  ] as const)('leave known values exact and name the others, %s', async (_, overlay, shapes) => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...shapes),
        fc.array(fc.tuple(id, value, fc.boolean()), { maxLength: 4 }),
        fc.array(fc.array(act, { maxLength: 5 }), { minLength: 1, maxLength: 5 }),
        async (ddl, start, batches) => {
          const session = await fresh(ddl, overlay);
          const model = new Model();
          const missing = new Set<string>();
          for (const [key, v, absent] of start) {
            if (model.production.has(key)) continue;
            const created = model.play({ do: 'insert', id: key, value: v });
            if (absent) {
              model.shadow.delete(key);
              missing.add(key);
            } else await apply(session, created);
          }
          for (const batch of batches) {
            if (overlay) await user.query(`UPDATE t SET n = 'mine', v = 'mine' WHERE id % 2 = 0`);
            await apply(
              session,
              batch.flatMap((step) => model.play(step)),
            );
          }
          const from = overlay ? 'public__production.t' : 't';
          const rows = (await values(
            `SELECT trim_scale(id::numeric)::text, v FROM ${from} ORDER BY 1`,
          )) as readonly [string, string | null][];
          const doubted = new Set((await unknown()).map((row) => String((row as unknown[])[0])));
          for (const [key, v] of rows.filter(([found]) => !doubted.has(found))) {
            expect([key, v]).toEqual([key, model.production.get(key)]);
          }
          const held = (await parked()).map((row) => String((row as unknown[])[0]));
          // A row that was never here and never changed is known to nobody.
          const all = [...rows.map(([key]) => key), ...held];
          expect(new Set(all).size).toBe(all.length);
          expect(all.filter((key) => !model.production.has(key))).toEqual([]);
          // Where every row was here from the start, the ledger is exactly what must be in it.
          const cells = rows.map(([key, v]) => [key, { v, unknown: doubted.has(key) }]);
          const must = [...model.shadow].toSorted(([x], [y]) => x.localeCompare(y));
          expect({ held, cells }).toEqual(
            missing.size > 0 ? { held, cells } : { held: [], cells: must },
          );
          for (const key of doubted) expect(rows.map(([row]) => row)).toContain(key);
        },
      ),
      { numRuns: 15 },
    );
  });
});
