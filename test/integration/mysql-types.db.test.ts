/**
 * Every column type of MySQL and MariaDB: read from the catalogue, planned, and written exactly.
 * The database itself compares: the value that SQL made in production's table against the one that
 * came through the applier.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KnownValue } from '../../src/change/value.ts';
import type { ColumnType } from '../../src/schema/table-schema.ts';
import { ENGINES, put, rowsStep, stageOf, type Engine, type Stage } from './mysql.fixture.ts';

interface TypeCase {
  readonly ddl: string;
  readonly type: Partial<ColumnType>;
  /** As SQL makes it, and as a decoded event brings it. */
  readonly values: readonly (readonly [sql: string, value: KnownValue])[];
  readonly only?: Engine;
}

const bytes = (hex: string): Uint8Array => Buffer.from(hex, 'hex');
const same = (...texts: readonly string[]) => texts.map((text) => [`'${text}'`, text] as const);
const POINT_1_2 = '0101000000000000000000f03f0000000000000040';
const LINE = '01020000000200000000000000000000000000000000000000000000000000f03f000000000000f03f';

const CASES: readonly TypeCase[] = [
  { ddl: 'TINYINT', type: { kind: 'int16' }, values: same('-128', '0', '127') },
  {
    ddl: 'TINYINT(1)',
    type: { kind: 'int16' },
    values: [...same('2', '-128'), ['1', true], ['0', false]],
  },
  { ddl: 'TINYINT UNSIGNED', type: { kind: 'int16', unsigned: true }, values: same('255') },
  { ddl: 'SMALLINT', type: { kind: 'int16' }, values: same('-32768', '32767') },
  { ddl: 'MEDIUMINT UNSIGNED', type: { kind: 'int32', unsigned: true }, values: same('16777215') },
  { ddl: 'INT', type: { kind: 'int32' }, values: same('-2147483648', '2147483647') },
  { ddl: 'INT UNSIGNED', type: { kind: 'int32', unsigned: true }, values: same('4294967295') },
  { ddl: 'INT(8) ZEROFILL', type: { kind: 'int32', unsigned: true }, values: same('42') },
  {
    ddl: 'BIGINT',
    type: { kind: 'int64' },
    values: same('-9223372036854775808', '9007199254740993'),
  },
  {
    ddl: 'BIGINT UNSIGNED',
    type: { kind: 'int64', unsigned: true },
    values: same('18446744073709551615', '9223372036854775808'),
  },
  {
    ddl: 'DECIMAL(65,30)',
    type: { kind: 'numeric', precision: 65, scale: 30 },
    values: same(
      '12345678901234567890123456789012345.123456789012345678901234567891',
      '-99999999999999999999999999999999999.999999999999999999999999999999',
      '0.000000000000000000000000000001',
    ),
  },
  {
    ddl: 'DECIMAL(10,2) UNSIGNED',
    type: { kind: 'numeric', scale: 2, unsigned: true },
    values: same('1.10'),
  },
  {
    ddl: 'DECIMAL(5,0)',
    type: { kind: 'numeric', precision: 5, scale: 0 },
    values: same('-12345'),
  },
  {
    ddl: 'FLOAT',
    type: { kind: 'float32' },
    values: [
      ['3.4028234663852886e38', '3.4028235E38'],
      ['1.401298464324817e-45', '1.4E-45'],
      ['16777216', '1.6777216E7'],
      ['1.1', '1.1'],
      ['123456.789', '123456.79'],
    ],
  },
  {
    ddl: 'DOUBLE',
    type: { kind: 'float64' },
    values: same('1.7976931348623157e308', '4.9e-324', '0.1', '-2.2250738585072014e-308'),
  },
  {
    ddl: 'FLOAT(7,3)',
    type: { kind: 'float32' },
    values: [
      ['1.1', '1.1'],
      ['-1234.567', '-1234.567'],
    ],
  },
  {
    ddl: 'BIT(1)',
    type: { kind: 'bits', length: 1 },
    values: [
      [`b'1'`, '1'],
      [`b'0'`, false],
    ],
  },
  { ddl: 'BIT(12)', type: { kind: 'bits', length: 12 }, values: [[`b'101'`, '000000000101']] },
  {
    ddl: 'BIT(64)',
    type: { kind: 'bits', length: 64 },
    values: [
      [`b'${'1'.repeat(64)}'`, '1'.repeat(64)],
      [`b'1${'0'.repeat(63)}'`, `1${'0'.repeat(63)}`],
    ],
  },
  {
    ddl: 'CHAR(5)',
    type: { kind: 'char', length: 5 },
    values: same('ab', '', 'é😀x'),
  },
  {
    ddl: 'VARCHAR(30)',
    type: { kind: 'text', length: 30 },
    values: [
      ...same('trailing  ', 'x😀\u200d'),
      [`'it''s'`, `it's`],
      [`CONCAT('back', CHAR(92), 'slash', CHAR(92), CHAR(39))`, `back\\slash\\'`],
      ['CONCAT(CHAR(0),CHAR(26),CHAR(10),CHAR(13),CHAR(9))', '\0\x1a\n\r\t'],
      [`'what? ?'`, 'what? ?'],
    ],
  },
  { ddl: 'TEXT', type: { kind: 'text' }, values: [[`REPEAT('é', 20000)`, 'é'.repeat(20_000)]] },
  {
    ddl: 'LONGTEXT',
    type: { kind: 'text' },
    values: [[`REPEAT('x', 1500000)`, 'x'.repeat(1_500_000)]],
  },
  { ddl: 'VARCHAR(20) CHARACTER SET latin1', type: { kind: 'text' }, values: same('é€ü', 'ÿ') },
  { ddl: 'VARCHAR(20) CHARACTER SET gbk', type: { kind: 'text' }, values: same('汉字', '縗') },
  { ddl: 'VARCHAR(20) CHARACTER SET utf16', type: { kind: 'text' }, values: same('a😀') },
  { ddl: 'VARCHAR(20) CHARACTER SET ascii', type: { kind: 'text' }, values: same('plain') },
  { ddl: 'TEXT CHARACTER SET sjis', type: { kind: 'text' }, values: same('表示') },
  {
    ddl: 'BINARY(4)',
    type: { kind: 'bytes', length: 4 },
    values: [
      [`X'61200000'`, bytes('61200000')],
      [`'a'`, bytes('61000000')],
    ],
  },
  {
    ddl: 'VARBINARY(20)',
    type: { kind: 'bytes', length: 20 },
    values: [
      [`X'00ff275c'`, bytes('00ff275c')],
      [`''`, new Uint8Array(0)],
    ],
  },
  {
    ddl: 'LONGBLOB',
    type: { kind: 'bytes' },
    values: [[`REPEAT(X'00FF27', 200000)`, Buffer.alloc(600_000, bytes('00ff27'))]],
  },
  {
    ddl: 'DATE',
    type: { kind: 'date' },
    values: same('0001-01-01', '1582-10-10', '9999-12-31', '2024-02-31'),
  },
  {
    ddl: 'TIME(6)',
    type: { kind: 'time', precision: 6 },
    values: same(
      '838:59:59.000000',
      '-838:59:59.000000',
      '-00:00:00.000001',
      '24:00:00',
      '10:11:12.123456',
    ),
  },
  {
    ddl: 'TIME',
    type: { kind: 'time', precision: 0 },
    values: [["'-25:30:15'", '-25:30:15.000000']],
  },
  {
    ddl: 'DATETIME(6)',
    type: { kind: 'timestamp', precision: 6 },
    values: same('0001-01-01 00:00:00.000001', '9999-12-31 23:59:59.999999', '1582-10-10 01:02:03'),
  },
  {
    ddl: 'DATETIME',
    type: { kind: 'timestamp', precision: 0 },
    values: same('2024-03-31 02:30:00'),
  },
  {
    ddl: 'TIMESTAMP(6) NULL',
    type: { kind: 'timestamptz', precision: 6 },
    values: [
      [`'1970-01-01 00:00:01.000001'`, '1970-01-01 00:00:01.000001+00'],
      [`'2038-01-19 03:14:07.999999'`, '2038-01-19 03:14:07.999999+00'],
    ],
  },
  {
    ddl: 'TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP',
    type: { kind: 'timestamptz', precision: 0 },
    values: [[`'2024-03-31 02:30:00'`, '2024-03-31 02:30:00+00']],
  },
  { ddl: 'YEAR', type: { kind: 'year' }, values: same('1901', '2155', '0000') },
  {
    ddl: `ENUM('a','c,d','it''s','b${'\\\\'}s','é')`,
    type: { kind: 'enum', labels: ['a', 'c,d', `it's`, 'b\\s', 'é'] },
    values: [...same('a', 'c,d', 'é'), [`'it''s'`, `it's`], ['4', 'b\\s']],
  },
  { ddl: `ENUM('','x')`, type: { kind: 'enum', labels: ['', 'x'] }, values: same('', 'x') },
  {
    ddl: `SET('r','b','g')`,
    type: { kind: 'set', labels: ['r', 'b', 'g'] },
    values: same('r,g', '', 'r,b,g'),
  },
  {
    ddl: 'JSON',
    only: 'mysql',
    type: { kind: 'json' },
    values: same(
      '{"a": [1.5, true, null], "é": "x😀"}',
      '"text"',
      'null',
      '18446744073709551615',
      '[]',
      '{"big": 1e100}',
    ),
  },
  { ddl: 'JSON', only: 'mariadb', type: { kind: 'text' }, values: same('{"b":1, "a" : [2]}') },
  {
    ddl: 'GEOMETRY',
    type: { kind: 'geometry' },
    values: [
      ["ST_GeomFromText('POINT(1 2)')", bytes(`00000000${POINT_1_2}`)],
      ["ST_GeomFromText('LINESTRING(0 0, 1 1)')", bytes(`00000000${LINE}`)],
    ],
  },
  {
    ddl: 'POINT SRID 4326',
    only: 'mysql',
    type: { kind: 'geometry' },
    values: [[`ST_GeomFromText('POINT(2 1)', 4326)`, bytes(`e6100000${POINT_1_2}`)]],
  },
  {
    ddl: 'POINT',
    only: 'mariadb',
    type: { kind: 'geometry' },
    values: [[`ST_GeomFromText('POINT(1 2)', 4326)`, bytes(`e6100000${POINT_1_2}`)]],
  },
  {
    ddl: 'VECTOR(3)',
    only: 'mysql',
    type: { kind: 'vector', length: 3 },
    values: [[`STRING_TO_VECTOR('[1,2,0.1]')`, bytes('0000803f00000040cdcccc3d')]],
  },
  {
    ddl: 'UUID',
    only: 'mariadb',
    type: { kind: 'uuid' },
    values: same('123e4567-e89b-12d3-a456-426614174000', 'ffffffff-ffff-4fff-bfff-ffffffffffff'),
  },
  { ddl: 'INET4', only: 'mariadb', type: { kind: 'other' }, values: same('192.168.0.1') },
  {
    ddl: 'INET6',
    only: 'mariadb',
    type: { kind: 'other' },
    values: same('2001:db8::ff00:42:8329'),
  },
];

