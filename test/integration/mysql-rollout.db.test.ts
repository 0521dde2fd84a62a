/** Rollouts of MySQL and MariaDB as their shadow server makes them: copies, accounts, dropping. */
import type { Connection } from 'mysql2/promise';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ShadowDatabase } from '../../src/dialect/dialect.ts';
import { ServerAddress } from '../../src/dialect/mysql/session/address.ts';
import { readFlavour } from '../../src/dialect/mysql/session/flavour.ts';
import { workLock } from '../../src/dialect/mysql/session/names.ts';
import { Connection as OwnConnection } from '../../src/dialect/mysql/session/connection.ts';
import { cloneDatabase } from '../../src/dialect/mysql/shadow/clone.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import {
  batchOf,
  ENGINES,
  freshName,
  openTrunk,
  overlaidRollout,
  put,
  rowsOf,
  rolloutName,
  rolloutOf,
  rowsStep,
  sessionOn,
  stageOf,
  stranger,
  type Row,
  type Stage,
} from './mysql.fixture.ts';

const ITEM = 'CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(40))';

const SHOP = [
  `CREATE TABLE customer (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(60) CHARACTER SET latin1 NOT NULL COMMENT 'it''s; a \\\\ b',
    balance DECIMAL(14,4) NOT NULL DEFAULT 0.0000,
    half DECIMAL(14,4) GENERATED ALWAYS AS (balance / 2) STORED,
    shout VARCHAR(60) GENERATED ALWAYS AS (UPPER(name)) VIRTUAL,
    kind ENUM('a', 'b') NULL, day DATE NULL, flags BIT(5) NULL, doc JSON NULL, bytes BLOB NULL,
    at TIMESTAMP(6) NULL, rate DOUBLE NULL,
    UNIQUE KEY of_name (name), KEY of_half (half), KEY of_day (day, kind),
    CONSTRAINT sane CHECK (balance > -1000)
  ) AUTO_INCREMENT = 5000`,
  `CREATE TABLE orders (
    id INT NOT NULL, customer_id BIGINT NOT NULL, parent INT NULL, note TEXT NULL,
    PRIMARY KEY (id), KEY of_customer (customer_id), FULLTEXT KEY of_note (note),
    CONSTRAINT by_customer FOREIGN KEY (customer_id) REFERENCES customer (id) ON DELETE CASCADE,
    CONSTRAINT below FOREIGN KEY (parent) REFERENCES orders (id)
  )`,
  `CREATE TABLE pair (a VARCHAR(10) NOT NULL, b INT NOT NULL, c INT NULL, PRIMARY KEY (a, b))`,
  'CREATE TABLE keyless (a INT NULL, b VARCHAR(10) NULL)',
  `CREATE TABLE parted (id INT NOT NULL, y INT NOT NULL, PRIMARY KEY (id, y))
    PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE)`,
  `CREATE TABLE numbered (k INT NOT NULL PRIMARY KEY, n INT NOT NULL AUTO_INCREMENT, KEY of_n (n))`,
  'CREATE VIEW rich AS SELECT id, name FROM customer WHERE balance > 10 WITH CASCADED CHECK OPTION',
  'CREATE SQL SECURITY INVOKER VIEW a_rich_one AS SELECT r.name, o.id FROM rich r JOIN orders o ON o.customer_id = r.id',
];

/** What only sessions without strict mode take is in there too. */
async function fill(client: Connection): Promise<void> {
  await client.query(`SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'`);
  await client.query(
    `INSERT INTO customer (id, name, balance, kind, day, flags, doc, bytes, at, rate) VALUES
      (0, 'zero', 0, 'a', '0000-00-00', b'00001', '{"a": 1}', X'00FF27', '2020-01-01 00:00:00.123456', -0e0),
      (7, 'Zürich ', 12.5, 'nonsense', '2021-02-31', b'11111', '[]', X'', NULL, 1.5e300)`,
  );
  await client.query(
    `INSERT INTO customer (id, name, balance) SELECT 100 + seq.n, CONCAT('c', seq.n), seq.n
      FROM (WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 500)
        SELECT n FROM s) seq`,
  );
  await client.query(
    `INSERT INTO orders SELECT id, id, NULL, 'words' FROM customer;`.replace(';', ''),
  );
  await client.query(`UPDATE orders SET parent = 101 WHERE id > 300`);
  await client.query(`INSERT INTO pair VALUES ('a', 1, NULL), ('A ', 2, 3), ('b', -1, 0)`);
  await client.query(`INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (NULL, NULL)`);
  await client.query(`INSERT INTO parted VALUES (1, 1999), (1, 2001), (2, 2001)`);
  await client.query(`INSERT INTO numbered VALUES (5, 77)`);
}

