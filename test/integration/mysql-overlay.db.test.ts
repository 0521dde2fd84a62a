/**
 * Capture on MySQL and MariaDB: whatever a candidate writes, production's image can be told from what
 * is left of its rows and the journal, and is that of the trunk.
 */
import { Readable } from 'node:stream';
import type { Connection } from 'mysql2/promise';
import { describe, expect, it } from 'vitest';
import type { ShadowDatabase } from '../../src/dialect/dialect.ts';
import {
  batchOf,
  ENGINES,
  openTrunk,
  put,
  rolloutOf,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
  stranger,
  type Engine,
  type Stage,
} from './mysql.fixture.ts';

const SCHEMA = [
  `CREATE TABLE p (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, code VARCHAR(10) UNIQUE, n INT)`,
  `CREATE TABLE c (id INT PRIMARY KEY, pid INT, FOREIGN KEY (pid) REFERENCES p (id)
    ON DELETE CASCADE ON UPDATE CASCADE)`,
  `CREATE TABLE g (id INT PRIMARY KEY, cid INT, FOREIGN KEY (cid) REFERENCES c (id)
    ON DELETE CASCADE)`,
  `CREATE TABLE s (id INT PRIMARY KEY, pid INT, FOREIGN KEY (pid) REFERENCES p (id)
    ON DELETE SET NULL ON UPDATE SET NULL)`,
  `CREATE TABLE e (id INT PRIMARY KEY, par INT, FOREIGN KEY (par) REFERENCES e (id)
    ON DELETE CASCADE)`,
  `CREATE TABLE f (id INT PRIMARY KEY, eid INT, FOREIGN KEY (eid) REFERENCES e (id)
    ON DELETE CASCADE)`,
  `CREATE TABLE h (pid INT, n INT, v INT, PRIMARY KEY (pid, n), FOREIGN KEY (pid)
    REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE)`,
  `CREATE TABLE hh (pid INT, n INT, m INT, PRIMARY KEY (pid, n, m), FOREIGN KEY (pid, n)
    REFERENCES h (pid, n) ON DELETE CASCADE ON UPDATE CASCADE)`,
  `CREATE TABLE w (k VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY,
    v VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci)`,
  `CREATE TABLE z (id INT PRIMARY KEY, d DATE, en ENUM('a'), st SET('x', 'y'), fl FLOAT, dbl DOUBLE,
    bi BIT(9), js JSON, bl BLOB, ts TIMESTAMP(6) NULL, tx TEXT CHARACTER SET latin1, ye YEAR,
    gen INT GENERATED ALWAYS AS (id * 2) STORED, de DECIMAL(20,10))`,
  `CREATE TABLE q (id INT, y INT, v INT, PRIMARY KEY (id, y)) PARTITION BY HASH (id) PARTITIONS 3`,
];
const TABLES = ['p', 'c', 'g', 's', 'e', 'f', 'h', 'hh', 'w', 'z', 'q'];

const ROWS = [
  `INSERT INTO p VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3), (4, NULL, 4)`,
  `INSERT INTO c VALUES (11, 1), (12, 1), (21, 2), (31, 3)`,
  `INSERT INTO g VALUES (111, 11), (112, 11), (121, 12), (211, 21)`,
  `INSERT INTO s VALUES (1, 1), (2, 2), (3, NULL)`,
  `INSERT INTO e VALUES (1, NULL), (2, 1), (3, 2), (4, 2), (5, NULL), (6, 6)`,
  `INSERT INTO f VALUES (1, 1), (2, 3), (3, 5)`,
  `INSERT INTO h VALUES (1, 1, 0), (1, 2, 0), (2, 1, 0)`,
  `INSERT INTO hh VALUES (1, 1, 1), (1, 2, 1), (2, 1, 1)`,
  `INSERT INTO w VALUES ('a', 'x'), ('b', 'y')`,
  `INSERT INTO z (id, d, en, st, fl, dbl, bi, js, bl, ts, tx, ye, de) VALUES
    (1, '0000-00-00', 'nothing', 'x,y', 0.1, -0e0, b'101010101', '{"a": [1, 1.0]}', X'00FF', '2021-03-28 01:30:00.123456', 'é', 0, 1.5),
    (2, '2021-02-31', NULL, '', 16777217, 1e300, b'0', 'null', X'', NULL, '', NULL, NULL)`,
  `INSERT INTO q VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)`,
];