const casesOf = (engine: Engine): readonly TypeCase[] =>
  CASES.filter((one) => one.only === undefined || one.only === engine);

describe.each(ENGINES)('types on %s', (engine) => {
  it('are in the catalogue, and the shadow’s schema is production’s', async () => {
    const cases = casesOf(engine);
    const stage = await stageOf(engine, tableOf(cases));
    const catalogue = await stage.database.catalogue();
    const table = catalogue.get(`${stage.source}.every`);
    expect(table?.key).toEqual(['id']);
    for (const [i, one] of cases.entries()) {
      const column = table?.columns.find(({ name }) => name === `v${String(i)}`);
      expect(column, one.ddl).toMatchObject({ nullable: true, toastable: false, type: one.type });
    }
    const definition = async (database: string) =>
      (await stage.rows(`SHOW CREATE TABLE ${database}.every`))[0];
    expect(await definition(stage.trunk)).toEqual(await definition(stage.source));
  });

  it('are written as they are, values and NULLs, in inserts and updates', async () => {
    const cases = casesOf(engine);
    const stage = await stageOf(engine, tableOf(cases));
    const rows = Math.max(...cases.map((one) => one.values.length));
    const columns = cases.map((_, i) => `v${String(i)}`);
    for (const shift of [0, 1]) {
      await stage.client.query(`DELETE FROM ${stage.source}.every`);
      const changes = [];
      for (let id = 0; id <= rows; id += 1) {
        const picked = cases.map(({ values }) =>
          id === rows ? null : values[(id + shift) % values.length],
        );
        await stage.client.query(
          `INSERT INTO ${stage.source}.every (id, ${columns.join(', ')})
            VALUES (${String(id)}, ${picked.map((value) => value?.[0] ?? 'NULL').join(', ')})`,
        );
        const values = Object.fromEntries(columns.map((name, i) => [name, picked[i]?.[1] ?? null]));
        changes.push(put(['id'], { id: String(id), ...values }));
      }
      await stage.apply(rowsStep(stage, 'every', ...changes));
      expect(await differences(stage, 'every', columns, cases)).toEqual([]);
      // A guard never seen to fail is no guard.
      await stage.client.query(`UPDATE every SET v0 = v0 + 1 WHERE id = 0`);
      expect(await differences(stage, 'every', columns, cases)).toContain('0 TINYINT');
    }
  });

  it('keep an enum’s value of no label, and keys of every type that can be one', async () => {
    const stage = await stageOf(
      engine,
      `CREATE TABLE odd (id INT PRIMARY KEY, e ENUM('a','b') NOT NULL, n INT)`,
    );
    await stage.client.query(`INSERT INTO odd VALUES (1, 'a', 1), (3, 'b', 3)`);
    const odd = (id: string, e: string) => put(['id'], { id, e, n: id });
    await stage.apply(rowsStep(stage, 'odd', odd('1', ''), odd('2', ''), odd('3', 'a')));
    expect(await stage.rows('SELECT id, e, e + 0 AS i FROM odd ORDER BY id')).toEqual([
      { id: 1, e: '', i: 0 },
      { id: 2, e: '', i: 0 },
      { id: 3, e: 'a', i: 1 },
    ]);
    const keyed = casesOf(engine).filter(
      (one) => !/TEXT|BLOB|JSON|GEOMETRY|POINT|VECTOR/.test(one.ddl),
    );
    const tables = keyed.map(
      (one, i) =>
        `CREATE TABLE k${String(i)} (k ${one.ddl.replace(' NULL', '')} NOT NULL, n INT, PRIMARY KEY (k))`,
    );
    const keys = await stageOf(engine, ...tables);
    for (const [i, one] of keyed.entries()) {
      const name = `k${String(i)}`;
      const writes = one.values.map(([, value], n) => put(['k'], { k: value, n: String(n) }));
      await keys.apply(rowsStep(keys, name, ...writes));
      await keys.apply(rowsStep(keys, name, ...writes));
      const count = (await keys.rows(`SELECT COUNT(*) AS n FROM ${name}`))[0]?.['n'];
      expect(Number(count), one.ddl).toBe(one.values.length);
      await keys.apply(
        rowsStep(
          keys,
          name,
          ...one.values.map(([, value]) => ({ kind: 'delete' as const, key: [value] })),
        ),
      );
      expect(await keys.rows(`SELECT n FROM ${name}`), one.ddl).toEqual([]);
    }
  });

  it('keep every float and double to the last bit', async () => {
    const stage = await stageOf(engine, 'CREATE TABLE num (id INT PRIMARY KEY, f FLOAT, d DOUBLE)');
    const finite = { noNaN: true, noDefaultInfinity: true };
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.float(finite), fc.double(finite)), { minLength: 1, maxLength: 50 }),
        async (pairs) => {
          await stage.apply(
            { kind: 'truncate', table: { schema: stage.source, name: 'num' } },
            rowsStep(
              stage,
              'num',
              ...pairs.map(([f, d], id) =>
                put(['id'], { id: String(id), f: shortest(f), d: String(d) }),
              ),
            ),
          );
          // Through arithmetic, for as text a float has six digits. Then it has fifteen, which are
          // enough for a float, and not always those of the double that is equal to it.
          const rows = await stage.rows('SELECT f + 0e0 AS f, d FROM num ORDER BY id');
          expect(
            rows.map((row) => [Math.fround(Number(row['f'])) + 0, Number(row['d']) + 0]),
          ).toEqual(pairs.map(([f, d]) => [f + 0, d + 0]));
        },
      ),
      { numRuns: 20 },
    );
  });
});

