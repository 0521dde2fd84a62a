/**
 * Tables of a production of MySQL and MariaDB change while they are followed: by a real connector, which
 * tells of each statement on its schema-change topic, into a real shadow.
 */
import type { Connection, RowDataPacket } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { binlogConnector } from '../support/connectors.ts';
import { startMariaDB } from '../support/mariadb.ts';
import type { MySqlServer } from '../support/mysql-server.ts';
import { startMySQL } from '../support/mysql.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { until } from '../support/shop-follow.ts';
import { connectBinlog } from '../support/types/binlog.ts';
import { followed, Workplace } from '../support/understudy.ts';

const MATERIALIZE = ['materialize', '--until-caught-up'];
/** Beyond the stall limit: what one slow step leads to is another test's subject. */
const WITHIN_MS = 150_000;

interface Status {
  readonly databases: readonly {
    readonly held: readonly {
      readonly table: string;
      readonly why: string;
      readonly queued: number;
    }[];
    readonly deadLetters: number;
  }[];
}

async function rowsOf(client: Connection, sql: string): Promise<readonly RowDataPacket[]> {
  const [rows] = await client.query<RowDataPacket[]>(sql);
  return rows;
}

/** Definitions and rows of these tables; null for one that is not there. */
async function state(client: Connection, tables: readonly string[]): Promise<unknown> {
  const found: Record<string, unknown> = {};
  for (const table of tables) {
    try {
      const [made] = await rowsOf(client, `SHOW CREATE TABLE ${table}`);
      found[table] = [
        String(made?.['Create Table']).replace(/ AUTO_INCREMENT=\d+/, ''),
        await rowsOf(client, `SELECT * FROM ${table} ORDER BY 1`),
      ];
    } catch {
      found[table] = null;
    }
  }
  return found;
}