/**
 * A statement, how many rows it writes or reaches (entries of the journals), and as what MySQL 9.7 refuses
 * it by itself, also without triggers: cascades that lead from a table to itself and on, or on by a key.
 */
const STATEMENTS: readonly (readonly [sql: string, entries: number, mysql?: number])[] = [
  [`INSERT INTO p (code) VALUES ('new'), ('newer')`, 2],
  [`INSERT INTO q SELECT id + 10, y, v FROM q`, 3],
  [`INSERT IGNORE INTO p VALUES (1, 'x', 1), (9, 'nine', 9)`, 1],
  [`INSERT INTO p VALUES (1, 'x', 1) ON DUPLICATE KEY UPDATE n = n + 1`, 1],
  [`INSERT INTO p VALUES (77, 'two', 1) ON DUPLICATE KEY UPDATE n = 99`, 1],
  [`INSERT INTO p VALUES (1, 'x', 1) ON DUPLICATE KEY UPDATE n = n`, 0],
  [`REPLACE INTO q VALUES (1, 1, 5), (7, 7, 7)`, 2],
  [`UPDATE q SET v = v + 1`, 3],
  [`UPDATE q SET v = v`, 0],
  [`UPDATE IGNORE w SET v = 'q' WHERE k = 'a'`, 1],
  [`UPDATE w SET v = 'X' WHERE v = 'x'`, 1],
  [`UPDATE w SET k = 'A' WHERE k = 'a'`, 1],
  [`UPDATE w SET k = 'c' WHERE k = 'a'`, 2],
  [`UPDATE q SET id = id + 1 ORDER BY id DESC`, 6],
  [`DELETE FROM q WHERE v > 1`, 2],
  [`DELETE FROM q`, 3],
  [`DELETE IGNORE FROM p WHERE id = 4`, 1],
  [`DELETE q, w FROM q JOIN w ON w.k = 'a' WHERE q.id = 1`, 2],
  [`UPDATE q JOIN w ON w.k = 'a' SET q.v = 7, w.v = 'z' WHERE q.id = 1`, 2],
  [`UPDATE z SET d = '2020-01-01' WHERE id = 1`, 1],
  [`UPDATE z SET tx = 'x', bl = X'01'`, 2],
  [`UPDATE z SET fl = 16777220 WHERE id = 2`, 1],
  [`DELETE FROM z`, 2],
  [`DELETE FROM p WHERE id = 1`, 11],
  [`DELETE FROM p WHERE id IN (1, 2)`, 17],
  [`DELETE FROM c WHERE id = 11`, 3],
  [`DELETE FROM e WHERE id = 1`, 6, 6575],
  [`DELETE FROM e WHERE id = 6`, 1],
  // Also where the rows, and those that refer to them, come to be under other keys.
  [`UPDATE p SET id = 50 WHERE id = 1`, 13, 1452],
  [`UPDATE p SET id = 50 WHERE id = 3`, 3],
  [`UPDATE h SET n = 9 WHERE pid = 1 AND n = 1`, 4],
  [`DELETE p, c FROM p JOIN c ON c.pid = p.id WHERE p.id = 3`, 2],
];

interface Scene {
  readonly stage: Stage;
  readonly name: string;
  readonly database: ShadowDatabase;
  readonly candidate: Connection;
  readonly admin: Connection;
}

