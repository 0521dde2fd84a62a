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

it('deletes children first and inserts parents first, as each engine writes it', () => {
  expect(patchStatements(ROWS, tables, { towards: 'candidate', writer: postgres.sql })).toEqual([
    `DELETE FROM "s"."a_child" WHERE "id" = '2'::integer;`,
    `DELETE FROM "s"."parent" WHERE "id" = '4'::integer;`,
    `UPDATE "s"."parent" SET "x""y" = 'ours'::text WHERE "id" = '5'::integer;`,
    `INSERT INTO "s"."parent" ("id", "x""y") OVERRIDING SYSTEM VALUE VALUES ('3'::integer, 'new'::text);`,
    `INSERT INTO "s"."a_child" ("id", "x""y") OVERRIDING SYSTEM VALUE VALUES ('1'::integer, 'it''s'::text);`,
  ]);
  const back = patchStatements(ROWS, tables, { towards: 'production', writer: mysql.sql });
  expect(back).toHaveLength(5);
  expect(back[2]).toMatch(/^UPDATE `parent` SET `x"y` = \S*'theirs' WHERE `id` = \S*'?5'?;$/);
  expect(back.at(-1)).toMatch(/^INSERT INTO `a_child` \(`id`, `x"y`\) VALUES \(/);
});

it('changes a row that each side has under a key of its own where it is', () => {
  const pair = { ...row('s.parent', '1000', ['theirs', 'ours']), productionKey: ['7'] };
  const sql = (towards: 'candidate' | 'production'): readonly string[] =>
    patchStatements([pair], tables, { towards, writer: postgres.sql });
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
  const sql = patchStatements([refers], of, { towards: 'candidate', writer: postgres.sql, pairs });
  expect(sql.join()).toContain(`'7'`);
  expect(sql.join()).not.toContain('1000');
});
