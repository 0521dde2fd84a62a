import { expect, it } from 'vitest';
import {
  moveCode,
  moveDefinition,
  namesIn,
} from '../../../../src/dialect/mysql/schema/moved-names.ts';

const MOVE = { from: 'shop', to: 'shop_next' };
const code = (sql: string, mode = ''): string | null => moveCode(sql, mode, MOVE);

it('moves what qualifies a name, however it is written', () => {
  expect(code('SELECT * FROM shop.orders JOIN `shop` . `items`')).toBe(
    'SELECT * FROM `shop_next`.orders JOIN `shop_next` . `items`',
  );
  expect(code('SELECT "shop".t', 'REAL_AS_FLOAT,ANSI_QUOTES')).toBe('SELECT `shop_next`.t');
  expect(code(`CALL shop /* ours */ .sweep()`)).toBe('CALL `shop_next` /* ours */ .sweep()');
});

it('leaves what is no name: texts, comments, parts of words', () => {
  for (const sql of [
    `INSERT INTO log VALUES ('shop.orders', "shop.x")`,
    `SELECT 1 -- shop.orders\n + 2 # shop.x\n /* shop.y */`,
    'SELECT * FROM workshop.t, shops.t, my_shop.t, shop$.t',
    `SELECT 'it''s \\' shop.x'`,
  ]) {
    expect(code(sql)).toBe(sql);
  }
});

it('reads a backslash as the mode does under which the text was written', () => {
  const sql = `SELECT '\\', shop.f('x')`;
  expect(code(sql, 'NO_BACKSLASH_ESCAPES')).toBe(`SELECT '\\', \`shop_next\`.f('x')`);
});

it('refuses where the name may stand for something else, if it qualifies anything', () => {
  expect(code('SELECT shop.id FROM shop.orders AS shop')).toBeNull();
  expect(code('SELECT shop.orders.id FROM x.shop')).toBeNull();
  expect(code('SELECT id FROM SHOP.orders')).toBeNull();
  // Alone it can be no database.
  expect(code('SELECT id FROM shop AS orders')).toBe('SELECT id FROM shop AS orders');
});

it('refuses what may be run as a text', () => {
  expect(code(`SET @s = 'DELETE FROM shop.orders'; PREPARE p FROM @s`)).toBeNull();
  expect(code(`EXECUTE IMMEDIATE 'DELETE FROM \`shop\`.orders'`)).toBeNull();
  expect(code(`/*!50000 DELETE FROM shop.orders */`)).toBeNull();
  expect(code(`SELECT 1 FROM information_schema.tables WHERE table_schema = 'shop'`)).toBeNull();
  expect(code(`PREPARE p FROM 'SELECT 1 FROM workshop.t'`)).not.toBeNull();
});

it('moves definitions as the server prints them, also of a table called like its database', () => {
  expect(moveDefinition('select `shop`.`shop`.`id` AS `id` from `shop`.`shop`', MOVE)).toBe(
    'select `shop_next`.`shop`.`id` AS `id` from `shop_next`.`shop`',
  );
  expect(moveDefinition("select 'shop' AS `a` from `shop`.`t`", MOVE)).toBe(
    "select 'shop' AS `a` from `shop_next`.`t`",
  );
  expect(moveDefinition('select `shop`.`id` AS `id` from `shop`.`t` `shop`', MOVE)).toBeNull();
});

it('tells what a text calls: functions, procedures with or without parentheses', () => {
  const read = namesIn(
    'BEGIN CALL tidy; call shop.sweep(total(1)); INSERT INTO log (a) VALUES (`shop`.`top`()); END',
    '',
    'shop',
  );
  expect([...(read?.procedures ?? [])]).toEqual(['tidy', 'sweep']);
  expect([...(read?.called ?? [])]).toEqual(['total', 'log', 'values', 'top']);
});
