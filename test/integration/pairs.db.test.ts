/** Rows that both sides made of the same thing, under keys of their own: paired, and compared through pairs. */
import { describe, expect, it } from 'vitest';
import type { TableId } from '../../src/change/table-id.ts';
import type { PairRule } from '../../src/overlay/pairing.ts';
import { waitingOf } from '../../src/dialect/waiting.ts';
import { gone, put } from './mysql.fixture.ts';
import { ALL_ENGINES, ruledRollout, type AnyRollout } from './rollout.fixture.ts';

const DDL = [
  'CREATE TABLE customer (id INT PRIMARY KEY, email VARCHAR(40) UNIQUE, name VARCHAR(40))',
  `CREATE TABLE bill (id INT PRIMARY KEY, customer_id INT, no VARCHAR(9), total INT,
    CONSTRAINT bill_customer FOREIGN KEY (customer_id) REFERENCES customer (id))`,
  `CREATE TABLE line (bill_id INT, no INT, what VARCHAR(9), PRIMARY KEY (bill_id, no),
    CONSTRAINT line_bill FOREIGN KEY (bill_id) REFERENCES bill (id))`,
  `CREATE TABLE note (id INT PRIMARY KEY, customer_id INT, txt VARCHAR(9),
    CONSTRAINT note_customer FOREIGN KEY (customer_id) REFERENCES customer (id))`,
];

const RULES: Readonly<Record<string, readonly string[]>> = {
  customer: ['email'],
  bill: ['customer_id', 'no'],
  line: ['bill_id', 'no'],
};

const rules = {
  pairsOn: ({ name }: TableId): PairRule | null => {
    const columns = RULES[name];
    return columns === undefined ? null : { columns, isExact: true };
  },
};

