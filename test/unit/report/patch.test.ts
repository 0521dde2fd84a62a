import { expect, it } from 'vitest';
import { postgres } from '../../../src/dialect/postgres/index.ts';
import { mysql } from '../../../src/dialect/mysql/index.ts';
import { patchStatements, type PatchRow } from '../../../src/report/patch.ts';
import type { ColumnSchema, TableSchema } from '../../../src/schema/table-schema.ts';

const column = (name: string, sql: string, kind: ColumnSchema['type']['kind']): ColumnSchema => ({
  ...{ name, type: { sql, kind }, nullable: true, generated: 'no', identity: 'no' },
  toastable: false,
});

const table = (name: string, parent: string | null): TableSchema => ({
  id: { schema: 's', name },
  ...{ key: ['id'], uniques: [], partitioned: false },
  columns: [column('id', 'integer', 'int32'), column('x"y', 'text', 'text')],
  foreignKeys:
    parent === null
      ? []
      : [
          {
            ...{ name: 'f', columns: ['x'], referencedColumns: ['id'] },
            references: { schema: 's', name: parent },
          },
        ],
});

const tables = new Map([
  ['s.a_child', table('a_child', 'parent')],
  ['s.parent', table('parent', null)],
]);

const row = (of: string, id: string, sides: [string | null, string | null]): PatchRow => {
  const [production, candidate] = sides;
  const isThere = { production: production !== null, candidate: candidate !== null };
  const one = { column: 'x"y', production, candidate };
  const key = {
    ...{ column: 'id', production: isThere.production ? id : null },
    candidate: isThere.candidate ? id : null,
  };
  const columns = isThere.production && isThere.candidate ? [one] : [key, one];
  return { table: of, key: [id], productionKey: [id], columns, ...isThere };
};

const ROWS = [
  row('s.a_child', '1', [null, `it's`]),
  row('s.a_child', '2', ['gone', null]),
  row('s.parent', '3', [null, 'new']),
  row('s.parent', '4', ['gone', null]),
  row('s.parent', '5', ['theirs', 'ours']),
];

/** Without what a list begins and ends with. */
const statementsOf = (...args: Parameters<typeof patchStatements>): readonly string[] => {
  const { before, after } = args[2].writer;
  const all = patchStatements(...args);
  expect(all.slice(0, before.length)).toEqual(before);
  expect(all.slice(-after.length)).toEqual(after);
  return all.slice(before.length, -after.length);
};

it('inserts and updates parents first, then deletes children first, as each engine writes it', () => {
  expect(statementsOf(ROWS, tables, { towards: 'candidate', writer: postgres.sql })).toEqual([
    `UPDATE "s"."parent" SET "x""y" = 'ours'::text WHERE "id" = '5'::integer;`,
    `INSERT INTO "s"."parent" ("id", "x""y") OVERRIDING SYSTEM VALUE VALUES ('3'::integer, 'new'::text);`,
    `INSERT INTO "s"."a_child" ("id", "x""y") OVERRIDING SYSTEM VALUE VALUES ('1'::integer, 'it''s'::text);`,
    `DELETE FROM "s"."a_child" WHERE "id" = '2'::integer;`,
    `DELETE FROM "s"."parent" WHERE "id" = '4'::integer;`,
  ]);
  expect(statementsOf(ROWS, tables, { towards: 'production', writer: mysql.sql })).toEqual([
    "UPDATE `parent` SET `x\"y` = 'theirs' WHERE `id` = 5;",
    "INSERT INTO `parent` (`id`, `x\"y`) VALUES (4, 'gone');",
    "INSERT INTO `a_child` (`id`, `x\"y`) VALUES (2, 'gone');",
    'DELETE FROM `a_child` WHERE `id` = 1;',
    'DELETE FROM `parent` WHERE `id` = 3;',
  ]);
  expect(patchStatements([], tables, { towards: 'candidate', writer: mysql.sql })).toEqual([]);
});

it('changes a row that each side has under a key of its own where it is', () => {
  const pair = { ...row('s.parent', '1000', ['theirs', 'ours']), productionKey: ['7'] };
  const sql = (towards: 'candidate' | 'production'): readonly string[] =>
    statementsOf([pair], tables, { towards, writer: postgres.sql });
  expect(sql('candidate')).toEqual([
    `UPDATE "s"."parent" SET "x""y" = 'ours'::text WHERE "id" = '7'::integer;`,
  ]);
  expect(sql('production')).toEqual([
    `UPDATE "s"."parent" SET "x""y" = 'theirs'::text WHERE "id" = '1000'::integer;`,
  ]);
});

