/** A difference as SQL (`rollout diff --sql`), applied to copies of production in sessions as people have them. */
import { describe, expect, it } from 'vitest';
import { put } from './mysql.fixture.ts';
import { candidateRows, copyOf, given, patchFor } from './patch.fixture.ts';
import { ALL_ENGINES, anyRollout, type AnyEngine, type AnyRollout } from './rollout.fixture.ts';

const TEXTS = [
  ...[
    'C:\\temp\\new',
    `\\'; DROP TABLE orders; -- `,
    `it's "so"`,
    'one\nDROP TABLE orders;\r\n\ttwo',
  ],
  ...['Grüße 中文 😀', '中\\', `é\\'`, `\u2028\u200d\u0085`, '$1 ? :x @y %_ `', '', ' '],
];

const isPg = (engine: AnyEngine): boolean => engine === 'postgresql';

function typesOf(engine: AnyEngine): readonly string[] {
  const keyed = 'CREATE TABLE keyed (code VARCHAR(60) PRIMARY KEY, n INT)';
  const orders = 'CREATE TABLE orders (id INT PRIMARY KEY)';
  return isPg(engine)
    ? [
        ...[keyed, orders],
        `CREATE TABLE v (id INT PRIMARY KEY, txt TEXT, b BYTEA, j JSONB, ts TIMESTAMPTZ, dt TIMESTAMP, d DATE,
          tm TIMETZ, iv INTERVAL, cash MONEY, n NUMERIC(20,5), f REAL, dbl FLOAT8, bits BIT(12), a TEXT[],
          r TSTZRANGE, u UUID, x XML)`,
      ]
    : [
        ...[keyed, orders],
        `CREATE TABLE western (code VARCHAR(20) CHARACTER SET latin1 PRIMARY KEY, n INT)`,
        `CREATE TABLE moment (at TIMESTAMP(3) PRIMARY KEY, n INT)`,
        `CREATE TABLE v (id INT PRIMARY KEY AUTO_INCREMENT, txt VARCHAR(200), lat VARCHAR(50) CHARACTER SET latin1,
          low TEXT COLLATE utf8mb4_bin, j JSON, b BLOB, ts TIMESTAMP(6) NULL, dt DATETIME(3), d DATE, tm TIME(2),
          y YEAR, n DECIMAL(20,5), big BIGINT UNSIGNED, f FLOAT, dbl DOUBLE, bits BIT(12),
          e ENUM('a','b c'), s SET('x','y'))`,
      ];
}

/** Of the table `v`, beside id and txt. */
function valuesOf(at: AnyRollout, text: string): string {
  const t = given(at, text);
  return isPg(at.engine)
    ? `decode('0000ff5c27', 'hex'), jsonb_build_object('k', ${t}), '2024-03-31 01:30:00.123456+00', '0044-03-15 BC',
        '2024-02-29', '23:59:59.5-07', '-1 year -2 days +03:04:05.6', '-1234.56', -12345.67891, 0.1, -1e-300,
        B'101010101010', ARRAY[${t}, NULL, 'a,b'], tstzrange('2024-01-01 00:00+00', NULL),
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '<a>é</a>'`
    : `'caf\u00e9', ${t}, JSON_OBJECT('k', ${t}, 'n', -1.5), X'0000ff5c27', '2024-03-31 01:30:00.123456',
        '2024-12-31 23:59:59.999', '2024-02-29', '-838:59:59.00', 1999, -12345.67891, 18446744073709551615, 0.1,
        -1e-300, b'101010101010', 'b c', 'x,y'`;
}

/** As servers and people have them. */
const SESSIONS: Readonly<Record<AnyEngine, readonly string[]>> = {
  postgresql: [
    `SET TimeZone = 'Asia/Karachi'`,
    `SET DateStyle = 'SQL, DMY'`,
    `SET IntervalStyle = 'sql_standard'`,
    'SET xmloption = document',
  ],
  mysql: [`SET time_zone = '+05:00'`],
  mariadb: [`SET time_zone = '+05:00'`],
};

/** Production has a row of each kind that the candidate changes, and one that it deletes. */
async function sorts(engine: AnyEngine): Promise<AnyRollout> {
  const at = await anyRollout(engine, ...typesOf(engine));
  await at.apply(
    at.step('v', put(['id'], { id: '1', txt: 'was' }), put(['id'], { id: '2', txt: 'goes' })),
    at.step('keyed', ...TEXTS.map((code) => put(['code'], { code, n: '0' }))),
    at.step('orders', put(['id'], { id: '1' })),
  );
  if (!isPg(engine)) {
    await at.apply(
      at.step('western', put(['code'], { code: 'é\\', n: '0' })),
      at.step('moment', put(['at'], { at: '2024-07-01 00:00:00.5+00', n: '0' })),
    );
    await at.run('UPDATE western SET n = -1');
    await at.run('UPDATE moment SET n = -1');
  }
  const utc = isPg(engine) ? `SET TimeZone = 'UTC'` : `SET time_zone = '+00:00'`;
  for (const [i, text] of TEXTS.entries()) {
    const values = `${given(at, text)}, ${valuesOf(at, text)}`;
    await at.run(`${utc}; INSERT INTO v VALUES (${String(100 + i)}, ${values})`);
    const code = given(at, text);
    await at.run(
      i % 3 === 0
        ? `DELETE FROM keyed WHERE code = ${code}`
        : `UPDATE keyed SET n = -${String(i + 1)} WHERE code = ${code}`,
    );
  }
  await at.run('DELETE FROM v WHERE id = 2');
  await at.run(`UPDATE v SET txt = ${given(at, TEXTS.join(''))}, n = -0.5, b = NULL WHERE id = 1`);
  return at;
}

const tablesOf = (engine: AnyEngine): readonly string[] => [
  ...['keyed', 'orders', 'v'],
  ...(isPg(engine) ? [] : ['western', 'moment']),
];

async function expectSame(at: AnyRollout, copy: Awaited<ReturnType<typeof copyOf>>) {
  for (const table of tablesOf(at.engine)) {
    expect(await copy.rows(table)).toEqual(await candidateRows(at, table));
  }
}

describe.each(ALL_ENGINES)('a patch on %s', (engine) => {
  it('makes values of all sorts as they are, in a session as people have it', async () => {
    const at = await sorts(engine);
    await using copy = await copyOf(at, typesOf(engine), tablesOf(engine));
    const patch = await patchFor(at);
    await copy.apply(patch, ...SESSIONS[engine]);
    await expectSame(at, copy);
    const zone = isPg(engine) ? `current_setting('TimeZone')` : '@@SESSION.time_zone';
    expect(await copy.told(`SELECT ${zone}`)).toBe(isPg(engine) ? 'Asia/Karachi' : '+05:00');
  });

  it('has one statement in a line, each right by itself', async () => {
    const at = await sorts(engine);
    const patch = await patchFor(at);
    // eslint-disable-next-line no-control-regex
    expect(patch.filter((line) => /[\p{C}\p{Zl}]/u.test(line))).toEqual([]);
    const alone = patch.filter((line) => /^(INSERT|UPDATE|DELETE) /.test(line));
    const odd = isPg(engine)
      ? [['SET IntervalStyle = postgres']]
      : [
          ["SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES,STRICT_ALL_TABLES'"],
          ['SET NAMES latin1', "SET sql_mode = ''"],
        ];
    for (const settings of odd) {
      await using copy = await copyOf(at, typesOf(engine), tablesOf(engine));
      await copy.apply(alone, ...SESSIONS[engine].slice(0, 1), ...settings);
      await expectSame(at, copy);
    }
  });
});