describe.each(ALL_ENGINES)('pairs on %s', (engine) => {
  const scene = async (): Promise<AnyRollout> => {
    const at = await ruledRollout(engine, rules, ...DDL);
    await at.apply(
      at.step('customer', put(['id'], { id: '1', email: 'old@x', name: 'Old' })),
      at.step('note', put(['id'], { id: '1', customer_id: '1', txt: 'hi' })),
    );
    return at;
  };
  const customer = (id: number, email: string, name: string) =>
    put(['id'], { id: String(id), email, name });
  const bill = (id: number, of: number, no: string, total: number) =>
    put(['id'], { id: String(id), customer_id: String(of), no, total: String(total) });
  const line = (of: number, no: number, what: string) =>
    put(['bill_id', 'no'], { bill_id: String(of), no: String(no), what });
  /** What is not zero, but how many rows there are. */
  const counts = async (at: AnyRollout): Promise<Record<string, Record<string, unknown>>> =>
    Object.fromEntries(
      (await at.database.overlayCounts())
        .filter(({ table }) => table.name !== 'item')
        .map((count) => [
          count.table.name,
          Object.fromEntries(
            Object.entries(count).filter(
              ([name, n]) => name !== 'table' && name !== 'rows' && n !== 0,
            ),
          ),
        ]),
    );
  const listed = async (at: AnyRollout): Promise<readonly string[]> =>
    (await at.database.overlayRows(99)).map(({ table, kind, key, pairedWith, columns }) =>
      [
        ...[table.name, kind, key.join('.'), pairedWith === undefined ? '' : pairedWith.join('.')],
        kind === 'insert' ? '' : columns.map(({ column }) => column).join(),
      ].join(' '),
    );

  it('are told by their business key, also where it leads through other pairs', async () => {
    const at = await scene();
    // Some requests, as the candidate answered them, and then as production did.
    await at.run(`INSERT INTO customer VALUES (1000, 'a@x', 'Ann'), (1001, 'b@x', 'Bob')`);
    await at.run(
      `INSERT INTO bill VALUES (2000, 1000, 'B1', 5), (2001, 1000, 'B2', 6), (2002, 1, 'B3', 7)`,
    );
    await at.run(`INSERT INTO line VALUES (2000, 1, 'x'), (2000, 2, 'y'), (2001, 1, 'z')`);
    await at.run('UPDATE note SET customer_id = 1000');
    expect(await counts(at)).toEqual({
      ...{ customer: { inserted: 2 }, bill: { inserted: 3 }, line: { inserted: 3 } },
      note: { updated: 1 },
    });
    await at.apply(
      at.step('customer', customer(7, 'a@x', 'Ann'), customer(8, 'c@x', 'Cy')),
      at.step('bill', bill(20, 7, 'B1', 5), bill(21, 7, 'B2', 9), bill(22, 1, 'B3', 7)),
      at.step('line', line(20, 1, 'x'), line(20, 2, 'other'), line(21, 1, 'z')),
      at.step('note', put(['id'], { id: '1', customer_id: '7', txt: 'hi' })),
    );
    expect(await counts(at)).toEqual({
      customer: { inserted: 1, paired: 1 },
      bill: { paired: 2, pairs: 1 },
      line: { paired: 2, pairs: 1 },
      note: { paired: 1 },
    });
    expect(await listed(at)).toEqual([
      ...['bill pair 2001 21 total', 'customer insert 1001  ', 'line pair 2000.2 20.2 what'],
    ]);
    expect(
      (await at.database.overlayPairs(9))
        .map(({ table, candidate, production }) =>
          [table.name, candidate.join('.'), production.join('.')].join(' '),
        )
        .sort(),
    ).toEqual([
      ...['bill 2000 20', 'bill 2001 21', 'bill 2002 22', 'customer 1000 7'],
      ...['line 2000.1 20.1', 'line 2000.2 20.2', 'line 2001.1 21.1'],
    ]);
    const [row] = await at.database.overlayRows(9, { table: { schema: at.source, name: 'bill' } });
    expect(row?.columns).toEqual([{ column: 'total', production: '9', candidate: '6' }]);
  });

  it('are no conflicts, and what refers to them is no orphan; without a rule all are', async () => {
    const at = await scene();
    await at.run(`INSERT INTO customer VALUES (1000, 'a@x', 'Ann')`);
    await at.apply(
      at.step('customer', customer(7, 'a@x', 'Anne')),
      at.step('note', put(['id'], { id: '2', customer_id: '7', txt: 'yo' })),
    );
    expect(await at.database.overlayConflicts(9)).toEqual([]);
    expect(await listed(at)).toEqual(['customer pair 1000 7 name']);
    // Named, it is told of, and decided.
    const named = { table: { schema: at.source, name: 'customer' }, key: ['7'] };
    expect(await at.database.overlayConflicts(9, named)).toMatchObject([
      { kind: 'multiple_unique', key: ['7'] },
    ]);
    expect(await at.database.resolveOverlay(at.fence, {}, 'theirs')).toMatchObject({ resolved: 0 });
    expect(await at.rows('SELECT id FROM customer ORDER BY id')).toEqual([[1], [1000]]);
    expect(await at.database.resolveOverlay(at.fence, named, 'theirs')).toMatchObject({
      resolved: 1,
    });
    expect(await at.rows('SELECT id, name FROM customer ORDER BY id')).toEqual([
      [1, 'Old'],
      [7, 'Anne'],
    ]);
    expect(await listed(at)).toEqual([]);
  });

  it('are pairs for as long as their columns say so, and each is the only one for the other', async () => {
    const at = await scene();
    await at.run(
      `INSERT INTO bill VALUES (2000, 1, 'B1', 5), (2001, 1, 'B1', 6), (2002, NULL, 'B9', 7)`,
    );
    await at.apply(
      at.step(
        'bill',
        bill(20, 1, 'B1', 5),
        put(['id'], { id: '21', customer_id: null, no: 'B9', total: '7' }),
      ),
    );
    // Two for one; and NULL is the same as nothing.
    expect(await counts(at)).toMatchObject({ bill: { inserted: 3 } });
    await at.run('DELETE FROM bill WHERE id = 2001');
    expect(await listed(at)).toEqual(['bill insert 2002  ']);
    // Both are to be seen, and the candidate changes production's: that is another difference.
    await at.run('UPDATE bill SET total = 50 WHERE id = 20');
    expect(await listed(at)).toEqual(['bill insert 2002  ', 'bill update 20  total']);
    await at.apply(at.step('bill', bill(20, 1, 'B7', 5)));
    expect(await listed(at)).toEqual([
      ...['bill insert 2000  ', 'bill insert 2002  ', 'bill update 20  no,total'],
    ]);
    await at.run(`UPDATE bill SET no = 'B7' WHERE id = 2000`);
    expect(await counts(at)).toMatchObject({ bill: { paired: 1, inserted: 1, updated: 1 } });
    await at.apply(at.step('bill', gone('20')));
    expect(await counts(at)).toMatchObject({ bill: { inserted: 3 } });
  });

  it('hide no conflict of a row that the candidate sees', async () => {
    const at = await scene();
    await at.run(`INSERT INTO bill VALUES (2000, 1, 'B1', 5)`);
    await at.apply(at.step('bill', bill(20, 1, 'B1', 5)));
    await at.run('UPDATE bill SET total = 50 WHERE id = 20');
    await at.apply(at.step('bill', bill(20, 1, 'B1', 6)));
    expect(await at.database.overlayConflicts(9)).toMatchObject([
      { kind: 'update_differs', key: ['20'] },
    ]);
    expect(await at.database.resolveOverlay(at.fence, {}, 'ours')).toMatchObject({ resolved: 1 });
  });

  it('are none with a row of production’s that waits to be written', async () => {
    const at = await scene();
    await at.apply(at.step('bill', bill(20, 1, 'B1', 5)));
    await at.run(`INSERT INTO bill VALUES (2000, 1, 'B1', 5)`);
    expect(await counts(at)).toMatchObject({ bill: { paired: 1 } });
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate('SELECT * FROM bill WHERE id = 20 FOR UPDATE');
    // What is locked is waited for, at first.
    await expect
      .poll(
        () =>
          at.apply(at.step('bill', bill(20, 1, 'B1', 999))).then(
            () => 'applied',
            () => 'blocked',
          ),
        { timeout: 20_000 },
      )
      .toBe('applied');
    expect(await at.production('bill', 'id, total')).toEqual([[20, 999]]);
    expect(await listed(at)).toEqual(['bill insert 2000  ']);
    await candidate('COMMIT');
    await waitingOf(at.database)?.write(at.fence);
    expect(await listed(at)).toEqual(['bill pair 2000 20 total']);
  });

  it('are found in time where there are many', async () => {
    const at = await scene();
    // MariaDB goes through the pairs for each row that it asks of.
    const many = engine === 'mariadb' ? 500 : 3_000;
    const numbers = Array.from({ length: many }, (_, i) => i + 1);
    const values = numbers.map((n) => `(${String(10_000 + n)}, 1, 'N${String(n)}', 5)`);
    await at.run(`INSERT INTO bill VALUES ${values.join(', ')}`);
    await at.apply(at.step('bill', ...numbers.map((n) => bill(100 + n, 1, `N${String(n)}`, 5))));
    const begun = performance.now();
    expect(await counts(at)).toMatchObject({ bill: { paired: many } });
    expect(await listed(at)).toEqual([]);
    expect(performance.now() - begun).toBeLessThan(20_000);
  });

  it('are not made of production’s row that the candidate deleted', async () => {
    const at = await scene();
    await at.apply(at.step('bill', bill(20, 1, 'B1', 5)));
    await at.run('DELETE FROM bill WHERE id = 20');
    await at.run(`INSERT INTO bill VALUES (2000, 1, 'B1', 5)`);
    expect(await listed(at)).toEqual([
      'bill delete 20  id,customer_id,no,total',
      'bill insert 2000  ',
    ]);
  });

  it('need columns that there are, by production’s names', async () => {
    let isExact = true;
    const pairsOn = (): PairRule => ({ columns: ['email', 'phone'], isExact });
    const at = await ruledRollout(engine, { pairsOn }, DDL[0] ?? '');
    await expect(at.database.overlayCounts()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      context: { column: 'phone' },
    });
    isExact = false;
    await at.run(`INSERT INTO customer VALUES (1000, 'a@x', 'Ann')`);
    expect(await listed(at)).toEqual(['customer insert 1000  ']);
    const other = await ruledRollout(engine, rules, DDL[0] ?? '');
    const { migrations } = other.database;
    const of = { table: { schema: other.source, name: 'customer' } };
    const { url } = await migrations.begin(other.fence, {
      ...{ role: other.role, renames: [{ ...of, from: 'email', to: 'mail' }] },
    });
    await other.as(
      url,
      engine === 'postgresql'
        ? 'ALTER TABLE customer RENAME COLUMN email TO mail'
        : 'ALTER TABLE customer CHANGE email mail VARCHAR(40)',
    );
    await migrations.end(other.fence);
    await other.run(`INSERT INTO customer VALUES (1000, 'a@x', 'Ann')`);
    await other.apply(other.step('customer', customer(7, 'a@x', 'Anne')));
    expect(await listed(other)).toEqual(['customer pair 1000 7 name']);
  });
});
