/** Batches against real tables: what applyBatch promises, on a trunk and beside a candidate. */
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TableId } from '../../src/change/table-id.ts';
import { RowShape, type ColumnValue, type KnownValue } from '../../src/change/value.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import type { ApplyOutcome } from '../../src/dialect/dialect.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import { installOverlay } from '../../src/dialect/postgres/overlay/capture.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { batchOf } from '../support/overlay-applier.ts';
import { createLedgers } from '../support/ledgers.ts';
import { testDatabase } from '../support/test-database.ts';

let url: string;
let applier: pg.Client;
let user: pg.Client;

beforeAll(async () => {
  url = (await testDatabase('apply')).url;
  [applier, user] = [
    new pg.Client({ connectionString: url }),
    new pg.Client({ connectionString: url }),
  ];
  await Promise.all([applier.connect(), user.connect()]);
  await applier.query(applierSessionSql);
});

afterAll(() => Promise.all([applier.end(), user.end()]));

/** A fresh schema with these tables; all in the schema `shop`. */
async function tables(ddl: string, overlay = false): Promise<void> {
  await user.query(`DROP SCHEMA IF EXISTS understudy, shop, shop__production, shop__difference CASCADE;
    CREATE SCHEMA shop; SET search_path = shop; ${ddl}`);
  await createLedgers(user);
  if (!overlay) return;
  await user.query('BEGIN');
  await installOverlay(user);
  await user.query('COMMIT');
}

async function apply(...steps: readonly BatchStep[]): Promise<ApplyOutcome> {
  const session = await openApplySession(applier, await readCatalogue(applier));
  await applier.query('BEGIN');
  try {
    const outcome = await applyBatch(session, batchOf(...steps));
    await applier.query('COMMIT');
    return outcome;
  } catch (error) {
    await applier.query('ROLLBACK');
    throw error;
  }
}

const shop = (name: string): TableId => ({ schema: 'shop', name });

function rows(name: string, ...changes: readonly NetChange[]): BatchStep {
  return { kind: 'rows', table: shop(name), changes };
}

/** An upsert, a patch where it lacks columns; `key` names the key columns, `from` their former values if they changed. */
function put(
  key: readonly string[],
  image: Readonly<Record<string, ColumnValue>>,
  from?: readonly KnownValue[],
): NetChange {
  const shape = new RowShape(Object.keys(image));
  const keyValues = key.map((column) => image[column] as KnownValue);
  return {
    kind: 'upsert',
    key: keyValues,
    from: from ?? keyValues,
    complete: false,
    image: { shape, values: Object.values(image) },
  };
}

/** A new row of which the connector does not send all columns. */
function create(
  image: Readonly<Record<string, ColumnValue>>,
  from?: readonly KnownValue[],
): NetChange {
  return { ...put(['id'], image, from), complete: true } as NetChange;
}

function gone(...key: readonly KnownValue[]): NetChange {
  return { kind: 'delete', key };
}

async function content(sql: string): Promise<readonly unknown[]> {
  return (await user.query({ text: sql, rowMode: 'array' })).rows;
}

const BIG = 'x'.repeat(200);

/** Stored out of line and uncompressed, so that a kept value shows in its chunk id. */
const TOASTED = `CREATE TABLE doc (id int PRIMARY KEY, n int, body text);
  ALTER TABLE doc ALTER body SET STORAGE EXTERNAL;`;

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

