/** Batches against real tables: what applyBatch promises, on a trunk and beside a candidate. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import {
  TOASTED,
  apply,
  applier,
  content,
  gone,
  put,
  rows,
  shop,
  tables,
  user,
  useShop,
} from './apply.fixture.ts';
import { applyBatch, openApplySession } from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { batchOf } from '../support/overlay-applier.ts';

useShop();

describe('types', () => {
  it('writes arrays, bytes, booleans and special characters as they are', async () => {
    await tables(`CREATE DOMAIN mail AS text NOT NULL CHECK (VALUE <> '');
      CREATE TABLE v (id int PRIMARY KEY, a text[], i int[], b bytea, f boolean, t text, m mail,
        y bytea[], bit1 bit(1))`);
    const text = 'tab\t nl\n cr\r back\\slash \\N "quoted" {braces} NULL ,';
    await apply(
      rows(
        'v',
        put(['id'], {
          ...{
            id: '1',
            a: [text, null, '', 'NULL'],
            i: [
              ['1', '2'],
              ['3', null],
            ],
            m: 'x',
          },
          ...{ b: Uint8Array.of(0, 92, 255), f: true, t: text, y: [Uint8Array.of(1)], bit1: true },
        }),
        put(['id'], {
          id: '2',
          a: [],
          i: null,
          b: null,
          f: false,
          t: '\\N',
          m: 'y',
          y: [],
          bit1: null,
        }),
      ),
      // A domain that refuses null must not keep a delete from being staged.
      { kind: 'truncate', table: shop('v') },
    );
    expect(await content('SELECT * FROM v')).toEqual([]);
    await apply(
      rows(
        'v',
        put(['id'], {
          ...{
            id: '1',
            a: [text, null, '', 'NULL'],
            i: [
              ['1', '2'],
              ['3', null],
            ],
            m: 'x',
          },
          ...{ b: Uint8Array.of(0, 92, 255), f: true, t: text, y: [Uint8Array.of(1)], bit1: true },
        }),
        gone('2'),
      ),
    );
    expect(await content('SELECT id, a, i, b, f, t, m, y, bit1::text FROM v')).toEqual([
      [
        1,
        [text, null, '', 'NULL'],
        [
          [1, 2],
          [3, null],
        ],
        Buffer.of(0, 92, 255),
        true,
        text,
        'x',
        [Buffer.of(1)],
        '1',
      ],
    ]);
  });

  it('names the key and the column of a value the server refuses, but not the value', async () => {
    await tables('CREATE TABLE v (id int PRIMARY KEY, n smallint)');
    const failed = apply(
      rows('v', put(['id'], { id: '1', n: '1' }), put(['id'], { id: '7', n: '4242424' })),
    );
    await expect(failed).rejects.toMatchObject({
      code: 'APPLY_FAILED',
      context: { table: 'shop.v', column: 'n', key: 'id=7' },
    });
    const error = await failed.catch((e: unknown) => e);
    expect(JSON.stringify(error) + String(error)).not.toContain('4242424');
  });

  it('refuses columns, tables and keys that are not there', async () => {
    await tables('CREATE TABLE v (id int PRIMARY KEY); CREATE TABLE heap (a int)');
    const unknownColumn = apply(rows('v', put(['id'], { id: '1', other: 'x' })));
    await expect(unknownColumn).rejects.toMatchObject({
      code: 'COLUMN_UNKNOWN',
      context: { table: 'shop.v', column: 'other' },
    });
    await expect(apply(rows('w', gone('1')))).rejects.toMatchObject({ code: 'TABLE_UNKNOWN' });
    await expect(apply(rows('heap', gone()))).rejects.toMatchObject({ code: 'KEY_MISSING' });
  });
});

describe('keys', () => {
  it('that another row leaves take none of its values along', async () => {
    await tables(`${TOASTED} INSERT INTO doc VALUES (1, 1, 'one'), (2, 2, 'two')`);
    const moved = (from: string, to: string): NetChange => put(['id'], { id: to, n: '9' }, [from]);
    const replacing = (from: string, to: string): NetChange =>
      ({ ...moved(from, to), replaces: true }) as NetChange;
    // Rows 7 and 8 are not here: 8 comes where 2 was, 7 where 1 was.
    await apply(
      rows('doc', moved('2', '3'), gone('7'), replacing('8', '2'), replacing('7', '1'), gone('8')),
    );
    expect(await content('SELECT * FROM doc')).toEqual([[3, 9, 'two']]);
    expect(await content('SELECT key FROM understudy.parked ORDER BY key')).toEqual([
      [['1']],
      [['2']],
    ]);
  });

  it('spelled differently but equal in the server are one row', async () => {
    await tables(`CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      CREATE TABLE k (id text COLLATE nocase PRIMARY KEY, n int);
      INSERT INTO k VALUES ('Ann', 1)`);
    await apply(rows('k', gone('Ann'), put(['id'], { id: 'ANN', n: '2' })));
    expect(await content('SELECT * FROM k')).toEqual([['ANN', 2]]);
    await apply(rows('k', gone('ANN'), put(['id'], { id: 'ann' }, ['ANN'])));
    expect(await content('SELECT * FROM k')).toEqual([['ann', 2]]);
  });

  it('spelled differently are one owned row', async () => {
    await tables(
      `CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
       CREATE TABLE k (id text COLLATE nocase PRIMARY KEY, n int);
       INSERT INTO k VALUES ('Ann', 1), ('Bob', 1)`,
      true,
    );
    await user.query('UPDATE shop.k SET n = 0');
    const bob = put(['id'], { id: 'bob', n: '2' });
    await apply(rows('k', gone('Ann'), put(['id'], { id: 'ANN', n: '2' }), bob, gone('BOB')));
    expect(await content('SELECT * FROM shop__production.k')).toEqual([['ANN', 2]]);
    expect(await content('SELECT * FROM shop.k ORDER BY id')).toEqual([
      ['Ann', 0],
      ['Bob', 0],
    ]);
  });

  it('may be composite, deferrable, or always generated', async () => {
    await tables(`CREATE TABLE c (a int, b text, v int, PRIMARY KEY (b, a));
      CREATE TABLE d (id int PRIMARY KEY DEFERRABLE, v int);
      CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int,
        w int GENERATED ALWAYS AS (v * 2) STORED);
      CREATE TABLE o (id int PRIMARY KEY, no int GENERATED ALWAYS AS IDENTITY, v int);
      INSERT INTO o VALUES (1, DEFAULT, 1)`);
    for (const v of ['1', '2']) {
      await apply(
        rows('c', put(['b', 'a'], { a: '1', b: 'x', v })),
        rows('d', put(['id'], { id: '1', v }), put(['id'], { id: '2', v })),
        rows('g', put(['id'], { id: '5', v })),
        rows('o', put(['id'], { id: '1', no: `9${v}` })),
      );
    }
    expect(await content('SELECT * FROM c')).toEqual([[1, 'x', 2]]);
    expect(await content('SELECT * FROM d ORDER BY id')).toEqual([
      [1, 2],
      [2, 2],
    ]);
    expect(await content('SELECT * FROM g')).toEqual([[5, 2, 4]]);
    expect(await content('SELECT * FROM o')).toEqual([[1, 92, 1]]);
  });

  it('of partitions are kept by the root', async () => {
    await tables(`CREATE TABLE p (id int, day date, v int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
      CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
      CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`);
    await apply(
      rows('p1', put(['id', 'day'], { id: '1', day: '2026-01-05', v: '1' })),
      rows('p', put(['id', 'day'], { id: '2', day: '2026-02-05', v: '2' })),
    );
    await apply(
      rows('p1', gone('1', '2026-01-05')),
      rows('p2', put(['id', 'day'], { id: '1', day: '2026-02-07' }, ['1', '2026-01-05'])),
    );
    expect(await content('SELECT tableoid::regclass::text, id, v FROM p ORDER BY id')).toEqual([
      ['p2', 1, 1],
      ['p2', 2, 2],
    ]);
  });
});

describe('unique constraints', () => {
  it('survive values that move and swap within a batch', async () => {
    await tables(`CREATE TABLE u (id int PRIMARY KEY, mail text UNIQUE, v text);
      CREATE UNIQUE INDEX ON u (lower(v));
      INSERT INTO u VALUES (1, 'a', 'va'), (2, 'b', 'vb'), (3, 'c', 'vc')`);
    await apply(
      rows(
        'u',
        put(['id'], { id: '1', mail: 'b' }),
        put(['id'], { id: '2', mail: 'a' }),
        gone('3'),
        put(['id'], { id: '4', mail: 'c', v: 'vc' }),
      ),
    );
    expect(await content('SELECT * FROM u ORDER BY id')).toEqual([
      [1, 'b', 'va'],
      [2, 'a', 'vb'],
      [4, 'c', 'vc'],
    ]);
  });

  it.each([
    ['plain', 'mail text UNIQUE'],
    ['deferrable', 'mail text UNIQUE DEFERRABLE'],
  ])('held by a row of the candidate keep out the one that wants it (%s)', async (_, column) => {
    await tables(`CREATE TABLE u (id int PRIMARY KEY, ${column})`, true);
    await user.query(`INSERT INTO shop.u VALUES (100, 'a')`);
    await apply(
      rows('u', put(['id'], { id: '1', mail: 'z' }), put(['id'], { id: '2', mail: 'a' })),
    );
    const seen = (): Promise<readonly unknown[]> => content('SELECT * FROM shop.u ORDER BY id');
    expect(await seen()).toEqual([
      [1, 'z'],
      [100, 'a'],
    ]);
    await user.query('DELETE FROM shop.u WHERE id = 100');
    await apply(rows('u', put(['id'], { id: '2', mail: 'a' })));
    expect(await seen()).toEqual([
      [1, 'z'],
      [2, 'a'],
    ]);
  });

  it('not met by anything of the batch are an error', async () => {
    await tables(
      `CREATE TABLE u (id int PRIMARY KEY, mail text UNIQUE); INSERT INTO u VALUES (1, 'a')`,
    );
    await expect(apply(rows('u', put(['id'], { id: '2', mail: 'a' })))).rejects.toMatchObject({
      code: 'APPLY_FAILED',
      context: { table: 'shop.u', detail: 'constraint u_mail_key' },
    });
  });
});

describe('truncate', () => {
  const REFERENCED = `CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
    INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1)`;
  const empty = (name: string): BatchStep => ({ kind: 'truncate', table: shop(name) });

  it('empties tables that reference each other, together or alone', async () => {
    await tables(REFERENCED);
    await apply(empty('parent'));
    expect(await content('SELECT * FROM parent')).toEqual([]);
    expect(await content('SELECT * FROM child')).toEqual([[1, 1]]);
    await apply(rows('parent', put(['id'], { id: '1' })), empty('child'), empty('parent'));
    expect(await content('SELECT id FROM parent UNION ALL SELECT id FROM child')).toEqual([]);
  });

  it('is a barrier between rows of one batch', async () => {
    await tables(REFERENCED);
    await apply(
      rows('child', put(['id'], { id: '8', parent: null })),
      empty('child'),
      rows('child', put(['id'], { id: '9', parent: null })),
    );
    expect(await content('SELECT id FROM child')).toEqual([[9]]);
  });

  it('leaves the candidate its rows', async () => {
    await tables(REFERENCED, true);
    await user.query('INSERT INTO shop.parent VALUES (2); UPDATE shop.child SET id = 7');
    const outcome = await apply(empty('child'), empty('parent'));
    expect(outcome).toMatchObject({ rows: 1, owned: 1 });
    expect(await content('SELECT id FROM shop.parent')).toEqual([[2]]);
    expect(await content('SELECT id FROM shop.child')).toEqual([[7]]);
    expect(await content('SELECT id FROM shop__production.parent')).toEqual([]);
    expect(await content('SELECT id FROM shop__production.child')).toEqual([]);
  });

  it('of one partition leaves the images of the others', async () => {
    await tables(
      `CREATE TABLE p (id int PRIMARY KEY) PARTITION BY HASH (id);
       CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
       CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1);
       INSERT INTO p SELECT generate_series(1, 20)`,
      true,
    );
    const other = await content('SELECT id FROM shop.p1 ORDER BY id');
    await user.query('UPDATE shop.p SET id = id + 100 WHERE id <= 10');
    await apply(empty('p0'));
    expect(await content('SELECT id FROM shop__production.p ORDER BY id')).toEqual(other);
    expect(await content('SELECT count(*)::int FROM shop.p WHERE id > 100')).toEqual([[10]]);
  });
});

describe('any sequence of batches', () => {
  const KEY = fc.integer({ min: 1, max: 8 });
  const STEP = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant('put' as const), id: KEY, v: fc.string(), u: KEY }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('patch' as const), id: KEY, u: KEY }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('move' as const), id: KEY, to: KEY }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), id: KEY }) },
  );
  interface Row {
    readonly v: string;
    readonly u: number;
  }

  /** Plays steps on the model; steps that production would have refused are left out. */
  function play(
    model: ReadonlyMap<number, Row>,
    steps: readonly (typeof STEP extends fc.Arbitrary<infer S> ? S : never)[],
  ): { readonly next: Map<number, Row>; readonly changes: readonly NetChange[] } {
    const next = new Map(model);
    const changes: NetChange[] = [];
    const used = new Set<number>();
    for (const step of steps) {
      const before = model.get(step.id);
      const keys = step.kind === 'move' ? [step.id, step.to] : [step.id];
      if (keys.some((key) => used.has(key)) || new Set(keys).size < keys.length) continue;
      const id = `${step.id}`;
      if (step.kind === 'put') {
        next.set(step.id, { v: step.v, u: step.u });
        changes.push(put(['id'], { id, v: step.v, u: `${step.u}` }));
      } else if (step.kind === 'delete') {
        next.delete(step.id);
        changes.push(gone(id));
      } else if (before === undefined) continue;
      else if (step.kind === 'patch') {
        next.set(step.id, { ...before, u: step.u });
        changes.push(put(['id'], { id, u: `${step.u}` }));
      } else {
        if (next.has(step.to)) continue;
        next.delete(step.id);
        next.set(step.to, before);
        changes.push(gone(id), put(['id'], { id: `${step.to}`, u: `${before.u}` }, [id]));
      }
      for (const key of keys) used.add(key);
    }
    return { next, changes };
  }

  it.each([
    ['trunk', false],
    ['rollout', true],
  ] as const)(
    'leaves what a model says, and once more changes nothing (%s)',
    async (_, overlay) => {
      await tables('CREATE TABLE m (id int PRIMARY KEY, v text, u int)', overlay);
      const session = await openApplySession(applier, await readCatalogue(applier));
      const printable = fc.array(fc.array(STEP, { maxLength: 12 }), { maxLength: 4 });
      await fc.assert(
        fc.asyncProperty(printable, async (batches) => {
          await applier.query('TRUNCATE shop.m');
          let model = new Map<number, Row>();
          for (const steps of batches) {
            const { next, changes } = play(model, steps);
            for (let times = 0; times < 2; times += 1) {
              await applier.query('BEGIN');
              await applyBatch(session, batchOf(rows('m', ...changes)));
              await applier.query('COMMIT');
              const expected = [...next].sort(([a], [b]) => a - b).map(([id, r]) => [id, r.v, r.u]);
              expect(await content('SELECT id, v, u FROM shop.m ORDER BY id')).toEqual(expected);
              const base = overlay ? 'shop__production.m' : 'shop.m';
              expect(await content(`SELECT id, v, u FROM ${base} ORDER BY id`)).toEqual(expected);
            }
            model = next;
          }
        }),
        { numRuns: 40 },
      );
    },
  );
});
