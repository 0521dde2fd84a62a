/** Rows of which the connector does not send all columns, written beside a candidate. */
import { describe, expect, it } from 'vitest';
import {
  BIG,
  TOASTED,
  apply,
  content,
  create,
  gone,
  put,
  rows,
  tables,
  user,
  useShop,
} from './apply.fixture.ts';

useShop();

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

  it('gets what older rows have in a column that was added, and not its default of now', async () => {
    await tables(`CREATE TABLE aged (id int PRIMARY KEY, n int); INSERT INTO aged VALUES (1, 1);
      ALTER TABLE aged ADD COLUMN v text NOT NULL DEFAULT 'it''s old', ADD COLUMN w int[] DEFAULT '{1,2}',
        ADD COLUMN x int;
      ALTER TABLE aged ALTER v SET DEFAULT 'new', ALTER w DROP DEFAULT`);
    await apply(rows('aged', create({ id: '2', n: '2' }), create({ id: '3', n: '3', x: '3' })));
    expect(await content('SELECT * FROM aged ORDER BY id')).toEqual([
      [1, 1, "it's old", [1, 2], null],
      [2, 2, "it's old", [1, 2], null],
      [3, 3, "it's old", [1, 2], 3],
    ]);
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
