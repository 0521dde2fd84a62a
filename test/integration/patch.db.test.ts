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

describe.each(ALL_ENGINES)('rows of a patch on %s', (engine) => {
  /**
   * Production's rows by table, parents first, and then what the candidate does. Tells what a patch made of
   * the one, and the other one of that.
   */
  const applied = async (
    ddl: readonly string[],
    has: Readonly<Record<string, readonly Readonly<Record<string, string | null>>[]>>,
    ...does: readonly string[]
  ) => {
    const at = await anyRollout(engine, ...ddl);
    for (const [table, rows] of Object.entries(has)) {
      await at.apply(at.step(table, ...rows.map((row) => put(['id'], row))));
    }
    for (const sql of does) await at.run(sql);
    const tables = Object.keys(has);
    await using copy = await copyOf(at, ddl, tables);
    const all = async (): Promise<readonly (readonly string[])[]> => {
      const rows: (readonly string[])[] = [];
      for (const table of tables) rows.push(await copy.rows(table));
      return rows;
    };
    const was = await all();
    await copy.apply(await patchFor(at), ...SESSIONS[engine]);
    const made = await all();
    await copy.apply(await patchFor(at, 'production'), ...SESSIONS[engine]);
    const back = await all();
    const theirs: (readonly string[])[] = [];
    for (const table of tables) theirs.push(await candidateRows(at, table));
    return { told: { made, back }, wanted: { made: theirs, back: was } };
  };

  it.each(['RESTRICT', 'CASCADE'])('leave a parent before it goes (%s)', async (rule) => {
    const { told, wanted } = await applied(
      [
        'CREATE TABLE customers (id INT PRIMARY KEY, email VARCHAR(20) UNIQUE)',
        `CREATE TABLE orders (id INT PRIMARY KEY, customer_id INT, note VARCHAR(9),
          CONSTRAINT orders_of FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE ${rule})`,
      ],
      {
        customers: [
          { id: '1', email: 'a@x' },
          { id: '2', email: 'b@x' },
          { id: '3', email: 'c@x' },
        ],
        orders: [
          { id: '10', customer_id: '1', note: 'one' },
          { id: '11', customer_id: '1', note: 'two' },
          { id: '12', customer_id: '3', note: 'goes' },
        ],
      },
      'UPDATE orders SET customer_id = 2 WHERE id = 10',
      `INSERT INTO customers VALUES (4, 'd@x')`,
      'UPDATE orders SET customer_id = 4 WHERE id = 11',
      'DELETE FROM customers WHERE id = 1',
      // A value that is free again, and whose row something referred to that goes too.
      'DELETE FROM orders WHERE id = 12',
      'DELETE FROM customers WHERE id = 3',
      `UPDATE customers SET email = 'c@x' WHERE id = 2`,
      `INSERT INTO customers VALUES (5, 'a@x')`,
      `INSERT INTO orders VALUES (13, 5, 'new')`,
    );
    expect(told).toEqual(wanted);
  });

  it('come and go by what they refer to in their own table, and in a circle of tables', async () => {
    const key = (name: string, column: string, of: string): string =>
      `CONSTRAINT ${name} FOREIGN KEY (${column}) REFERENCES ${of} (id)`;
    const { told, wanted } = await applied(
      [
        `CREATE TABLE node (id INT PRIMARY KEY, up INT, ${key('node_up', 'up', 'node')})`,
        'CREATE TABLE a (id INT PRIMARY KEY, b INT)',
        `CREATE TABLE b (id INT PRIMARY KEY, a INT, ${key('b_a', 'a', 'a')})`,
        `ALTER TABLE a ADD ${key('a_b', 'b', 'b')}`,
      ],
      {
        node: [
          { id: '1', up: null },
          { id: '2', up: '1' },
          { id: '3', up: '2' },
        ],
        a: [{ id: '1', b: null }],
        b: [],
      },
      'INSERT INTO node VALUES (9, 1)',
      'INSERT INTO node VALUES (8, 9), (7, 8)',
      'UPDATE node SET up = 7 WHERE id = 3',
      'DELETE FROM node WHERE id = 2',
      'INSERT INTO node VALUES (6, 7), (5, 6)',
      'INSERT INTO b VALUES (5, 1)',
      'INSERT INTO a VALUES (4, 5)',
      'INSERT INTO b VALUES (3, 4)',
      'UPDATE a SET b = 3 WHERE id = 1',
    );
    expect(told).toEqual(wanted);
  });

  it('leave a parent whose value is taken before it goes, by the whole of a key of two columns', async () => {
    const { told, wanted } = await applied(
      [
        'CREATE TABLE site (id INT PRIMARY KEY, tenant INT, code VARCHAR(9) UNIQUE, UNIQUE (tenant, id))',
        `CREATE TABLE page (id INT PRIMARY KEY, tenant INT, site INT,
          CONSTRAINT page_site FOREIGN KEY (tenant, site) REFERENCES site (tenant, id))`,
      ],
      {
        site: [
          { id: '1', tenant: '7', code: 'a' },
          { id: '2', tenant: '7', code: 'b' },
        ],
        page: [{ id: '1', tenant: '7', site: '1' }],
      },
      `INSERT INTO site VALUES (3, 7, 'c')`,
      'UPDATE page SET site = 3',
      'DELETE FROM site WHERE id = 1',
      `UPDATE site SET code = 'a' WHERE id = 2`,
    );
    expect(told).toEqual(wanted);
  });

  it('fail rather than go with a parent, where they wait for each other in a circle', async () => {
    const ddl = [
      'CREATE TABLE p (id INT PRIMARY KEY, code VARCHAR(9) UNIQUE)',
      `CREATE TABLE c (id INT PRIMARY KEY, p INT,
        CONSTRAINT c_p FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)`,
    ];
    const at = await anyRollout(engine, ...ddl);
    await at.apply(at.step('p', put(['id'], { id: '1', code: 'x' })));
    await at.apply(at.step('c', put(['id'], { id: '1', p: '1' })));
    // The code moves from row to row, and so does what refers to it.
    await at.run(`INSERT INTO p VALUES (2, 'y')`);
    await at.run('UPDATE c SET p = 2');
    await at.run('DELETE FROM p WHERE id = 1');
    await at.run(`UPDATE p SET code = 'x' WHERE id = 2`);
    await using copy = await copyOf(at, ddl, ['p', 'c']);
    const was = await copy.rows('c');
    await expect(copy.apply(await patchFor(at), ...SESSIONS[engine])).rejects.toThrow(/duplicate/i);
    await copy.told('ROLLBACK');
    expect(await copy.rows('c')).toEqual(was);
  });
});

