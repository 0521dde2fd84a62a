/** New rows go straight into their table, where nothing of theirs is there; else the long way. */
import { describe, expect, it } from 'vitest';
import type { ColumnValue } from '../../src/change/value.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import {
  applier,
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

function fresh(
  image: Readonly<Record<string, ColumnValue>>,
  key: readonly string[] = ['id'],
): NetChange {
  return { ...put(key, image), complete: true, fresh: true } as NetChange;
}

/** Only the long way makes staging tables; they live as long as the session. */
async function wentShort(): Promise<boolean> {
  const { rows: found } = await applier.query(
    'SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = $1',
    ['r'],
  );
  return found.length === 0;
}

async function begin(ddl: string, overlay = false): Promise<void> {
  await applier.query('DISCARD TEMPORARY');
  await tables(ddl, overlay);
}

const ITEM = `CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE, n numeric DEFAULT 7,
  twice int GENERATED ALWAYS AS (id * 2) STORED, body bytea, tags text[])`;

const item = (
  id: number,
  code: string | null,
  n = '1.50',
): Readonly<Record<string, ColumnValue>> => ({
  ...{
    id: String(id),
    code,
    n,
    body: Buffer.from([0, 9, 10, 92, 255]),
    tags: ['a\tb', null, '\\N'],
  },
});

describe('new rows', () => {
  it('are copied into their table, each value as it is', async () => {
    await begin(ITEM);
    const strange = ['tab\tnew\nline\rback\\slash', '\\N', '\\.', '', 'ä€😀'];
    const outcome = await apply(
      rows('item', ...strange.map((code, i) => fresh(item(i, code))), fresh(item(9, null))),
    );
    expect(outcome).toMatchObject({ rows: 6, owned: 0 });
    expect(await content('SELECT id, code, n, twice, body, tags FROM item ORDER BY id')).toEqual(
      [...strange, null].map((code, i) => {
        const id = code === null ? 9 : i;
        const { body, tags } = item(id, code);
        return [id, code, '1.50', id * 2, body, tags];
      }),
    );
    expect(await wentShort()).toBe(true);
  });

  it('go into the partitions, and keep identities that production gave', async () => {
    await begin(`CREATE TABLE part (id int GENERATED ALWAYS AS IDENTITY, day int, PRIMARY KEY (day, id))
        PARTITION BY RANGE (day);
      CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
      CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20);`);
    await apply(
      rows(
        'part',
        fresh({ id: '77', day: '1' }, ['day', 'id']),
        fresh({ day: '11', id: '5' }, ['day', 'id']),
      ),
    );
    expect(await content('SELECT tableoid::regclass::text, id FROM part ORDER BY id DESC')).toEqual(
      [
        ['part_1', 77],
        ['part_2', 5],
      ],
    );
    expect(await wentShort()).toBe(true);
  });

  it('that are there already are written over, with all beside them', async () => {
    await begin(`${ITEM}; INSERT INTO item (id, code) VALUES (2, 'old')`);
    await apply(rows('item', ...[1, 2, 3].map((id) => fresh(item(id, `c${id}`)))));
    expect(await content('SELECT id, code FROM item ORDER BY id')).toEqual([
      [1, 'c1'],
      [2, 'c2'],
      [3, 'c3'],
    ]);
    expect(await wentShort()).toBe(false);
  });

  it('take a unique value from a row that goes or changes in the same batch', async () => {
    await begin(`${ITEM}; INSERT INTO item (id, code) VALUES (1, 'a'), (2, 'b')`);
    await apply(
      rows('item', fresh(item(3, 'a')), fresh(item(4, 'b')), gone('1'), put(['id'], item(2, 'c'))),
    );
    expect(await content('SELECT id, code FROM item ORDER BY id')).toEqual([
      [2, 'c'],
      [3, 'a'],
      [4, 'b'],
    ]);
  });

  it('of one key to the database alone are one row', async () => {
    await begin(`CREATE TABLE word (w text COLLATE "C" PRIMARY KEY, n int);
      CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      ALTER TABLE word ALTER w TYPE text COLLATE folded`);
    const word = (w: string, n: string): NetChange => fresh({ w, n }, ['w']);
    await apply(rows('word', word('Äpfel', '1'), word('ÄPFEL', '2')));
    expect(await content('SELECT count(*)::int, max(n) FROM word')).toEqual([[1, 2]]);
  });

  it('are refused with table and key by a constraint that the shadow has', async () => {
    await begin(`${ITEM}; ALTER TABLE item ADD CHECK (n < 5)`);
    const refused = apply(rows('item', fresh(item(1, 'a')), fresh(item(2, 'b', '6'))));
    await expect(refused).rejects.toMatchObject({
      code: 'APPLY_FAILED',
      context: { table: 'shop.item' },
    });
    await expect(apply(rows('item', fresh({ ...item(1, 'a'), n: 'x' })))).rejects.toMatchObject({
      context: { key: 'id=1', column: 'n' },
    });
    expect(await content('SELECT count(*)::int FROM item')).toEqual([[0]]);
  });
});

describe('the long way is taken', () => {
  it('where a column is not sent, which has the default', async () => {
    await begin(ITEM);
    await apply(rows('item', { ...create({ id: '1', code: 'a' }), fresh: true } as NetChange));
    expect(await content('SELECT n FROM item')).toEqual([['7']]);
    expect(await wentShort()).toBe(false);
  });

  it('where a session in replica role checks nothing', async () => {
    await begin(`CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, code text);
      INSERT INTO late VALUES (1, 'old');
      CREATE TABLE seat (id int PRIMARY KEY, code text UNIQUE DEFERRABLE)`);
    await apply(rows('late', fresh({ id: '1', code: 'new' })));
    await apply(rows('seat', fresh({ id: '1', code: 'a' })));
    expect(await content('SELECT * FROM late')).toEqual([[1, 'new']]);
    expect(await wentShort()).toBe(false);
  });

  it('in a rollout, where the candidate may have deleted the row', async () => {
    await begin(`${ITEM}; INSERT INTO item (id, code) VALUES (1, 'a')`, true);
    await user.query('DELETE FROM item');
    const outcome = await apply(rows('item', fresh(item(1, 'again'))));
    expect(outcome).toMatchObject({ owned: 1 });
    expect(await content('SELECT * FROM item')).toEqual([]);
    expect(await content('SELECT code FROM shop__production.item')).toEqual([['again']]);
  });

  it('for some batches, after rows that were there already', async () => {
    await begin(`${ITEM}; INSERT INTO item (id) VALUES (1)`);
    const { FreshTables } = await import('../../src/dialect/postgres/apply/copy-fresh.ts');
    const table = { label: 'shop.item' } as Parameters<
      InstanceType<typeof FreshTables>['mayCopy']
    >[0];
    const known = new FreshTables();
    const passed = (): number => {
      let batches = 0;
      while (!known.mayCopy(table)) batches += 1;
      return batches;
    };
    const seen = Array.from({ length: 8 }, () => {
      known.tried(table, false);
      return passed();
    });
    expect(seen).toEqual([2, 4, 8, 16, 32, 64, 64, 64]);
    known.tried(table, true);
    known.tried(table, false);
    expect(passed()).toBe(2);
  });
});