async function tablesOf(client: Connection, database: string): Promise<readonly string[]> {
  const rows = await rowsOf(
    client,
    `SELECT TABLE_NAME AS name FROM information_schema.TABLES
      WHERE TABLE_SCHEMA = '${database}' AND TABLE_TYPE = 'BASE TABLE' ORDER BY 1`,
  );
  return rows.map((row) => String(row['name']));
}

/** Every definition and the server's checksum of every table. */
async function shapeOf(client: Connection, database: string): Promise<readonly Row[]> {
  const found: Row[] = [];
  for (const name of await tablesOf(client, database)) {
    const [shown] = await rowsOf(client, `SHOW CREATE TABLE \`${database}\`.\`${name}\``);
    const [sum] = await rowsOf(client, `CHECKSUM TABLE \`${database}\`.\`${name}\``);
    found.push({ name, definition: shown?.['Create Table'], checksum: sum?.['Checksum'] });
  }
  const views = await rowsOf(
    client,
    `SELECT TABLE_NAME AS name, VIEW_DEFINITION AS definition, CHECK_OPTION AS checks,
        SECURITY_TYPE AS security
      FROM information_schema.VIEWS WHERE TABLE_SCHEMA = '${database}' ORDER BY 1`,
  );
  return [
    ...found,
    ...views.map((view) => ({
      ...view,
      definition: String(view['definition']).replaceAll(`\`${database}\`.`, ''),
    })),
  ];
}

/** What our own reader makes of every table. */
async function hashesOf(database: ShadowDatabase): Promise<Readonly<Record<string, unknown>>> {
  await using reader = await database.openBaseSnapshot();
  const hashes: Record<string, unknown> = {};
  for (const [label, table] of await reader.tables()) {
    const compared = { table: table.id, key: table.key, columns: table.columns.map((c) => c.name) };
    for await (const leaves of reader.hashLeaves(compared, [{ from: null, to: null }])) {
      hashes[label] = leaves;
    }
  }
  return hashes;
}

async function leftOf(client: Connection, name: string): Promise<readonly Row[]> {
  return rowsOf(
    client,
    `SELECT SCHEMA_NAME AS what FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '${name}%'
      UNION ALL SELECT User FROM mysql.user WHERE User LIKE '${name.slice(0, 20)}%'`,
  );
}

const item = (stage: Stage, id: number) =>
  rowsStep(stage, 'item', put(['id'], { id: String(id), name: 'n' }));

/** A copy of the trunk as of a large one: in ranges of keys, with what can come late when the rows are in. */
async function cloneInParts(stage: Stage): Promise<string> {
  const to = rolloutName(stage);
  const address = new ServerAddress(stage.url, 'shadow.url');
  await using server = new OwnConnection({ address, database: null });
  const flavour = await server.use({ doing: 'look', otherwise: 'INTERNAL' }, readFlavour);
  await cloneDatabase(
    address,
    flavour,
    { from: stage.trunk, to, rolloutName: 'next' },
    { rangeBytes: 2_000, lateBytes: 0 },
  );
  return to;
}

