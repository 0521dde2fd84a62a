import { expect, it } from 'vitest';
import { dialectFor } from '../../../src/dialect/registry.ts';
import { newerTxId } from '../../../src/dialect/postgres/production/transaction-id.ts';
import { ServerAddress } from '../../../src/dialect/postgres/session/session.ts';

it('finds a dialect by the scheme of the URL, and repeats no URL in its errors', () => {
  expect(dialectFor('postgres://u:hunter2@h/d').engine).toBe('postgresql');
  expect(dialectFor('postgresql://h/d').engine).toBe('postgresql');
  expect(dialectFor('mysql://h/d').engine).toBe('mysql');
  expect(dialectFor('mariadb://h/d').engine).toBe('mariadb');
  for (const [url, code] of [
    ['oracle://u:hunter2@h/d', 'UNSUPPORTED'],
    ['hunter2', 'CONFIG_INVALID'],
  ] as const) {
    const attempt = (): unknown => dialectFor(url);
    expect(attempt).toThrow(expect.objectContaining({ code }) as Error);
    expect(attempt).not.toThrow(/hunter2/);
  }
});

it('keeps the options of an address and tells it without credentials', () => {
  const address = new ServerAddress('postgres://me:p%40ss@db.example/postgres?sslmode=require');
  expect(address.describe('shop')).toBe('db.example:5432/shop');
  expect(`${String(address)} ${JSON.stringify({ address })}`).not.toMatch(/ss@|p%40ss/);
  expect(address.urlFor('my shop', 'understudy:my shop:read')).toBe(
    'postgres://me:p%40ss@db.example/my%20shop?sslmode=require&application_name=understudy%3Amy+shop%3Aread',
  );
  expect(address.candidateUrl('shop_next', 'shop_next', 'a/b')).toBe(
    'postgres://shop_next:a%2Fb@db.example/shop_next?sslmode=require',
  );
});

it('orders transaction ids past the turn of the counter', () => {
  expect(newerTxId(5n, 9n)).toBe(9n);
  expect(newerTxId(9n, 5n)).toBe(9n);
  expect(newerTxId(4_294_967_290n, 3n)).toBe(3n);
  expect(newerTxId(3n, 4_294_967_290n)).toBe(3n);
});