describe.each([
  { engine: 'mysql', start: startMySQL },
  { engine: 'mariadb', start: startMariaDB },
] as const)('$engine', ({ engine, start }) => {
  const prefix = `evolve${engine}${String(process.pid)}`;
  let production: MySqlServer;
  let shadow: MySqlServer;
  let source: Connection;
  let trunk: Connection;
  let workplace: Workplace;
  let run: ReturnType<Workplace['start']>;
  let marks = 0;

  const configure = async (name: string, evolution: Record<string, string> = {}) =>
    workplace.configure({
      ...followed(prefix, {
        ...{ kafka: await sharedKafka(), connect: await sharedConnect(), shadow },
        ...{ connector: engine, production: { url: `${production.url}shop` } },
      }),
      trunk: { name },
      evolution,
    });

  /** Waits until all that production did is in the trunk, but for what waits; a process follows. */
  const settled = async (): Promise<void> => {
    marks += 1;
    await source.query('INSERT INTO mark VALUES (?)', [marks]);
    const last = `SELECT id FROM mark WHERE id = ${String(marks)}`;
    try {
      await until('the last mark', async () => (await rowsOf(trunk, last)).length > 0, WITHIN_MS);
    } catch (error) {
      throw new Error(`${JSON.stringify(await workplace.json(['status']))}\n${run.stderr}`, {
        cause: error,
      });
    }
  };

  const held = async (): Promise<Status['databases'][0]['held']> =>
    (await workplace.json<Status>(['status'])).databases[0]?.held ?? [];

  const both = async (...tables: readonly string[]): Promise<readonly [unknown, unknown]> => [
    await state(trunk, tables),
    await state(source, tables),
  ];

  beforeAll(async () => {
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    [production, shadow] = await Promise.all([start(), start()]);
    await production.execute([
      'CREATE DATABASE shop CHARACTER SET utf8mb4',
      'CREATE TABLE shop.mark (id INT PRIMARY KEY)',
      'CREATE TABLE shop.milk (id INT PRIMARY KEY, note TEXT NOT NULL)',
      `INSERT INTO shop.milk VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')`,
      `CREATE TABLE shop.cheese (id INT PRIMARY KEY, name VARCHAR(6), grams INT UNSIGNED, price DECIMAL(4,2),
        body TINYTEXT, mould ENUM('none', 'white'), tags SET('a', 'b') NOT NULL, at DATETIME, age INT NOT NULL)`,
      `INSERT INTO shop.cheese VALUES (1, 'edam', 100, 1.50, 'x', 'none', 'a,b', '2024-02-29 01:02:03', 1)`,
      'CREATE TABLE shop.whey (id INT PRIMARY KEY, kind VARCHAR(5), litres INT, colour VARCHAR(5))',
      'CREATE TABLE shop.curd (id INT PRIMARY KEY, batch INT, note VARCHAR(9))',
      'CREATE TABLE shop.brine (id INT PRIMARY KEY)',
      'INSERT INTO shop.brine VALUES (1)',
      `INSERT INTO shop.curd VALUES (1, 1, 'a'), (2, 1, 'b')`,
      `INSERT INTO shop.whey VALUES (1, 'sweet', 5, 'pale'), (2, 'acid', 6, 'green')`,
    ]);
    source = await connectBinlog(`${production.url}shop`);
    const from = { server: production, database: 'shop', broker: kafka.broker };
    await connect.createConnector(prefix, await binlogConnector(engine, from, prefix));
    workplace = await Workplace.make({});
    await configure('copy');
    await workplace.json(MATERIALIZE);
    trunk = await connectBinlog(`${shadow.url}copy`);
    run = workplace.start(['run']);
    await settled();
  });

  afterAll(async () => {
    await run.die();
    await workplace[Symbol.asyncDispose]();
    await Promise.all([source.end(), trunk.end()]);
    await (await sharedConnect()).deleteConnector(prefix);
    await Promise.all([production.stop(), shadow.stop()]);
  });

  it('adds columns with what they have in rows that were there', async () => {
    const [old, same] = await both('milk', 'cheese', 'whey');
    expect(old).toEqual(same);
    for (const sql of [
      `ALTER TABLE milk ADD COLUMN fat DECIMAL(3,1) NOT NULL DEFAULT 3.5 AFTER id`,
      `INSERT INTO milk (id, note, fat) VALUES (5, 'five', 1.5)`,
      `ALTER TABLE milk ADD COLUMN brand VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT 'it''s',
        ADD COLUMN cold BOOL FIRST, ADD COLUMN strict INT NOT NULL, ADD COLUMN doubled INT AS (id * 2) STORED`,
      `UPDATE milk SET cold = TRUE WHERE id IN (2, 5)`,
      `ALTER TABLE milk ALTER COLUMN fat SET DEFAULT 9.9, MODIFY strict INT NULL`,
      `INSERT INTO milk (id, note, strict) VALUES (6, 'six', NULL)`,
      `DELETE FROM milk WHERE id = 3`,
    ]) {
      await source.query(sql);
    }
    await settled();
    const [ours, theirs] = await both('milk');
    expect(ours).toEqual(theirs);
  });

  it('widens columns, adds labels, and makes new tables', async () => {
    for (const sql of [
      `ALTER TABLE cheese MODIFY name VARCHAR(200), MODIFY grams BIGINT UNSIGNED, MODIFY price DECIMAL(8,3),
        MODIFY body MEDIUMTEXT, MODIFY mould ENUM('none', 'blue', 'white', 'red'),
        MODIFY tags SET('a', 'b', 'c') NOT NULL, MODIFY at DATETIME(6), MODIFY age INT NULL`,
      `INSERT INTO cheese VALUES (2, 'roquefort', 5000000000, 12345.678, REPEAT('y', 300), 'blue', 'a,c',
        '2024-02-29 01:02:03.123456', NULL)`,
      `UPDATE cheese SET mould = 'red' WHERE id = 1`,
      `CREATE TABLE rennet (id INT AUTO_INCREMENT PRIMARY KEY, cheese INT, since TIMESTAMP(3) NULL,
        KEY (cheese), FOREIGN KEY (cheese) REFERENCES cheese (id))`,
      `INSERT INTO rennet (cheese, since) VALUES (2, '2024-02-29 12:00:00.500')`,
    ]) {
      await source.query(sql);
    }
    await settled();
    const [ours, theirs] = await both('cheese', 'rennet');
    expect(ours).toEqual(theirs);
    expect(await held()).toEqual([]);
  });

  it('lets a table wait whose column was dropped or renamed, until it is accepted', async () => {
    for (const sql of [
      `UPDATE whey SET litres = 7 WHERE id = 1`,
      `ALTER TABLE whey DROP COLUMN kind`,
      `INSERT INTO whey VALUES (3, 8, 'blue')`,
      `ALTER TABLE whey RENAME COLUMN colour TO hue`,
      `UPDATE whey SET hue = 'grey' WHERE id = 2`,
    ]) {
      await source.query(sql);
    }
    await settled();
    expect(await held()).toMatchObject([{ table: 'shop.whey' }]);
    expect(await workplace.json(['schema', 'accept', 'shop.whey'])).toMatchObject({
      ...{ changes: ['column colour renamed to hue', 'column kind dropped'], left: [] },
    });
    await settled();
    const [ours, theirs] = await both('whey');
    expect(ours).toEqual(theirs);
    expect(await held()).toEqual([]);
  });

  it('keeps a table that was dropped, until that is accepted', async () => {
    await source.query('INSERT INTO brine VALUES (2)');
    await source.query('DROP TABLE brine');
    await until('it is told', () => Promise.resolve(run.stderr.includes('shop.brine')), WITHIN_MS);
    await settled();
    expect(await rowsOf(trunk, 'SELECT id FROM brine ORDER BY id')).toEqual([{ id: 1 }, { id: 2 }]);
    expect(await workplace.json(['schema', 'accept', 'shop.brine'])).toMatchObject({
      ...{ changes: ['table dropped'], left: [] },
    });
    await settled();
    expect(await state(trunk, ['brine'])).toEqual({ brine: null });
    await source.query('CREATE TABLE brine (id INT PRIMARY KEY, salt INT)');
    await source.query('INSERT INTO brine VALUES (3, 4)');
    await settled();
    const [ours, theirs] = await both('brine');
    expect(ours).toEqual(theirs);
  });

  it('lets a table wait that was dropped and made again, from before its first row, after SIGKILL too', async () => {
    await source.query('CREATE TABLE crock (id INT PRIMARY KEY, v INT)');
    await source.query('INSERT INTO crock VALUES (1, 1), (2, 2)');
    await settled();
    await source.query('DROP TABLE crock');
    await source.query('CREATE TABLE crock (id INT PRIMARY KEY, v INT)');
    await until('it is told', () => Promise.resolve(run.stderr.includes('shop.crock')), WITHIN_MS);
    await settled();
    const [waiting] = await held();
    expect(waiting).toMatchObject({ table: 'shop.crock', queued: 0 });
    run.kill('SIGKILL');
    await run.ended;
    await source.query('INSERT INTO crock VALUES (1, 7)');
    run = workplace.start(['run']);
    await settled();
    expect(await held()).toMatchObject([{ table: 'shop.crock', queued: 1 }]);
    // The rows of before are as they were.
    expect(await rowsOf(trunk, 'SELECT id, v FROM crock ORDER BY id')).toEqual([
      { id: 1, v: 1 },
      { id: 2, v: 2 },
    ]);
    await workplace.json(['schema', 'accept', 'shop.crock']);
    await workplace.json(['repair', 'shop.crock']);
    await settled();
    const [ours, theirs] = await both('crock');
    expect(ours).toEqual(theirs);
    expect(await held()).toEqual([]);
  });

  it('lets a table wait of which columns were dropped and added again, or changed names', async () => {
    await source.query('CREATE TABLE vat (id INT PRIMARY KEY, hot INT, cold INT, old INT)');
    await source.query('INSERT INTO vat VALUES (1, 10, 20, 30), (2, 11, 21, 31)');
    await settled();
    // Which no catalogue shows; of rows that were there nothing is told.
    await source.query('ALTER TABLE vat RENAME COLUMN hot TO warm');
    await source.query('ALTER TABLE vat RENAME COLUMN cold TO hot');
    await source.query('ALTER TABLE vat RENAME COLUMN warm TO cold');
    const waits = (): Promise<boolean> =>
      held().then((tables) => tables.some(({ table }) => table === 'shop.vat'));
    await until('the swap is told', waits, WITHIN_MS);
    expect((await held())[0]?.why).toContain('columns replaced by others');
    await source.query('INSERT INTO vat VALUES (3, 12, 22, 32)');
    await settled();
    expect(await held()).toMatchObject([{ table: 'shop.vat', queued: 1 }]);
    await workplace.json(['schema', 'accept', 'shop.vat']);
    await workplace.json(['repair', 'shop.vat']);
    await settled();
    expect(await held()).toEqual([]);
    const values = 'SELECT id, hot, cold, old FROM vat ORDER BY id';
    expect(await rowsOf(trunk, values)).toEqual(await rowsOf(source, values));
    await source.query('ALTER TABLE vat DROP COLUMN old');
    await source.query('ALTER TABLE vat ADD COLUMN old INT');
    await until('the column is told', waits, WITHIN_MS);
    run.kill('SIGKILL');
    await run.ended;
    await source.query('UPDATE vat SET old = 99 WHERE id = 2');
    run = workplace.start(['run']);
    await settled();
    expect(await held()).toMatchObject([{ table: 'shop.vat', queued: 1 }]);
    await workplace.json(['schema', 'accept', 'shop.vat']);
    await workplace.json(['repair', 'shop.vat']);
    await settled();
    expect(await rowsOf(trunk, values)).toEqual(await rowsOf(source, values));
    expect(await held()).toEqual([]);
  });

  it('gives tables the names that production gave them, also names that others had', async () => {
    for (const sql of [
      'CREATE TABLE jar (id INT PRIMARY KEY, v INT)',
      `CREATE TABLE lid (id INT PRIMARY KEY, jar INT, CONSTRAINT on_jar FOREIGN KEY (jar)
        REFERENCES jar (id) ON DELETE CASCADE)`,
      'INSERT INTO jar VALUES (1, 1), (2, 2)',
      'INSERT INTO lid VALUES (1, 1), (2, 2)',
    ]) {
      await source.query(sql);
    }
    await settled();
    for (const sql of [
      'UPDATE jar SET v = 10 WHERE id = 2',
      'RENAME TABLE jar TO pot',
      'INSERT INTO pot VALUES (3, 3)',
      'DELETE FROM pot WHERE id = 1',
      'ALTER TABLE pot RENAME TO crucible, ADD COLUMN w INT',
      'INSERT INTO crucible VALUES (4, 4, 4)',
      'UPDATE crucible SET v = 20 WHERE id = 2',
    ]) {
      await source.query(sql);
    }
    await settled();
    const tables = ['crucible', 'lid', 'jar', 'pot', 'jar_old', 'jar_new'];
    const equal = async (): Promise<void> => {
      await settled();
      const [ours, theirs] = await both(...tables);
      expect(ours).toEqual(theirs);
      expect(await held()).toEqual([]);
    };
    await equal();
    await source.query('CREATE TABLE jar (id INT PRIMARY KEY, x VARCHAR(9))');
    await source.query(`INSERT INTO jar VALUES (1, 'one'), (2, 'two')`);
    await equal();
    // As tools that change tables while they are used do it, and nobody follows.
    run.kill('SIGKILL');
    await run.ended;
    for (const sql of [
      'CREATE TABLE jar_new (id INT PRIMARY KEY, x VARCHAR(99), y INT)',
      'INSERT INTO jar_new (id, x) SELECT id, x FROM jar',
      `UPDATE jar SET x = 'old' WHERE id = 1`,
      'RENAME TABLE jar TO jar_old, jar_new TO jar',
      `UPDATE jar SET x = 'new', y = 7 WHERE id = 2`,
      'DELETE FROM jar_old WHERE id = 2',
      'RENAME TABLE jar TO tmp, crucible TO jar, tmp TO crucible',
      'INSERT INTO jar VALUES (9, 9, 9)',
      `INSERT INTO crucible VALUES (9, 'nine', 9)`,
    ]) {
      await source.query(sql);
    }
    run = workplace.start(['run']);
    await equal();
  });

  it('reads records of all that tables ever were into a trunk that is made later', async () => {
    await source.query('CREATE TABLE cask (id INT PRIMARY KEY)');
    await source.query('INSERT INTO cask VALUES (1)');
    await settled();
    await source.query('DROP TABLE cask');
    await settled();
    await configure('late');
    // One was dropped and made again: rows of both are in the log.
    await workplace.json(MATERIALIZE, 2);
    const late = await connectBinlog(`${shadow.url}late`);
    // Rows without a column, since it was added later, get its default of now: `milk` differs.
    const tables = ['cheese', 'whey', 'rennet', 'lid', 'jar', 'jar_old', 'crucible'];
    expect(await state(late, tables)).toEqual(await state(source, tables));
    expect((await held()).map(({ table }) => table).toSorted()).toEqual([
      ...['shop.brine', 'shop.crock', 'shop.vat'],
    ]);
    await late.end();
    await configure('copy');
  });

  it('lets a table wait whose key was changed, until it is accepted', async () => {
    for (const sql of [
      `UPDATE curd SET note = 'c' WHERE id = 2`,
      `ALTER TABLE curd DROP PRIMARY KEY, ADD PRIMARY KEY (id, batch)`,
      `INSERT INTO curd VALUES (1, 2, 'd')`,
      `DELETE FROM curd WHERE id = 1 AND batch = 1`,
    ]) {
      await source.query(sql);
    }
    await settled();
    expect(await held()).toMatchObject([
      { table: 'shop.curd', why: expect.stringContaining('key changed from (id)') as string },
    ]);
    expect(await rowsOf(trunk, 'SELECT note FROM curd ORDER BY id')).toEqual([
      { note: 'a' },
      { note: 'c' },
    ]);
    await workplace.json(['schema', 'accept', 'shop.curd']);
    await settled();
    const [ours, theirs] = await both('curd');
    expect(ours).toEqual(theirs);
  });
});