async function scene(engine: Engine): Promise<Scene> {
  const stage = await stageOf(engine, ...SCHEMA);
  await stage.client.query(
    `SET SESSION foreign_key_checks = 0, sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'`,
  );
  for (const sql of ROWS) await stage.client.query(sql);
  const name = await rolloutOf(stage);
  const database = await openTrunk(stage.server, name);
  const fence = await database.takeFence('test');
  if (fence === null) throw new Error('it is held');
  for (let i = 0; i < 2; i += 1) {
    expect(await database.installOverlay(fence)).toEqual({
      ...{ notCaptured: [], sequencesLeft: [], triggersLeft: [] },
    });
  }
  const rights = 'SELECT, INSERT, UPDATE, DELETE, EXECUTE';
  const candidate = await stranger(stage, name, rights);
  const admin = await sessionOn(stage.url, name);
  await admin.query('SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED');
  return { stage, name, database, candidate, admin };
}

/** Null if it was done. */
async function errnoOf(done: Promise<unknown>): Promise<number | null> {
  try {
    await done;
    return null;
  } catch (error) {
    return (error as { readonly errno: number }).errno;
  }
}

async function columnsOf(client: Connection, database: string, table: string): Promise<string> {
  const rows = await rowsOf(
    client,
    `SELECT COLUMN_NAME AS name FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '${database}'
      AND TABLE_NAME = '${table}' AND EXTRA NOT LIKE '%GENERATED%' ORDER BY ORDINAL_POSITION`,
  );
  return rows.map((row) => `t.${String(row['name'])}`).join(', ');
}

/** An enum also by its number, a float by all its digits. */
function exactly(column: string): string {
  if (column === 't.fl') return `CAST(${column} AS DOUBLE)`;
  if (column === 't.en') return `${column} + 0, ${column}`;
  return column === 't.js' ? `CAST(${column} AS CHAR)` : `HEX(CAST(${column} AS BINARY))`;
}

/** Production's image by the journal, and the trunk's; both with the bytes of every value. */
async function images({ stage, name, admin }: Scene): Promise<readonly [unknown, unknown]> {
  const both: Record<string, unknown>[] = [{}, {}];
  for (const table of TABLES) {
    const columns = await columnsOf(admin, name, table);
    const journal = `\`${name}__understudy\`.\`${table}#journal\``;
    const [key] = await rowsOf(
      admin,
      `SELECT GROUP_CONCAT(CONCAT('j.', COLUMN_NAME, ' = t.', COLUMN_NAME) SEPARATOR ' AND ') AS k
        FROM information_schema.STATISTICS
        WHERE TABLE_SCHEMA = '${name}' AND TABLE_NAME = '${table}' AND INDEX_NAME = 'PRIMARY'`,
    );
    const bytes = columns.replaceAll(/t\.\w+/g, exactly);
    const ours = `SELECT ${bytes} FROM \`${name}\`.${table} t
        WHERE NOT EXISTS (SELECT 1 FROM ${journal} j WHERE ${String(key?.['k'])})
      UNION ALL SELECT ${bytes} FROM ${journal} t WHERE understudy_present = 1 ORDER BY 1, 2`;
    const theirs = `SELECT ${bytes} FROM \`${stage.trunk}\`.${table} t ORDER BY 1, 2`;
    for (const [i, sql] of [ours, theirs].entries()) {
      const [rows] = await admin.query({ sql, rowsAsArray: true });
      const into = both[i];
      if (into !== undefined) into[table] = JSON.stringify(rows);
    }
  }
  return [both[0], both[1]];
}

async function entries({ name, admin }: Scene): Promise<number> {
  const counts = TABLES.map(
    (table) => `SELECT COUNT(*) AS n FROM \`${name}__understudy\`.\`${table}#journal\``,
  );
  const [sum] = await rowsOf(admin, `SELECT SUM(n) AS n FROM (${counts.join(' UNION ALL ')}) x`);
  return Number(sum?.['n']);
}

