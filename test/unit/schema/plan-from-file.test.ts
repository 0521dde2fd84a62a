import { describe, expect, test } from 'vitest';
import { planFromFile } from '../../../src/schema/plan-from-file.ts';
import { splitSql } from '../../../src/schema/split-sql.ts';

const texts = (sql: string): readonly string[] => splitSql(sql).map((one) => one.sql);

describe('cutting a file into statements', () => {
  test.each([
    ['two on a line', 'SELECT 1; SELECT 2', ['SELECT 1', 'SELECT 2']],
    ['empty ones', ';;SELECT 1;;\n;', ['SELECT 1']],
    [
      'a semicolon in quotes',
      `SELECT ';', "a;b", 'it''s;'; SELECT 2`,
      [`SELECT ';', "a;b", 'it''s;'`, 'SELECT 2'],
    ],
    [
      'a backslash, which escapes only behind E',
      `SELECT '\\'; SELECT E'\\';', e'a''\\\\'; S`,
      [`SELECT '\\'`, `SELECT E'\\';', e'a''\\\\'`, 'S'],
    ],
    [
      'dollar quotes with tags',
      'DO $a$ ; $$ ; $b$ $a$; DO $$;$$',
      ['DO $a$ ; $$ ; $b$ $a$', 'DO $$;$$'],
    ],
    [
      'a parameter and a name with a dollar',
      'SELECT $1; SELECT a$b$c; SELECT 1',
      ['SELECT $1', 'SELECT a$b$c', 'SELECT 1'],
    ],
    ['nested comments', '/* ; /* ; */ ; */ SELECT 1 -- ;\n; -- end;', ['SELECT 1 -- ;']],
    [
      'a rule with several commands',
      'CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); S',
      ['CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)', 'S'],
    ],
    [
      'an atomic body',
      `CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC
      SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3`,
      [
        `CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC
      SELECT CASE WHEN true THEN 1 END; SELECT 2; END`,
        'SELECT 3',
      ],
    ],
    [
      'a case elsewhere',
      'CREATE VIEW v AS SELECT CASE WHEN a THEN 1 END; S',
      ['CREATE VIEW v AS SELECT CASE WHEN a THEN 1 END', 'S'],
    ],
    ['a mark of the encoding', '\uFEFFSELECT 1', ['SELECT 1']],
    ['a dump’s frame', '\\restrict abc\nSELECT 1;\n\\unrestrict abc\n', ['SELECT 1']],
  ])('understands %s', (_, sql, expected) => {
    expect(texts(sql)).toEqual(expected);
  });

  test('knows the line a statement begins at', () => {
    const sql = '-- one\n\nSELECT\n1;\n/* two\n*/ SELECT 2;';
    expect(splitSql(sql).map((one) => one.line)).toEqual([3, 6]);
  });

  test.each([
    [`SELECT 1;\nSELECT 'x`, `line 2 of the schema file: a quote ' has no end`],
    ['SELECT "x', 'line 1 of the schema file: a quote " has no end'],
    ['\n\nDO $x$ $$', 'line 3 of the schema file: the quote $x$ has no end'],
    ['/* /* */', 'line 1 of the schema file: a comment has no end'],
    ['SELECT 1;\n\\connect shop', 'line 2 of the schema file: \\connect is a command'],
    ['SELECT 1 \\gset', 'line 1 of the schema file: \\gset is a command'],
  ])('refuses %j', (sql, message) => {
    expect(() => splitSql(sql)).toThrow(message);
  });
});

describe('a plan from a file', () => {
  test('keeps the order, and marks owners and grants as optional', () => {
    const plan = planFromFile(`CREATE TABLE shop.t (id int);
      ALTER TABLE shop.t OWNER TO boss; ALTER TABLE shop.t ADD "OWNER TO" int;
      GRANT SELECT ON shop.t TO reader; COMMENT ON TABLE shop.t IS 'x'`);
    expect(plan.statements.map(({ what, optional }) => ({ what, optional }))).toEqual([
      { what: 'line 1: CREATE TABLE shop.t id', optional: false },
      { what: 'line 2: ALTER TABLE shop.t OWNER', optional: true },
      { what: 'line 2: ALTER TABLE shop.t ADD', optional: false },
      { what: 'line 3: GRANT SELECT ON shop.t', optional: true },
      { what: 'line 3: COMMENT ON TABLE shop.t', optional: true },
    ]);
    expect(plan.tables).toEqual([]);
  });

  test.each([
    ['\nCOPY public.t (a, b) FROM stdin;\n1\t2\n\\.\n', 'line 2 of the schema file: COPY'],
    ['BEGIN; CREATE TABLE t (); COMMIT', 'line 1 of the schema file: a schema file runs in one'],
    ['start   transaction', 'line 1 of the schema file: a schema file runs in one'],
    ['-- nothing\n;', 'the schema file holds no statement'],
  ])('refuses %j', (sql, message) => {
    expect(() => planFromFile(sql)).toThrow(message);
  });

  test('shows no value of a statement in its name', () => {
    const [statement] = planFromFile(`INSERT INTO t VALUES ('secret', 'more')`).statements;
    expect(statement?.what).toBe('line 1: INSERT INTO t VALUES');
  });
});