describe('partial images', () => {
  it('leave an unavailable TOAST value where it lies', async () => {
    await tables(`${TOASTED} INSERT INTO doc VALUES (1, 1, repeat('${BIG}', 50))`);
    const chunk = 'SELECT pg_column_toast_chunk_id(body) FROM doc';
    const before = await content(chunk);
    await apply(rows('doc', put(['id'], { id: '1', n: '2' })));
    expect(await content(chunk)).toEqual(before);
    expect(await content('SELECT n, length(body) FROM doc')).toEqual([[2, 10_000]]);
  });

  it('carry the kept columns to a new key, also when keys are swapped', async () => {
    await tables(`${TOASTED} INSERT INTO doc VALUES (1, 1, 'one'), (2, 2, 'two'), (3, 3, 'three')`);
    await apply(
      rows(
        'doc',
        put(['id'], { id: '2', n: '10' }, ['1']),
        put(['id'], { id: '1', n: '20' }, ['2']),
        gone('3'),
        put(['id'], { id: '4', n: '30' }, ['3']),
      ),
    );
    expect(await content('SELECT * FROM doc ORDER BY id')).toEqual([
      [1, 20, 'two'],
      [2, 10, 'one'],
      [4, 30, 'three'],
    ]);
  });

  it('of a row that is not there are parked, and the others written', async () => {
    await tables(TOASTED);
    const [five, six] = [put(['id'], { id: '5', n: '1' }), put(['id'], { id: '6', n: '1' }, ['4'])];
    await apply(rows('doc', five, six, put(['id'], { id: '7', n: '7', body: 'whole' })));
    expect(await content('SELECT * FROM doc')).toEqual([[7, 7, 'whole']]);
    expect(await content('SELECT key, image FROM understudy.parked ORDER BY key')).toEqual([
      [['5'], { n: '1' }],
      [['6'], { n: '1' }],
    ]);
  });

  it('work for tables of more than 64 columns', async () => {
    const names = Array.from({ length: 90 }, (_, i) => `c${i}`);
    await tables(`CREATE TABLE wide (id int PRIMARY KEY, ${names.map((n) => `${n} int`).join(', ')});
      INSERT INTO wide SELECT 1, ${names.map((_, i) => i).join(', ')}`);
    await apply(rows('wide', put(['id'], { id: '1', c89: '-1', c3: null })));
    expect(await content('SELECT c3, c4, c88, c89 FROM wide')).toEqual([[null, 4, 88, -1]]);
  });
});

