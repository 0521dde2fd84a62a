import { expect, it } from 'vitest';
import { safeOrder, type LinkedTable, type RowMove } from '../../../src/report/patch-order.ts';

const KEY = { name: 'PRIMARY', columns: ['id'], primary: true, deferrable: false, plain: true };

/** `refers`: columns by the table they refer to. `unique`: sets of columns. */
const table = (
  name: string,
  refers: readonly (readonly [columns: string, to: string])[] = [],
  unique: readonly string[] = [],
): readonly [string, LinkedTable] => [
  `s.${name}`,
  {
    id: { schema: 's', name },
    uniques: [
      KEY,
      ...unique.map((columns) => ({
        ...{ ...KEY, name: columns, columns: columns.split(' ') },
        primary: false,
      })),
    ],
    foreignKeys: refers.map(([columns, to]) => ({
      ...{ name: columns, columns: columns.split(' '), references: { schema: 's', name: to } },
      referencedColumns: columns.includes(' ') ? ['tenant', 'id'] : ['id'],
    })),
  },
];

type Told = Readonly<Record<string, string | null>>;

interface Named extends RowMove {
  readonly name: string;
}

const move = (name: string, of: string, before: Told | null, after: Told | null): Named => {
  const values = (told: Told | null): RowMove['after'] =>
    told === null ? null : new Map(Object.entries(told));
  return { ...{ name, table: `s.${of}` }, before: values(before), after: values(after) };
};

const order = (
  tables: readonly (readonly [string, LinkedTable])[],
  ...rows: readonly Named[]
): string =>
  safeOrder(rows, new Map(tables))
    .map(({ name }) => name)
    .join(' ');

const SHOP = [table('customer', [], ['email']), table('an_order', [['customer', 'customer']])];

it('moves rows away from one before it goes, and to one after it came', () => {
  expect(
    order(
      SHOP,
      move('gone', 'customer', { id: '1', email: 'a' }, null),
      move('moved', 'an_order', { id: '1', customer: '1' }, { id: '1', customer: '2' }),
      move('out', 'an_order', { id: '2', customer: '1' }, null),
      move('come', 'customer', null, { id: '2', email: 'b' }),
    ),
  ).toBe('come moved out gone');
});

it('deletes first only whose value is taken, with what refers to it', () => {
  expect(
    order(
      SHOP,
      move('other', 'customer', { id: '7', email: 'z' }, null),
      move('out', 'an_order', { id: '2', customer: '1' }, null),
      move('moved', 'an_order', { id: '1', customer: '1' }, { id: '1', customer: '3' }),
      move('gone', 'customer', { id: '1', email: 'A' }, null),
      // As a collation may have it, it is the same.
      move('come', 'customer', null, { id: '2', email: 'á ' }),
      move('rest', 'customer', null, { id: '4', email: null }),
    ),
  ).toBe('moved out gone come rest other');
});

it('takes a value from a row that changes after that did', () => {
  expect(
    order(
      SHOP,
      move('third', 'customer', { id: '3', email: 'c' }, { id: '3', email: 'b' }),
      move('second', 'customer', { id: '2', email: 'b' }, { id: '2', email: 'a' }),
      move('first', 'customer', { id: '1', email: 'a' }, { id: '1', email: 'd' }),
    ),
  ).toBe('first second third');
});

it('leaves what goes after all that refers to it, where rows wait for each other in a circle', () => {
  expect(
    order(
      SHOP,
      move('moved', 'an_order', { id: '1', customer: '1' }, { id: '1', customer: '2' }),
      move('gone', 'customer', { id: '1', email: 'a' }, null),
      move('come', 'customer', null, { id: '2', email: 'a' }),
    ),
  ).toBe('come moved gone');
  // Of an exchange, all is there, and the servers refuse it.
  expect(
    order(
      SHOP,
      move('one', 'customer', { id: '1', email: 'a' }, { id: '1', email: 'b' }),
      move('two', 'customer', { id: '2', email: 'b' }, { id: '2', email: 'a' }),
    ),
  ).toBe('one two');
});

it('orders rows of one table, and of tables in a circle, by rows', () => {
  const node = [table('node', [['up', 'node']])];
  expect(
    order(
      node,
      move('c', 'node', null, { id: '3', up: '2' }),
      move('b', 'node', null, { id: '2', up: '1' }),
      move('a', 'node', null, { id: '1', up: '1' }),
      move('x', 'node', { id: '7', up: null }, null),
      move('y', 'node', { id: '8', up: '7' }, null),
      move('z', 'node', { id: '9', up: '8' }, { id: '9', up: '3' }),
    ),
  ).toBe('a b c z y x');
  const circle = [table('a', [['b', 'b']]), table('b', [['a', 'a']])];
  expect(
    order(
      circle,
      move('b1', 'b', null, { id: '1', a: '1' }),
      move('a2', 'a', null, { id: '2', b: '1' }),
      move('b2', 'b', null, { id: '2', a: '2' }),
      move('a1', 'a', null, { id: '1', b: null }),
    ),
  ).toBe('a1 b1 a2 b2');
});

it('compares keys of several columns whole, also those that stay as they are', () => {
  const tables = [
    table('customer', [], ['tenant id']),
    table('an_order', [['tenant customer', 'customer']]),
  ];
  expect(
    order(
      tables,
      move('gone', 'customer', { id: '1', tenant: 't' }, null),
      move('alike', 'customer', { id: '1', tenant: 'u' }, null),
      move(
        'moved',
        'an_order',
        { id: '1', tenant: 't', customer: '1' },
        { id: '1', tenant: 't', customer: '2' },
      ),
    ),
  ).toBe('moved gone alike');
});

it('changes a value before the rows that follow it, and after those that leave it', () => {
  const tables = [
    table('coin', [], ['code']),
    [
      's.price',
      {
        ...table('price')[1],
        foreignKeys: [
          {
            ...{ name: 'c', columns: ['coin'], references: { schema: 's', name: 'coin' } },
            referencedColumns: ['code'],
          },
        ],
      },
    ] as const,
  ];
  expect(
    order(
      tables,
      move('follows', 'price', { id: '1', coin: 'A' }, { id: '1', coin: 'B' }),
      move('leaves', 'price', { id: '2', coin: 'A' }, { id: '2', coin: null }),
      move('coin', 'coin', { id: '1', code: 'A' }, { id: '1', code: 'B' }),
    ),
  ).toBe('leaves coin follows');
});

it('takes a chain that is as long as the list', () => {
  const count = 50_000;
  const rows = Array.from({ length: count }, (_, i) =>
    move(String(i), 'node', null, { id: String(i), up: String(i + 1) }),
  );
  const found = safeOrder(rows, new Map([table('node', [['up', 'node']])]));
  expect(found.map(({ name }) => Number(name))).toEqual(rows.map((_, i) => count - 1 - i));
});