describe.each(['mysql', 'mariadb'] as const)('a patch on %s', (engine) => {
  it('makes what a strict session refuses, leaves stamps alone, and puts the settings back', async () => {
    const ddl = [
      `CREATE TABLE v (id INT PRIMARY KEY AUTO_INCREMENT, d DATE, dt DATETIME NOT NULL, ts TIMESTAMP NULL, n INT,
        stamp TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
        other DATETIME NULL ON UPDATE CURRENT_TIMESTAMP)`,
    ];
    const at = await anyRollout(engine, ...ddl);
    const row = (id: string) => ({ d: '2000-01-01', dt: '2000-01-01 00:00:00', n: id, id });
    const stamp = { stamp: '2000-01-01 00:00:00+00', other: '2001-01-01 00:00:00' };
    await at.apply(
      at.step('v', ...['1', '2'].map((id) => put(['id'], { ...row(id), ...stamp, ts: null }))),
    );
    const lenient = `SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'`;
    const zero = `'0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00'`;
    await at.run(`${lenient}; INSERT INTO v VALUES (0, ${zero}, 1, NULL, NULL)`);
    await at.run(
      `${lenient}; UPDATE v SET d = '2023-02-31', stamp = stamp, other = other WHERE id = 1`,
    );
    await at.run('UPDATE v SET n = 7, stamp = stamp, other = other WHERE id = 2');
    await using copy = await copyOf(at, ddl, ['v']);
    const settings = [
      `SET time_zone = '+05:00', sql_mode = 'TRADITIONAL,ANSI_QUOTES'`,
      'SET NAMES latin1 COLLATE latin1_bin',
    ];
    await copy.apply(await patchFor(at), ...settings);
    expect(await copy.rows('v')).toEqual(await candidateRows(at, 'v'));
    expect(
      await copy.told(
        `SELECT CONCAT_WS(' ', @@time_zone, @@sql_mode LIKE '%NO_ZERO_DATE%', @@character_set_client,
          @@character_set_results, @@character_set_connection, @@collation_connection)`,
      ),
    ).toBe('+05:00 1 latin1 latin1 latin1 latin1_bin');
  });

  it('finds rows by the index of their key', async () => {
    const ddl = [
      'CREATE TABLE t (code VARCHAR(20) CHARACTER SET latin1, n BIGINT, PRIMARY KEY (code, n))',
    ];
    const at = await anyRollout(engine, ...ddl);
    await at.run(
      `INSERT INTO t VALUES (${given(at, 'é\\')}, 9007199254740993), ('a', 1), ('b', 2)`,
    );
    const [line] = (await patchFor(at, 'production')).filter((one) => one.includes('_utf8mb4'));
    const [plan] = await at.rows(`EXPLAIN ${line?.replace('DELETE FROM', 'SELECT n FROM') ?? ''}`);
    expect(plan?.join(' ')).toMatch(/PRIMARY 30 const|fetched before execution/);
  });
});