it('lets rows refer to what the other side has under another key, where both have it', () => {
  const plain = table('a_child', 'parent');
  const child: TableSchema = {
    ...{ ...plain, columns: [...plain.columns, column('up', 'integer', 'int32')] },
    foreignKeys: plain.foreignKeys.map((one) => ({ ...one, columns: ['up'] })),
  };
  const of = new Map([...tables, ['s.a_child', child] as const]);
  const added = row('s.a_child', '3', [null, 'new']);
  const up = { column: 'up', production: null, candidate: '1000' };
  const refers = { ...added, columns: [...added.columns, up] };
  const pairs = [{ table: 's.parent', candidate: ['1000'], production: ['7'] }];
  const sql = statementsOf([refers], of, { towards: 'candidate', writer: postgres.sql, pairs });
  expect(sql.join()).toContain(`'7'`);
  expect(sql.join()).not.toContain('1000');
});

it.each([
  ['it\u2019s', `'it\u2019s'::t`, `_utf8mb4 X'6974e2809973'`],
  [`it's`, `'it''s'::t`, `'it''s'`],
  ['C:\\temp', `E'C:\\\\temp'::t`, `_utf8mb4 X'433a5c74656d70'`],
  [`\\'; DROP`, `E'\\\\''; DROP'::t`, `_utf8mb4 X'5c273b2044524f50'`],
  [`é\\'`, `E'é\\x5C'''::t`, `_utf8mb4 X'c3a95c27'`],
  ['a\nb\x01', `E'a\\nb\\x01'::t`, `_utf8mb4 X'610a6201'`],
  ['\u2028\u{e0001}', `E'\\u2028\\U000E0001'::t`, `_utf8mb4 X'e280a8f3a08081'`],
])('writes the text %j in a way that no session reads otherwise', (text, theirs, ours) => {
  expect(postgres.sql.literal(text, { sql: 't', kind: 'text' })).toBe(theirs);
  expect(mysql.sql.literal(text, { sql: 't', kind: 'text' })).toBe(ours);
});

it('writes moments and amounts so that no session reads them otherwise', () => {
  const instant = { sql: 'timestamp', kind: 'timestamptz' } as const;
  expect(mysql.sql.literal('2024-01-02 03:04:05+00', instant)).toBe(
    `CONVERT_TZ('2024-01-02 03:04:05', '+00:00', @@SESSION.time_zone)`,
  );
  expect(mysql.sql.literal('0000-00-00 00:00:00+00', instant)).toBe(`'0000-00-00 00:00:00'`);
  const money = { sql: 'money', kind: 'money' } as const;
  expect(postgres.sql.literal('-$1,234.50', money)).toBe(`'-1234.50'::numeric::money`);
});

it('names the columns that a server stamps, where they stay as they are', () => {
  const plain = table('parent', null);
  const stamp = column('at', 'timestamp', 'timestamptz');
  const computed: ColumnSchema = { ...column('c', 'datetime', 'timestamp'), generated: 'stored' };
  const of = new Map([['s.parent', { ...plain, columns: [...plain.columns, stamp, computed] }]]);
  const rows = [row('s.parent', '5', ['theirs', 'ours'])];
  expect(statementsOf(rows, of, { towards: 'candidate', writer: mysql.sql })).toEqual([
    "UPDATE `parent` SET `x\"y` = 'ours', `at` = `at` WHERE `id` = 5;",
  ]);
});

it('writes a key whose spelling changed, and nothing of what is the same', () => {
  const changed = { ...row('s.parent', 'a', ['theirs', 'ours']) };
  const id = { column: 'id', production: 'a', candidate: 'A' };
  const rows = [
    { ...changed, columns: [id, { ...(changed.columns[0] as typeof id), same: true as const }] },
  ];
  expect(statementsOf(rows, tables, { towards: 'candidate', writer: mysql.sql })).toEqual([
    "UPDATE `parent` SET `id` = 'A' WHERE `id` = 'a';",
  ]);
});