describe.each(ENGINES)('a rollout on %s', (engine) => {
  it('is the trunk: its shapes, its rows by two checksums, its numbers, and its position', async () => {
    const stage = await stageOf(engine, ...SHOP);
    await fill(stage.client);
    await stage.apply(rowsStep(stage, 'pair', put(['a', 'b'], { a: 'q', b: '1', c: '2' })));
    const to = await rolloutOf(stage);
    const copy = await openTrunk(stage.server, to);
    expect(await shapeOf(stage.client, to)).toEqual(await shapeOf(stage.client, stage.trunk));
    expect(await hashesOf(copy)).toEqual(await hashesOf(stage.database));
    expect(copy.marker).toMatchObject({ kind: 'rollout', name: 'next', topicPrefix: 'p' });
    expect(copy.marker.id).not.toBe(stage.database.marker.id);
    expect(await copy.resumePoint()).toEqual(await stage.database.resumePoint());
    expect(await copy.progress()).toEqual(await stage.database.progress());
    expect(await copy.fenceState()).toMatchObject({ generation: 2n, holder: null, free: true });
    expect(await stage.database.fenceState()).toMatchObject({ holder: 'test', free: false });
  });

  it('is the same in ranges of its keys, with indexes made when the rows are in', async () => {
    const stage = await stageOf(engine, ...SHOP);
    await fill(stage.client);
    await rowsOf(stage.client, 'ANALYZE TABLE customer, orders, pair, keyless, parted, numbered');
    const to = await cloneInParts(stage);
    expect(await shapeOf(stage.client, to)).toEqual(await shapeOf(stage.client, stage.trunk));
    const copy = await openTrunk(stage.server, to);
    expect(await hashesOf(copy)).toEqual(await hashesOf(stage.database));
  });

  it('has the foreign keys of tables that refer to each other, each made when the rows are in', async () => {
    const names = Array.from({ length: 12 }, (_, i) => `t${String(i)}`);
    const stage = await stageOf(
      engine,
      ...names.map(
        (name) =>
          `CREATE TABLE ${name} (id INT PRIMARY KEY, a INT, b INT, KEY of_a (a), KEY of_b (b))`,
      ),
      ...names.map(
        (name, i) =>
          `ALTER TABLE ${name}
            ADD CONSTRAINT ${name}_a FOREIGN KEY (a) REFERENCES t${String((i + 1) % 12)} (id) ON DELETE CASCADE,
            ADD CONSTRAINT ${name}_b FOREIGN KEY (b) REFERENCES t${String((i + 5) % 12)} (id)`,
      ),
    );
    for (let i = 0; i < 10; i++) {
      const to = await cloneInParts(stage);
      expect(await shapeOf(stage.client, to)).toEqual(await shapeOf(stage.client, stage.trunk));
    }
  });

  it('follows on as the trunk does', async () => {
    const stage = await stageOf(engine, ITEM);
    await stage.apply(item(stage, 1));
    const to = await rolloutOf(stage);
    const copy = await openTrunk(stage.server, to);
    const fence = await copy.takeFence('other');
    if (fence === null) throw new Error('it is held');
    const batches = [2, 3].map((id) => batchOf([item(stage, id)]));
    for (const batch of batches) await copy.apply(fence, batch);
    expect(await stage.rows('SELECT id FROM item')).toEqual([{ id: 1 }]);
    for (const batch of batches) await stage.database.apply(stage.fence, batch);
    expect(await shapeOf(stage.client, to)).toEqual(await shapeOf(stage.client, stage.trunk));
    expect(await copy.resumePoint()).toEqual(await stage.database.resumePoint());
    await expect(stage.database.apply(fence, batchOf([item(stage, 4)]))).rejects.toMatchObject({
      code: 'SHADOW_REWOUND',
    });
  });

  it('is of one position, whatever is applied to the trunk meanwhile', async () => {
    const names = Array.from({ length: 12 }, (_, i) => `t${String(i)}`);
    const stage = await stageOf(
      engine,
      ...names.map((name) => `CREATE TABLE ${name} (id INT PRIMARY KEY, n BIGINT)`),
    );
    let stop = false;
    let n = 0n;
    onTestFinished(() => {
      stop = true;
    });
    const applied = (async () => {
      while (!stop) {
        n += 1n;
        const position = { offsets: new Map([['p.x/0', n]]), source: null, eventTimeMs: null };
        const steps = names.map((name) =>
          rowsStep(stage, name, put(['id'], { id: '1', n: String(n) })),
        );
        // It waits while a copy is made.
        await stage.database
          .apply(stage.fence, batchOf(steps, position))
          .catch((error: unknown) => {
            stop ||= !isUnderstudyError(error, 'APPLY_BLOCKED');
          });
      }
    })();
    await expect.poll(() => n).toBeGreaterThan(3n);
    for (let i = 0; i < 3; i += 1) {
      const to = await rolloutOf(stage);
      const copy = await openTrunk(stage.server, to);
      const at = (await copy.progress()).position.offsets.get('p.x/0');
      const reads = names.map((name) => `SELECT n FROM \`${to}\`.${name}`).join(' UNION ALL ');
      const rows = await rowsOf(await sessionOn(stage.url), reads);
      expect(rows).toEqual(names.map(() => ({ n: String(at) })));
    }
    expect(stop).toBe(false);
    stop = true;
    await applied;
  });

  it('carries programs, which name the copy, spare the applier, and do nothing by themselves', async () => {
    const stage = await stageOf(engine, ITEM, 'CREATE TABLE log (id INT PRIMARY KEY, what TEXT)');
    const { client, trunk } = stage;
    await client.query(`INSERT INTO item VALUES (1, 'one')`);
    await client.query(
      `CREATE FUNCTION items() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM ${trunk}.item)`,
    );
    await client.query(`CREATE VIEW counted AS SELECT items() AS n`);
    await client.query(
      `CREATE PROCEDURE add_item(IN at INT) BEGIN INSERT INTO \`${trunk}\`.item VALUES (at, 'ü'); END`,
    );
    await client.query(
      `CREATE TRIGGER noted AFTER INSERT ON item FOR EACH ROW
        INSERT INTO ${trunk}.log VALUES (NEW.id, NEW.name) -- at the end`,
    );
    await client.query(
      `CREATE EVENT sweep ON SCHEDULE EVERY 1 SECOND ENABLE COMMENT 'it''s DO' DO DELETE FROM ${trunk}.log`,
    );
    await client.query(`DROP EVENT IF EXISTS nothing`);
    const to = await rolloutOf(stage);
    const inside = await sessionOn(stage.url, to);
    await inside.query(`INSERT INTO \`${to}\`.item VALUES (2, 'two')`);
    expect(await rowsOf(inside, 'SELECT n FROM counted')).toEqual([{ n: 2 }]);
    await inside.query('CALL add_item(3)');
    expect(await rowsOf(inside, 'SELECT * FROM item ORDER BY id')).toEqual([
      { id: 1, name: 'one' },
      { id: 2, name: 'two' },
      { id: 3, name: 'ü' },
    ]);
    // As whoever applies: nothing was noted.
    expect(await rowsOf(inside, 'SELECT * FROM log')).toEqual([]);
    const someone = await stranger(stage, to, 'INSERT, SELECT');
    await someone.query(`INSERT INTO item VALUES (9, 'nine')`);
    expect(await rowsOf(inside, 'SELECT * FROM log')).toEqual([{ id: 9, what: 'nine' }]);
    expect(await stage.rows('SELECT id FROM item')).toEqual([{ id: 1 }]);
    const events = `SELECT STATUS AS status FROM information_schema.EVENTS WHERE EVENT_SCHEMA = '${to}'`;
    expect(await rowsOf(client, events)).toEqual([{ status: 'DISABLED' }]);
  });

  it('is refused, and nothing is left, where a program cannot be moved for sure', async () => {
    const stage = await stageOf(engine, ITEM);
    await stage.client.query(
      `CREATE FUNCTION odd() RETURNS INT READS SQL DATA
        RETURN (SELECT COUNT(*) FROM ${stage.trunk}.item AS ${stage.trunk})`,
    );
    const to = rolloutName(stage);
    await expect(
      stage.server.clone({ from: stage.trunk, to, rolloutName: 'next' }),
    ).rejects.toMatchObject({
      code: 'SCHEMA_FAILED',
      message: expect.stringContaining('function odd') as string,
    });
    expect(await leftOf(stage.client, to)).toEqual([]);
  });

  it('is none if its maker’s session ends in the midst of it, and the next try makes it', async () => {
    const stage = await stageOf(engine, ITEM, 'CREATE TABLE last (id INT PRIMARY KEY)');
    await stage.apply(item(stage, 1));
    const blocker = await sessionOn(stage.url, stage.trunk);
    await blocker.query('LOCK TABLES last WRITE');
    const to = rolloutName(stage);
    const making = stage.server
      .clone({ from: stage.trunk, to, rolloutName: 'next' })
      .catch((error: unknown) => error);
    const killer = await sessionOn(stage.url);
    const keeper = `SELECT IS_USED_LOCK('${workLock(stage.trunk)}') AS id`;
    const waits = `SELECT 1 AS waits FROM information_schema.PROCESSLIST
      WHERE DB = '${to}' AND STATE LIKE 'Waiting for table%'`;
    await expect
      .poll(async () => (await rowsOf(killer, waits)).length, { timeout: 30_000 })
      .toBeGreaterThan(0);
    const [found] = await rowsOf(killer, keeper);
    expect(await stage.server.open(to)).toBeNull();
    await killer.query(`KILL ${String(found?.['id'])}`);
    await blocker.query('UNLOCK TABLES');
    expect(await making).toMatchObject({ code: 'SHADOW_UNREACHABLE' });
    expect(await leftOf(killer, to)).toEqual([]);
    await stage.server.clone({ from: stage.trunk, to, rolloutName: 'next' });
    expect(await rowsOf(killer, `SELECT id FROM \`${to}\`.item`)).toEqual([{ id: 1 }]);
  });

  it('is not opened as long as it is not whole, and is made anew over what a crash left', async () => {
    const stage = await stageOf(engine, ITEM);
    const to = await rolloutOf(stage);
    await stage.client.query(`UPDATE \`${to}__understudy\`.marker SET state = 'creating'`);
    await stage.client.query(`INSERT INTO \`${to}\`.item VALUES (99, 'left')`);
    expect(await stage.server.open(to)).toBeNull();
    await stage.server.clone({ from: stage.trunk, to, rolloutName: 'next' });
    expect(await rowsOf(stage.client, `SELECT * FROM \`${to}\`.item`)).toEqual([]);
    await expect(
      stage.server.clone({ from: stage.trunk, to, rolloutName: 'next' }),
    ).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
    const foreign = freshName('foreign', stage.url);
    await stage.client.query(`CREATE DATABASE ${foreign}`);
    for (const clone of [
      { from: foreign, to: rolloutName(stage) },
      { from: stage.trunk, to: foreign },
    ]) {
      await expect(stage.server.clone({ ...clone, rolloutName: 'x' })).rejects.toMatchObject({
        code: 'TARGET_NOT_OURS',
      });
    }
  });

  it('lets its candidate read and write rows, change no table, and see nothing else', async () => {
    const stage = await stageOf(engine, ITEM);
    await stage.apply(item(stage, 1));
    const { name: to } = await overlaidRollout(stage);
    // As a pattern the rollout's name would mean this one too.
    const alike = to.replace('_', 'x');
    await stage.client.query(`CREATE DATABASE ${alike}`);
    onTestFinished(async () => {
      await (await sessionOn(stage.url)).query(`DROP DATABASE ${alike}`);
    });
    const first = await stage.server.createCandidateRole({ database: to, role: to, password: 'a' });
    const { url } = await stage.server.createCandidateRole({
      ...{ database: to, role: to, password: 'b' },
    });
    await expect(sessionOn(first.url)).rejects.toMatchObject({ errno: 1045 });
    const candidate = await sessionOn(url);
    expect(await rowsOf(candidate, 'SELECT id FROM item')).toEqual([{ id: 1 }]);
    const shown = (await rowsOf(candidate, 'SHOW DATABASES')).map((row) => row['Database']);
    expect(shown.filter((name) => !String(name).endsWith('_schema'))).toEqual([to]);
    await candidate.query(`INSERT INTO item VALUES (2, 'x')`);
    await candidate.query('UPDATE item SET name = NULL');
    await candidate.query('DELETE FROM item WHERE id = 2');
    for (const sql of [
      'TRUNCATE item',
      'DROP TABLE item',
      'RENAME TABLE item TO other',
      'LOCK TABLES item WRITE',
      'CREATE TEMPORARY TABLE item (id INT)',
      'CREATE TRIGGER noted AFTER INSERT ON item FOR EACH ROW SET @a = 1',
      'DROP TRIGGER `item#understudy_ai`',
      `INSERT INTO ${to}__understudy.captured_table VALUES ('x')`,
      'ALTER TABLE item ADD COLUMN c INT',
      'CREATE TABLE other (id INT)',
      `SELECT * FROM ${stage.trunk}.item`,
      `SELECT * FROM ${to}__understudy.marker`,
      'SELECT * FROM mysql.user',
      `USE ${alike}`,
    ]) {
      await expect(candidate.query(sql), sql).rejects.toMatchObject({
        errno: expect.toBeOneOf([1044, 1142, 1419]) as number,
      });
    }
  });

  it('leaves nothing when it is deleted, whatever the candidate has open', async () => {
    const stage = await stageOf(engine, ITEM);
    const to = await rolloutOf(stage);
    const { url } = await stage.server.createCandidateRole({
      ...{ database: to, role: to, password: 'b' },
    });
    const candidate = await sessionOn(url);
    await candidate.query('START TRANSACTION');
    await candidate.query('SELECT * FROM item');
    await stage.server.drop({ database: to, role: to });
    await expect(candidate.query('SELECT 1')).rejects.toBeInstanceOf(Error);
    expect(await leftOf(stage.client, to)).toEqual([]);
    await stage.server.drop({ database: to, role: to });
  });

  it('neither takes nor drops an account of somebody else', async () => {
    const stage = await stageOf(engine, ITEM);
    const to = await rolloutOf(stage);
    const role = freshName('somebody', stage.url);
    await stage.client.query(`CREATE USER '${role}'@'10.0.0.1'`);
    onTestFinished(async () => {
      await (await sessionOn(stage.url)).query(`DROP USER '${role}'@'10.0.0.1'`);
    });
    for (const attempt of [
      () => stage.server.createCandidateRole({ database: to, role, password: 'x' }),
      () => stage.server.drop({ database: freshName('nothing', stage.url), role }),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
    }
  });
});
