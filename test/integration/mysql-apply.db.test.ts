/** Batches against real tables of MySQL and MariaDB: what `apply` promises. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RowShape, UNAVAILABLE, type KnownValue } from '../../src/change/value.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { REMEMBERED_IDS } from '../../src/order/recent-ids.ts';
import { batchOf, ENGINES, gone, put, rowsStep, stageOf, type Stage } from './mysql.fixture.ts';

/** Each refusal has the catalogue read again. */
const EXACTLY = { timeout: 240_000 };

const ITEM = `CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(40), code VARCHAR(10) UNIQUE,
  doubled INT GENERATED ALWAYS AS (id * 2) STORED, extra VARCHAR(10) DEFAULT 'dflt')`;
const item = (id: number, name: string | null, code: string | null) =>
  put(['id'], { id: String(id), name, code, extra: 'x' });

describe.each(ENGINES)('on %s', (engine) => {
  it('inserts, overwrites and deletes, and does the same again without a change', async () => {
    const stage = await stageOf(engine, ITEM);
    await stage.client.query(
      `INSERT INTO item (id, name) VALUES (1, 'old'), (2, 'goes'), (9, 'stays')`,
    );
    const step = rowsStep(stage, 'item', item(1, 'new', 'a'), gone('2'), item(3, 'first', null));
    expect(await stage.apply(step)).toEqual({ rows: 3, owned: 0, repairs: 0 });
    const after = await stage.rows('SELECT * FROM item ORDER BY id');
    expect(after).toEqual([
      { id: 1, name: 'new', code: 'a', doubled: 2, extra: 'x' },
      { id: 3, name: 'first', code: null, doubled: 6, extra: 'x' },
      { id: 9, name: 'stays', code: null, doubled: 18, extra: 'dflt' },
    ]);
    await stage.apply(step);
    expect(await stage.rows('SELECT * FROM item ORDER BY id')).toEqual(after);
  });

  it('keeps what was not sent, gives defaults to what never is, and refuses to guess', async () => {
    const stage = await stageOf(engine, ITEM);
    await stage.client.query(
      `INSERT INTO item (id, name, code, extra) VALUES (1, 'kept', 'a', 'e')`,
    );
    const partial = put(
      ['id'],
      { id: '1', name: UNAVAILABLE, code: 'b', extra: 'new' },
      { complete: false },
    );
    await stage.apply(rowsStep(stage, 'item', partial, put(['id'], { id: '2', name: 'n' })));
    expect(await stage.rows('SELECT id, name, code, extra FROM item ORDER BY id')).toEqual([
      { id: 1, name: 'kept', code: 'b', extra: 'new' },
      { id: 2, name: 'n', code: null, extra: 'dflt' },
    ]);
    const lost = put(
      ['id'],
      { id: '5', name: UNAVAILABLE, code: 'c', extra: null },
      { complete: false },
    );
    await expect(
      stage.apply(rowsStep(stage, 'item', item(7, 'x', null), lost)),
    ).rejects.toMatchObject({
      code: 'ROW_INCOMPLETE',
      context: { table: `${stage.source}.item`, key: 'id=5' },
    });
    expect(await stage.rows('SELECT id FROM item WHERE id = 7')).toEqual([]);
  });

  it('moves rows to new keys with what was not sent, through chains and swaps', async () => {
    const stage = await stageOf(engine, ITEM);
    await stage.client.query(
      `INSERT INTO item (id, name, code) VALUES (1, 'one', 'a'), (2, 'two', 'b'), (3, 'three', 'c')`,
    );
    const move = (to: string, from: string) =>
      put(
        ['id'],
        { id: to, name: UNAVAILABLE, code: UNAVAILABLE, extra: 'm' },
        { from: [from], complete: false },
      );
    await stage.apply(
      rowsStep(stage, 'item', move('2', '1'), move('1', '2'), gone('3'), move('4', '3')),
    );
    expect(await stage.rows('SELECT id, name, code FROM item ORDER BY id')).toEqual([
      { id: 1, name: 'two', code: 'b' },
      { id: 2, name: 'one', code: 'a' },
      { id: 4, name: 'three', code: 'c' },
    ]);
  });

  it('lets unique values change places, and touches no row that is not in the batch', async () => {
    const stage = await stageOf(engine, ITEM);
    await stage.client.query(
      `INSERT INTO item (id, name, code) VALUES (1, 'one', 'a'), (2, 'two', 'b'), (3, 'three', 'c')`,
    );
    await stage.apply(
      rowsStep(stage, 'item', item(1, 'one', 'b'), item(2, 'two', 'a'), item(5, 'five', 'e')),
    );
    expect(await stage.rows('SELECT id, code FROM item ORDER BY id')).toEqual([
      { id: 1, code: 'b' },
      { id: 2, code: 'a' },
      { id: 3, code: 'c' },
      { id: 5, code: 'e' },
    ]);
    // Row 3 has the value, and production would not have said so without freeing it.
    await expect(stage.apply(rowsStep(stage, 'item', item(6, 'six', 'c')))).rejects.toMatchObject({
      code: 'APPLY_FAILED',
      context: { table: `${stage.source}.item` },
    });
    expect(await stage.rows('SELECT id FROM item ORDER BY id')).toHaveLength(4);
  });

  it('compares keys as the table does, and ends with production’s spelling', async () => {
    const collation = engine === 'mysql' ? 'utf8mb4_0900_ai_ci' : 'utf8mb4_general_ci';
    const stage = await stageOf(
      engine,
      `CREATE TABLE word (w VARCHAR(20) COLLATE ${collation} PRIMARY KEY, n INT)`,
      `CREATE TABLE padded (w VARCHAR(20) COLLATE utf8mb4_unicode_ci PRIMARY KEY, n INT)`,
    );
    await stage.client.query(`INSERT INTO word VALUES ('straße', 0), ('Äpfel', 1), ('b', 2)`);
    await stage.client.query(`INSERT INTO padded VALUES ('pad', 0)`);
    const word = (w: string, n: number) => put(['w'], { w, n: String(n) });
    await stage.apply(
      rowsStep(
        stage,
        'word',
        word('ÄPFEL', 10),
        gone('b'),
        word('B', 20),
        word('c', 30),
        gone('C'),
      ),
      rowsStep(stage, 'padded', word('PAD ', 5)),
    );
    expect(
      await stage.rows('SELECT CONVERT(HEX(w) USING utf8mb4) AS h, n FROM word ORDER BY n'),
    ).toEqual([
      { h: hex('straße'), n: 0 },
      { h: hex('ÄPFEL'), n: 10 },
      { h: hex('B'), n: 20 },
    ]);
    expect(await stage.rows('SELECT HEX(w) AS h, n FROM padded')).toEqual([
      { h: hex('PAD '), n: 5 },
    ]);
  });

  it('empties a table where a truncate stands between rows, in one transaction', async () => {
    const stage = await stageOf(engine, ITEM, 'CREATE TABLE other (id INT PRIMARY KEY)');
    await stage.client.query(`INSERT INTO item (id, name) VALUES (1, 'old')`);
    const truncate = { kind: 'truncate', table: { schema: stage.source, name: 'item' } } as const;
    await stage.apply(
      rowsStep(stage, 'item', item(2, 'before', null)),
      truncate,
      rowsStep(stage, 'item', item(3, 'after', null)),
    );
    expect(await stage.rows('SELECT id, name FROM item')).toEqual([{ id: 3, name: 'after' }]);
    const unknown = rowsStep(stage, 'nowhere', gone('1'));
    await expect(stage.apply(truncate, unknown)).rejects.toMatchObject({ code: 'TABLE_UNKNOWN' });
    expect(await stage.rows('SELECT id FROM item')).toEqual([{ id: 3 }]);
  });

  it('writes children before parents, and deletes parents without their children', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE parent (id INT PRIMARY KEY)',
      `CREATE TABLE child (id INT PRIMARY KEY, parent INT,
        FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE)`,
    );
    const child = put(['id'], { id: '1', parent: '7' });
    await stage.apply(
      rowsStep(stage, 'child', child),
      rowsStep(stage, 'parent', put(['id'], { id: '7' })),
    );
    await stage.apply(rowsStep(stage, 'parent', gone('7')));
    expect(await stage.rows('SELECT * FROM child')).toEqual([{ id: 1, parent: 7 }]);
    expect(
      (await stage.database.catalogue()).get(`${stage.source}.child`)?.foreignKeys,
    ).toMatchObject([
      { columns: ['parent'], references: { schema: stage.source, name: 'parent' } },
    ]);
  });

  it('writes composite, generated, defaulted and partitioned keys, and AUTO_INCREMENT’s 0', async () => {
    const stage = await stageOf(
      engine,
      `CREATE TABLE pair (b BINARY(4), a DECIMAL(10,3), v INT, PRIMARY KEY (b, a))`,
      `CREATE TABLE counted (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, n INT)`,
      `CREATE TABLE parted (id INT, y INT, n INT, PRIMARY KEY (id, y))
        PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)`,
      `CREATE TABLE uniq (n INT, u VARCHAR(10) NOT NULL, UNIQUE KEY the_key (u))`,
    );
    const pair = (b: string, a: string, v: string) => put(['b', 'a'], { b: Buffer.from(b), a, v });
    await stage.apply(
      rowsStep(stage, 'pair', pair('ab\0\0', '1.500', '1'), pair('ab\0\0', '1.50', '2')),
      rowsStep(
        stage,
        'counted',
        put(['id'], { id: '0', n: '1' }),
        put(['id'], { id: '18446744073709551615', n: '2' }),
      ),
      rowsStep(stage, 'parted', put(['id', 'y'], { id: '1', y: '5', n: '1' })),
      rowsStep(stage, 'uniq', put(['u'], { n: null, u: 'k' })),
    );
    // A row that changes its partition, and one that is overwritten by its unique key.
    await stage.apply(
      rowsStep(
        stage,
        'parted',
        gone('1', '5'),
        put(['id', 'y'], { id: '1', y: '50', n: '2' }, { from: ['1', '5'] }),
      ),
      rowsStep(stage, 'uniq', put(['u'], { n: '5', u: 'k' })),
    );
    expect(await stage.rows('SELECT HEX(b) AS b, a, v FROM pair')).toEqual([
      { b: '61620000', a: '1.500', v: 2 },
    ]);
    expect(await stage.rows('SELECT * FROM counted ORDER BY n')).toEqual(
      [
        { id: '0', n: 1 },
        { id: '18446744073709551615', n: 2 },
      ].map((row) => ({
        ...row,
        id: expect.toSatisfy((id: unknown) => String(id) === row.id) as unknown,
      })),
    );
    expect(await stage.rows('SELECT * FROM parted')).toEqual([{ id: 1, y: 50, n: 2 }]);
    expect(await stage.rows('SELECT * FROM uniq')).toEqual([{ n: 5, u: 'k' }]);
  });

  it('names table, key and column of a refused value, and never the value', async () => {
    const stage = await stageOf(
      engine,
      `CREATE TABLE strict (id INT PRIMARY KEY, n TINYINT, s VARCHAR(5), d DECIMAL(5,2), t TIME(1),
        e ENUM('a','b'), f FLOAT)`,
    );
    const whole = { id: '2', n: '1', s: 'x', d: '1.20', t: '10:00:00.500000', e: 'a', f: '1' };
    for (const [column, value] of [
      ['n', '77777'],
      ['n', 'seven'],
      ['s', 'toolong-secret'],
      ['d', '1.005'],
      ['d', '77777.00'],
      ['t', '10:00:00.55'],
      ['t', '999:00:00'],
      ['e', 'sevenx'],
      ['f', 'NaN'],
      ['f', '1e300'],
    ] as const) {
      const bad = put(['id'], { ...whole, [column]: value });
      const error: unknown = await stage
        .apply(rowsStep(stage, 'strict', put(['id'], { ...whole, id: '1' }), bad))
        .catch((reason: unknown) => reason);
      expect(error, `${column} ${value}`).toMatchObject({
        code: 'APPLY_FAILED',
        context: { table: `${stage.source}.strict`, column, key: 'id=2' },
      });
      expect(JSON.stringify(error)).not.toContain(value);
    }
    await expect(
      stage.apply(rowsStep(stage, 'strict', put(['id'], { ...whole, more: '1' }))),
    ).rejects.toMatchObject({ code: 'COLUMN_UNKNOWN', context: { column: 'more' } });
    expect(await stage.rows('SELECT * FROM strict')).toEqual([]);
  });

  it(
    'keeps the rows of a table without key as a multiset, told apart exactly',
    EXACTLY,
    async () => {
      const stage = await stageOf(
        engine,
        `CREATE TABLE bare (n INT, f FLOAT, d DOUBLE, s VARCHAR(20), c CHAR(3), e ENUM('a',''),
        m SET('x','y'), b BLOB, j JSON, g GEOMETRY, t TIMESTAMP(6) NULL, p DECIMAL(6,2), i BIT(9))`,
      );
      const whole: Record<string, KnownValue> = {
        ...{ n: '1', f: '0.1', d: '0.1', s: 'Straße', c: 'ab', e: 'a', m: 'x,y' },
        ...{ b: Buffer.from([0, 255]), j: '{"k": [1, 2.5, null]}', i: '100000001', p: '1.50' },
        g: Buffer.from('00000000010100000000000000000000000000000000000440', 'hex'),
        t: '2024-03-31 02:30:00.000001+00',
      };
      const near: readonly Record<string, KnownValue>[] = [
        { n: null },
        { f: '0' },
        { f: '0.10000001' },
        { d: '0.10000000000000002' },
        { d: '0' },
        // MariaDB stores -0 as 0.
        ...(engine === 'mysql' ? [{ f: '-0' }, { d: '-0' }] : []),
        { s: 'straße' },
        { s: 'Straße ' },
        { s: '' },
        { s: null },
        { e: '' },
        { e: null },
        { m: 'y' },
        { m: '' },
        { b: Buffer.from([0]) },
        { b: Buffer.alloc(0) },
        { j: '{"k": [1, 2.5]}' },
        { j: null },
        { g: null },
        { t: '2024-03-31 02:30:00.000002+00' },
        { p: '-1.50' },
        { i: '000000001' },
        Object.fromEntries(Object.keys(whole).map((name) => [name, null])),
      ];
      const images = [whole, ...near.map((change) => ({ ...whole, ...change }))];
      const count = async (): Promise<number> =>
        Number((await stage.rows('SELECT COUNT(*) AS n FROM bare'))[0]?.['n']);
      await stage.apply(bagStep(stage, ...images.map((image) => ['add', image] as const)));
      expect(await count()).toBe(images.length);
      // Each names one row, though most are equal to another but for one column.
      for (const [i, image] of images.entries()) {
        const twice = bagStep(stage, ['remove', image], ['remove', image]);
        await expect(stage.apply(twice), JSON.stringify(near[i - 1])).rejects.toMatchObject({
          code: 'ROW_INCOMPLETE',
          context: { table: `${stage.source}.bare`, detail: '1 of 2; the table has no key' },
        });
      }
      await stage.apply(bagStep(stage, ...images.map((image) => ['remove', image] as const)));
      expect(await count()).toBe(0);
    },
  );

  it('takes as many of equal rows as were removed, and none that only passed', async () => {
    const stage = await stageOf(engine, 'CREATE TABLE bare (n INT, s VARCHAR(9))');
    const row = (n: number) => ({ n: String(n), s: null });
    await stage.client.query('INSERT INTO bare (n) VALUES (1), (1), (1), (2), (2), (3)');
    await stage.apply(
      bagStep(
        stage,
        ...(['remove', 'remove'] as const).map((kind) => [kind, row(1)] as const),
        ['remove', row(2)],
        ['add', row(2)],
        ['add', row(4)],
        ['remove', row(4)],
        ['remove', row(3)],
        ['add', row(5)],
        ['add', row(5)],
      ),
    );
    expect(await stage.rows('SELECT n, s FROM bare ORDER BY n')).toEqual(
      [1, 2, 2, 5, 5].map((n) => ({ n, s: null })),
    );
    // Two of the three that are to go are there: nothing of the batch stays.
    const three = [1, 2, 3].map(() => ['remove', row(5)] as const);
    await expect(stage.apply(bagStep(stage, ['add', row(6)], ...three))).rejects.toMatchObject({
      code: 'ROW_INCOMPLETE',
    });
    await stage.apply(
      bagStep(stage, ['add', row(7)]),
      { kind: 'truncate', table: { schema: stage.source, name: 'bare' } },
      bagStep(stage, ['add', row(8)]),
    );
    expect(await stage.rows('SELECT n FROM bare')).toEqual([{ n: 8 }]);
    await expect(
      stage.apply(bagStep(stage, ['add', { n: 'seven', s: null }])),
    ).rejects.toMatchObject({ code: 'APPLY_FAILED', context: { column: 'n' } });
  });

  it('refuses keys of a table without key, and learns of a table that was changed meanwhile', async () => {
    const stage = await stageOf(engine, 'CREATE TABLE bare (n INT)', ITEM);
    await expect(
      stage.apply({
        kind: 'rows',
        table: { schema: stage.source, name: 'bare' },
        changes: [gone()],
      }),
    ).rejects.toMatchObject({ code: 'KEY_MISSING' });
    await stage.apply(rowsStep(stage, 'item', item(1, 'one', null)));
    await stage.client.query('ALTER TABLE item ADD COLUMN added INT, MODIFY name VARCHAR(80)');
    const wide = put(['id'], {
      id: '1',
      name: 'n'.repeat(60),
      code: null,
      extra: null,
      added: '5',
    });
    await stage.apply(rowsStep(stage, 'item', wide));
    expect(await stage.rows('SELECT name, added FROM item')).toEqual([
      { name: 'n'.repeat(60), added: 5 },
    ]);
  });

  it('ends in the state that the changes say, whatever they are and however they are cut', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE hot (id INT PRIMARY KEY, u INT, UNIQUE KEY (u), v VARCHAR(10))',
    );
    const changes = fc.array(
      fc.record({
        id: fc.integer({ min: 1, max: 6 }),
        u: fc.integer({ min: 1, max: 6 }),
        gone: fc.boolean(),
      }),
      { minLength: 1, maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(changes, { minLength: 1, maxLength: 4 }), async (batches) => {
        await stage.client.query('DELETE FROM hot');
        const model = new Map<number, number>();
        for (const batch of batches) {
          // Production would have refused what leaves two rows with one unique value.
          const net = new Map<number, number | null>();
          for (const change of batch) {
            const next = new Map([...model, ...[...net].map(([id, u]) => [id, u] as const)]);
            next.set(change.id, change.gone ? null : change.u);
            const values = [...next.values()].filter((u) => u !== null);
            if (new Set(values).size === values.length)
              net.set(change.id, change.gone ? null : change.u);
          }
          for (const [id, u] of net) {
            if (u === null) model.delete(id);
            else model.set(id, u);
          }
          await stage.apply(
            rowsStep(
              stage,
              'hot',
              ...[...net].map(([id, u]) =>
                u === null
                  ? gone(String(id))
                  : put(['id'], { id: String(id), u: String(u), v: `v${String(u)}` }),
              ),
            ),
          );
          const rows = await stage.rows('SELECT id, u, v FROM hot ORDER BY id');
          const expected = [...model].sort(([a], [b]) => a - b);
          expect(rows).toEqual(expected.map(([id, u]) => ({ id, u, v: `v${String(u)}` })));
        }
      }),
      { numRuns: 25, interruptAfterTimeLimit: 30_000 },
    );
  });

  it('tells what is applied ahead of the position, and the last transactions', async () => {
    const stage = await stageOf(engine, ITEM);
    const { database, fence } = stage;
    const at = (offset: bigint) => ({
      ...{ offsets: new Map([['p.shop.item/0', offset]]), source: null, eventTimeMs: null },
    });
    const one = rowsStep(stage, 'item', item(1, 'one', null));
    await database.apply(fence, { ...batchOf([one], at(10n)), delivered: ['u:1', 'u:2'] });
    const ahead = [{ topic: 'p.shop.item', partition: 0, first: 11n, next: 12n }];
    const two = rowsStep(stage, 'item', item(2, 'two', null));
    const first = { ...batchOf([two], at(10n)), ahead, unmarked: 3, delivered: ['u:3'] };
    expect(await database.apply(fence, first)).toMatchObject({ rows: 1 });
    const resume = await database.resumePoint();
    expect(resume).toEqual({ position: at(10n), ahead, delivered: ['u:1', 'u:2', 'u:3'] });
    // The answer to its commit was lost: the same again changes nothing.
    expect(await database.apply(fence, first)).toMatchObject({ rows: 0 });
    expect(await database.resumePoint()).toEqual(resume);
    expect((await database.progress()).unmarked).toBe(3);
    await database.apply(fence, batchOf([one], at(11n)));
    expect((await database.resumePoint()).ahead).toEqual(ahead);
    const ids = Array.from({ length: REMEMBERED_IDS }, (_, n) => `u:${n}`);
    await database.apply(fence, { ...batchOf([one], at(12n)), delivered: ids });
    await database.apply(fence, { ...batchOf([one], at(13n)), delivered: ['new'] });
    expect(await database.resumePoint()).toEqual({
      ...{ position: at(13n), ahead: [], delivered: [...ids, 'new'] },
    });
  });

  it('saves the position with the rows, and refuses to go back', async () => {
    const stage = await stageOf(engine, ITEM);
    const at = (offset: bigint) => ({
      offsets: new Map([['p.shop.item/0', offset]]),
      source: { connector: engine, file: 'binlog.000001', pos: 2n ** 60n, row: 1, gtid: 'u:1-7' },
      eventTimeMs: 1_700_000_000_123,
    });
    const step = rowsStep(stage, 'item', item(1, 'one', null));
    const batch = { ...batchOf([step], at(9_007_199_254_740_993n)), unmarked: 2 };
    await stage.database.apply(stage.fence, batch);
    await stage.database.apply(stage.fence, batch);
    expect(await stage.database.progress()).toMatchObject({
      position: at(9_007_199_254_740_993n),
      unmarked: 2,
    });
    const back = batchOf([rowsStep(stage, 'item', item(2, 'two', null))], at(5n));
    await expect(stage.database.apply(stage.fence, back)).rejects.toMatchObject({
      code: 'APPLY_FAILED',
    });
    expect(await stage.rows('SELECT id FROM item')).toEqual([{ id: 1 }]);
  });
});

/** Changes of the table `bare`. */
function bagStep(
  stage: Stage,
  ...changes: readonly (readonly ['add' | 'remove', Readonly<Record<string, KnownValue>>])[]
): BatchStep {
  return {
    kind: 'bag',
    table: { schema: stage.source, name: 'bare' },
    changes: changes.map(([kind, image]) => ({
      kind,
      image: { shape: new RowShape(Object.keys(image)), values: Object.values(image) },
    })),
  };
}

function hex(text: string): string {
  return Buffer.from(text).toString('hex').toUpperCase();
}