describe.each(ENGINES)('capture on %s', (engine) => {
  it('keeps production’s image through every kind of statement, and nothing of what is rolled back', async () => {
    const at = await scene(engine);
    const { candidate } = at;
    for (const mode of ['', 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE']) {
      await candidate.query(`SET SESSION sql_mode = '${mode}', time_zone = '+05:30'`);
      for (const [sql, expected, refusal] of STATEMENTS) {
        await candidate.query('START TRANSACTION');
        const errno = engine === 'mysql' ? (refusal ?? null) : null;
        expect(await errnoOf(candidate.query(sql)), sql).toBe(errno);
        const [ours, theirs] = await images(at);
        expect(ours, sql).toEqual(theirs);
        expect(await entries(at), sql).toBe(errno === null ? expected : 0);
        await candidate.query('ROLLBACK');
        expect(await entries(at), sql).toBe(0);
      }
    }
  });

  it('takes no row of production’s for gone when a change of a key to its own is left out', async () => {
    const at = await scene(engine);
    for (const checks of [1, 0]) {
      await at.candidate.query(`SET SESSION foreign_key_checks = ${String(checks)}`);
      for (const sql of [
        `UPDATE IGNORE q SET id = 2, y = 2 WHERE id = 1`,
        `UPDATE IGNORE h SET n = 2 WHERE pid = 1 AND n = 1`,
        `UPDATE IGNORE p SET id = 2 WHERE id = 1`,
        `UPDATE IGNORE q JOIN w ON w.k = 'a' SET q.id = 3, q.y = 3 WHERE q.id = 1`,
        `UPDATE IGNORE q SET id = 3, y = 3`,
      ]) {
        await at.candidate.query('START TRANSACTION');
        // The servers refuse it where rows that refer to it would meet others.
        expect([null, 1761], sql).toContain(await errnoOf(at.candidate.query(sql)));
        const [ours, theirs] = await images(at);
        expect(ours, sql).toEqual(theirs);
        await at.candidate.query('ROLLBACK');
      }
    }
  });

  it('takes LOAD DATA, statements that fail, and keeps the first image of what is written often', async () => {
    const at = await scene(engine);
    const { candidate, admin } = at;
    await expect(
      candidate.query(`INSERT INTO q VALUES (8, 8, 8), (1, 1, 1)`),
    ).rejects.toMatchObject({ errno: 1062 });
    expect(await entries(at)).toBe(0);
    await admin.query('SET GLOBAL local_infile = ON');
    const load = (how: string, text: string) =>
      candidate.query({
        sql: `LOAD DATA LOCAL INFILE 'any' ${how} INTO TABLE q FIELDS TERMINATED BY ','`,
        infileStreamFactory: () => Readable.from([Buffer.from(text)]),
      });
    await load('REPLACE', '1,1,9\n9,9,9\n');
    await load('IGNORE', '2,2,9\n10,9,9\n');
    expect(await entries(at)).toBe(3);
    await candidate.query('DELETE FROM q WHERE id IN (1, 9)');
    await candidate.query('INSERT INTO q VALUES (1, 1, 3)');
    await candidate.query('UPDATE q SET v = 4 WHERE id = 1');
    const [ours, theirs] = await images(at);
    expect(ours).toEqual(theirs);
    expect(await entries(at)).toBe(3);
  });

  it('tells what was changed, by table, kind and column, and what is the same again', async () => {
    const at = await scene(engine);
    const { candidate, database, stage } = at;
    await candidate.query(`INSERT INTO w VALUES ('new', NULL)`);
    await candidate.query(`UPDATE w SET v = 'X' WHERE k = 'a'`);
    await candidate.query(`DELETE FROM w WHERE k = 'b'`);
    await candidate.query(`UPDATE q SET v = 9 WHERE id = 1`);
    await candidate.query(`UPDATE q SET v = 1 WHERE id = 1`);
    const table = (name: string) => ({ schema: stage.source, name });
    const counts = await database.overlayCounts();
    expect(counts.filter((one) => one.table.name === 'w' || one.table.name === 'q')).toEqual([
      {
        table: table('q'),
        inserted: 0,
        updated: 0,
        deleted: 0,
        blocked: 0,
        pairs: 0,
        paired: 0,
        equal: 1,
        rows: 3,
      },
      {
        table: table('w'),
        inserted: 1,
        updated: 1,
        deleted: 1,
        blocked: 0,
        pairs: 0,
        paired: 0,
        equal: 0,
        rows: 2,
      },
    ]);
    const rows = await database.overlayRows(10);
    expect(rows.map(({ at: when, ...row }) => [row, when.getTime() > 1e12])).toEqual([
      [
        {
          ...{ table: table('w'), key: ['new'], kind: 'insert', trace: null },
          candidate: true,
          columns: [
            { column: 'k', production: null, candidate: 'new' },
            { column: 'v', production: null, candidate: null },
          ],
        },
        true,
      ],
      [
        {
          ...{ table: table('w'), key: ['a'], kind: 'update', trace: null },
          candidate: true,
          columns: [{ column: 'v', production: 'x', candidate: 'X' }],
        },
        true,
      ],
      [
        {
          ...{ table: table('w'), key: ['b'], kind: 'delete', trace: null },
          candidate: false,
          columns: [
            { column: 'k', production: 'b', candidate: null },
            { column: 'v', production: 'y', candidate: null },
          ],
        },
        true,
      ],
    ]);
    const one = await database.overlayRows(10, { table: table('w'), key: ['A'] });
    expect(one).toHaveLength(1);
    expect(await database.overlayRows(1)).toHaveLength(1);
    await expect(database.overlayRows(1, { key: ['A'] })).rejects.toMatchObject({ code: 'USAGE' });
  });

  it('lets pass what is applied, numbers new rows far above, and fails closed', async () => {
    const at = await scene(engine);
    const { candidate, database, admin, name, stage } = at;
    const made = () =>
      rowsOf(
        admin,
        `SELECT TRIGGER_NAME AS name, CREATED AS created FROM information_schema.TRIGGERS
          WHERE TRIGGER_SCHEMA = '${name}' ORDER BY 1`,
      );
    const before = await made();
    const fence = await (async () => {
      const other = await openTrunk(stage.server, name);
      await database[Symbol.asyncDispose]();
      await expect.poll(async () => (await other.fenceState()).free).toBe(true);
      const taken = await other.takeFence('applier');
      if (taken === null) throw new Error('it is held');
      const change = rowsStep(stage, 'q', put(['id', 'y'], { id: '1', y: '1', v: '100' }));
      await other.apply(taken, batchOf([change]));
      return taken;
    })();
    expect(fence.generation).toBeGreaterThan(2n);
    // Who takes it over leaves what captures as it is.
    expect(await made()).toEqual(before);
    expect(await rowsOf(admin, 'SELECT v FROM q WHERE id = 1')).toEqual([{ v: 100 }]);
    expect(await entries(at)).toBe(0);
    await candidate.query(`INSERT INTO p (code) VALUES ('far')`);
    expect(await rowsOf(admin, `SELECT id FROM p WHERE code = 'far'`)).toEqual([
      { id: 1_610_612_736 },
    ]);
    await admin.query(`DROP TABLE \`${name}__understudy\`.\`q#journal\``);
    for (const sql of [
      'UPDATE q SET v = 0',
      'DELETE IGNORE FROM q',
      'INSERT IGNORE INTO q VALUES (8, 8, 8)',
    ]) {
      await expect(candidate.query(sql), sql).rejects.toMatchObject({
        errno: expect.toBeOneOf([1146, 1142, 1356]) as number,
      });
    }
  });
});