describe('a new row without some columns', () => {
  const ITEM = `CREATE TYPE mood AS ENUM ('ok', 'sad'); CREATE DOMAIN score AS int DEFAULT 5;
    CREATE SEQUENCE tick;
    CREATE TABLE item (id int PRIMARY KEY, n int, price money DEFAULT 3, m mood DEFAULT 'ok',
      s score, at int NOT NULL DEFAULT nextval('tick'), body text);`;

  it('gets the defaults of the shadow', async () => {
    await tables(ITEM);
    await apply(rows('item', create({ id: '1', n: '1' }), create({ id: '2', n: '2', body: 'b' })));
    expect(await content('SELECT id, n, price, m, s, body FROM item ORDER BY id')).toEqual([
      [1, 1, '$3.00', 'ok', 5, null],
      [2, 2, '$3.00', 'ok', 5, 'b'],
    ]);
    expect(await content('SELECT count(DISTINCT at)::int FROM item')).toEqual([[2]]);
    expect(await content('SELECT * FROM understudy.parked')).toEqual([]);
  });

  it('that is there already keeps them, and is the same when it comes again', async () => {
    await tables(`${ITEM} INSERT INTO item VALUES (1, 1, 9, 'sad', 7, 70, 'old')`);
    const batch = rows('item', create({ id: '1', n: '2' }), create({ id: '2', n: '2' }));
    await apply(batch);
    const after = await content('SELECT * FROM item ORDER BY id');
    expect(after[0]).toEqual([1, 2, '$9.00', 'sad', 7, 70, 'old']);
    await apply(batch);
    expect(await content('SELECT * FROM item ORDER BY id')).toEqual(after);
  });

  it('takes them along from the key it had', async () => {
    await tables(`${ITEM} INSERT INTO item VALUES (1, 1, 9, 'sad', 7, 70, 'old')`);
    const batch = rows('item', gone('1'), create({ id: '2', n: '2' }, ['1']));
    await apply(batch);
    await apply(batch);
    expect(await content('SELECT * FROM item')).toEqual([[2, 2, '$9.00', 'sad', 7, 70, 'old']]);
  });

  it('is the base image of the candidate’s row', async () => {
    await tables(
      `${ITEM} INSERT INTO item VALUES (1, 1, 9, 'sad', 7, 70, 'old'), (3, 3, 9, 'sad', 7, 70, 'old')`,
      true,
    );
    await user.query(`SET search_path = shop; UPDATE item SET n = 0, body = 'mine';
      INSERT INTO item (id, n, price) VALUES (2, 0, 0)`);
    const mine = await content('SELECT * FROM shop.item ORDER BY id');
    await apply(
      rows('item', ...['1', '2'].map((id) => create({ id, n: '8' })), create({ id: '4', n: '4' })),
    );
    expect(await content('SELECT * FROM shop.item WHERE id < 4 ORDER BY id')).toEqual(mine);
    expect(
      await content('SELECT id, n, price, m, s, body FROM shop__production.item ORDER BY id'),
    ).toEqual([
      [1, 8, '$9.00', 'sad', 7, 'old'],
      [2, 8, '$3.00', 'ok', 5, null],
      [3, 3, '$9.00', 'sad', 7, 'old'],
      [4, 4, '$3.00', 'ok', 5, null],
    ]);
  });

  it('goes beside values that move between unique rows, deferrable ones too', async () => {
    for (const deferrable of ['', 'DEFERRABLE']) {
      await tables(`CREATE TABLE u (id int PRIMARY KEY ${deferrable}, mail text UNIQUE ${deferrable},
        price money DEFAULT 3); INSERT INTO u VALUES (1, 'a', 9), (2, 'b', 9)`);
      await apply(
        rows(
          'u',
          ...[create({ id: '1', mail: 'b' }), create({ id: '2', mail: 'c' })],
          create({ id: '3', mail: 'a' }),
        ),
      );
      expect(await content('SELECT * FROM u ORDER BY id')).toEqual([
        [1, 'b', '$9.00'],
        [2, 'c', '$9.00'],
        [3, 'a', '$3.00'],
      ]);
    }
  });

  it('goes to its partition, with the root’s default, and gets an identity', async () => {
    await tables(`CREATE TABLE p (id int PRIMARY KEY, v int DEFAULT 4, no int GENERATED ALWAYS AS IDENTITY,
        w int) PARTITION BY HASH (id);
      CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
      CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1)`);
    await apply(rows('p', create({ id: '1', w: '1' })), rows('p0', create({ id: '2', w: '2' })));
    await apply(rows('p', create({ id: '1', w: '8' })));
    expect(await content('SELECT id, v, no, w FROM p ORDER BY id')).toEqual([
      [1, 4, 1, 8],
      [2, 4, 2, 2],
    ]);
  });

  it('is parked where such a column has no value that it may have', async () => {
    await tables(`CREATE TABLE strict (id int PRIMARY KEY, n int, price money NOT NULL)`);
    await apply(
      rows('strict', create({ id: '1', n: '1' }), put(['id'], { id: '2', n: '2', price: '1' })),
    );
    expect(await content('SELECT id FROM strict')).toEqual([[2]]);
    expect(await content('SELECT key, image FROM understudy.parked')).toEqual([
      [['1'], { n: '1' }],
    ]);
  });

  it('ends that the row is parked', async () => {
    await tables(ITEM);
    await apply(rows('item', put(['id'], { id: '1', n: '1' })));
    expect(await content('SELECT key FROM understudy.parked')).toEqual([[['1']]]);
    await apply(rows('item', create({ id: '1', n: '2', body: 'b' })));
    expect(await content('SELECT key FROM understudy.parked')).toEqual([]);
    expect(await content('SELECT id, n, price, body FROM item')).toEqual([[1, 2, '$3.00', 'b']]);
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
  ])('held by a row of the candidate block the batch (%s)', async (_, column) => {
    await tables(`CREATE TABLE u (id int PRIMARY KEY, ${column})`, true);
    await user.query(`INSERT INTO shop.u VALUES (100, 'a')`);
    await expect(
      apply(rows('u', put(['id'], { id: '1', mail: 'z' }), put(['id'], { id: '2', mail: 'a' }))),
    ).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
      context: { table: 'shop.u', key: 'id=2', detail: 'constraint u_mail_key' },
    });
    await user.query('DELETE FROM shop.u');
    await apply(rows('u', put(['id'], { id: '2', mail: 'a' })));
    expect(await content('SELECT * FROM shop.u')).toEqual([[2, 'a']]);
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