function tableOf(cases: readonly TypeCase[]): string {
  const columns = cases.map((one, i) => `v${String(i)} ${one.ddl}`);
  return `CREATE TABLE every (id INT PRIMARY KEY, ${columns.join(', ')})`;
}

/** Each value that is not the same to the last byte, as `id type`; and rows of one side only. */
async function differences(
  stage: Stage,
  table: string,
  columns: readonly string[],
  cases: readonly TypeCase[],
): Promise<readonly string[]> {
  const equal = columns.map((name, i) => {
    const kind = cases[i]?.type.kind;
    const [p, s] = [`p.${name}`, `s.${name}`];
    const both = (wrap: (column: string) => string) => `${wrap(p)} <=> ${wrap(s)}`;
    if (kind === 'geometry' || kind === 'vector') return both((column) => `HEX(${column})`);
    if (kind === 'float32') return both((column) => `${column} + 0e0`);
    const plain = both((column) => column);
    if (kind === 'float64') return plain;
    const binary = both(
      (column) => `CAST(${kind === 'json' ? `CAST(${column} AS CHAR)` : column} AS BINARY)`,
    );
    return kind === 'enum'
      ? `${binary} AND ${both((column) => `${column} + 0`)}`
      : `${plain} AND ${binary}`;
  });
  const flags = equal.map((expression, i) => `(${expression}) AS e${String(i)}`);
  const rows = await stage.rows(
    `SELECT p.id, ${flags.join(', ')} FROM ${stage.source}.${table} p
      JOIN ${stage.trunk}.${table} s ON s.id = p.id ORDER BY p.id`,
  );
  const counts = await stage.rows(
    `SELECT (SELECT COUNT(*) FROM ${stage.source}.${table}) AS p, (SELECT COUNT(*) FROM ${stage.trunk}.${table}) AS s`,
  );
  expect(counts.map(({ p, s }) => [Number(p), Number(s)])).toEqual([[rows.length, rows.length]]);
  return rows.flatMap((row) =>
    cases.flatMap((one, i) =>
      Number(row[`e${String(i)}`]) === 1 ? [] : [`${String(row['id'])} ${one.ddl}`],
    ),
  );
}

/** The shortest text that reads back as this float. */
function shortest(value: number): string {
  for (let digits = 1; digits <= 9; digits += 1) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return text;
  }
  return String(value);
}
