/** Tables that are made, or get another shape, below a candidate of MySQL and MariaDB that goes on writing. */
import { describe, expect, test } from 'vitest';
import { schemaSourceOf, schemaTargetOf, type CarriedChange } from '../../src/dialect/evolving.ts';
import { closeTable } from '../../src/dialect/mysql/overlay/triggers.ts';
import { ServerAddress } from '../../src/dialect/mysql/session/address.ts';
import { Client } from '../../src/dialect/mysql/session/client.ts';
import { CLOSING } from '../../src/dialect/mysql/session/names.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import { changesBetween } from '../../src/schema/schema-change.ts';
import {
  ENGINES,
  imageOf,
  openTrunk,
  overlaidRollout,
  put,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
  type Overlaid,
  type Stage,
} from './mysql.fixture.ts';

const KEYED = 'CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(3), b INT)';
const FRESH = 'CREATE TABLE fresh (id INT PRIMARY KEY AUTO_INCREMENT, v INT)';

/** What production was changed to, as it is carried. */
async function changed(stage: Stage, ...ddl: readonly string[]): Promise<readonly CarriedChange[]> {
  const there = await sessionOn(stage.url, stage.source);
  for (const sql of ddl) await there.query(sql);
  const production = await dialectFor(stage.url).connectProduction(
    `${stage.url}${stage.source}`,
    () => true,
  );
  const changes = changesBetween(
    await stage.database.catalogue(),
    await production.catalogue(),
    false,
  );
  const carried: CarriedChange[] = [];
  for (const change of changes) {
    const finding = await schemaSourceOf(production)?.finding(change, () => true);
    if (finding?.kind !== 'carried') throw new Error(`${change.kind}: ${JSON.stringify(finding)}`);
    carried.push(finding.carried);
  }
  return carried;
}

const carry = (at: Overlaid, changes: readonly CarriedChange[]) =>
  schemaTargetOf(at.database)?.carry(at.fence, changes) ?? Promise.reject(new Error('no target'));

const PAUSE = { sql: 'DO SLEEP(20)', what: 'a pause', optional: false };

/** The sessions that carry, in their pause. */
const asleep = ({ admin, name }: Overlaid) =>
  rowsOf(
    admin,
    `SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '${name}' AND INFO = '${PAUSE.sql}'`,
  );

/** Carries until the pause among the changes; `resume` lets it go on, `end` is as if its process ended. */
async function paused(at: Overlaid, changes: readonly CarriedChange[]) {
  const done = carry(at, changes).then(
    () => null,
    (error: unknown) => error,
  );
  await expect.poll(() => asleep(at), { timeout: 20_000 }).toHaveLength(1);
  const stop = async (how: 'QUERY' | 'CONNECTION'): Promise<unknown> => {
    await at.admin.query(`KILL ${how} ${String((await asleep(at))[0]?.['ID'])}`);
    return done;
  };
  return { resume: () => stop('QUERY'), end: () => stop('CONNECTION') };
}

const refusal = async (at: Overlaid, sql: string): Promise<number | null> => {
  try {
    await at.candidate.query(sql);
    return null;
  } catch (error) {
    return (error as { readonly errno: number }).errno;
  }
};

describe.each(ENGINES)('on %s', (engine) => {
  test('a new table cannot be written before it is captured', async () => {
    const stage = await stageOf(engine, KEYED);
    const at = await overlaidRollout(stage);
    const [made] = await changed(stage, FRESH);
    if (made === undefined) throw new Error('nothing was made');
    const slowly = { ...made, statements: [...made.statements, PAUSE] };
    const carried = await paused(at, [slowly]);
    // Both by its name, and by any that it may have.
    const names = await rowsOf(at.candidate, `SHOW TABLES LIKE 'fresh%'`);
    const written = names.flatMap((row) => Object.values(row).map(String));
    for (const name of written)
      await refusal(at, `INSERT INTO \`${name}\` VALUES (1, 66), (5, 55)`);
    expect(await refusal(at, `INSERT INTO fresh VALUES (2, 77)`)).toBeOneOf([1146, 1205]);
    expect(await carried.resume()).toBeNull();
    await at.apply(rowsStep(stage, 'fresh', put(['id'], { id: '1', v: '10' })));
    expect(await rowsOf(at.candidate, 'SELECT id, v FROM fresh')).toEqual([{ id: 1, v: 10 }]);
    await at.candidate.query('UPDATE fresh SET v = 11');
    await at.candidate.query('INSERT INTO fresh (v) VALUES (12)');
    expect(await imageOf(at, 'fresh', 'id, v')).toEqual([{ id: 1, v: 10 }]);
    expect(await rowsOf(at.candidate, `SHOW TABLES LIKE 'fresh%'`)).toHaveLength(1);
  });

  test('nor after a crash, wherever that came', async () => {
    for (const cut of ['while it is made', 'when it has its name'] as const) {
      const stage = await stageOf(engine, KEYED);
      const at = await overlaidRollout(stage);
      const changes = await changed(stage, FRESH, 'CREATE TABLE second (id INT PRIMARY KEY)');
      const at2 = changes.map((one, i) =>
        i === (cut === 'while it is made' ? 0 : 1)
          ? { ...one, statements: [...one.statements, PAUSE] }
          : one,
      );
      const carried = await paused(at, at2);
      expect(await carried.end()).toMatchObject({ code: 'SHADOW_UNREACHABLE' });
      const isThere = cut === 'when it has its name';
      expect(await refusal(at, 'INSERT INTO fresh (v) VALUES (1)')).toBe(isThere ? 1205 : 1146);
      await at.database.releaseFence(at.fence);
      const other = await openTrunk(stage.server, at.name);
      const fence = await other.takeFence('after the crash');
      if (fence === null) throw new Error('it is held');
      const all = [...(await other.catalogue()).keys()].map((name) => name.split('.')[1]);
      expect(all).toEqual(isThere ? ['fresh', 't'] : ['t']);
      await carry({ ...at, database: other, fence }, changes);
      await at.candidate.query('INSERT INTO fresh (v) VALUES (1)');
      await at.candidate.query('INSERT INTO second VALUES (1)');
      expect(await other.overlayRows(9)).toMatchObject([
        { kind: 'insert', key: ['1610612736'] },
        { kind: 'insert', key: ['1'] },
      ]);
    }
  });

  test('an overlay that captured nothing captures a table that comes later', async () => {
    const stage = await stageOf(engine, 'CREATE TABLE loose (v INT)');
    const at = await overlaidRollout(stage);
    await carry(at, await changed(stage, FRESH));
    await at.candidate.query('INSERT INTO fresh (v) VALUES (1)');
    expect(await at.database.overlayRows(9)).toMatchObject([{ kind: 'insert' }]);
  });

  test('names with backslashes, and texts that have them, are what they are', async () => {
    const stage = await stageOf(engine, KEYED);
    const at = await overlaidRollout(stage);
    const odd =
      "CREATE TABLE `b\\n` (id INT PRIMARY KEY, `c\\'` VARCHAR(9) DEFAULT 'x\\\\y', d INT)";
    const carried = await changed(stage, odd);
    await carry({ ...at, database: stage.database, fence: stage.fence }, carried);
    await carry(at, carried);
    await carry(at, await changed(stage, 'ALTER TABLE `b\\n` DROP d'));
    const table = (await at.database.catalogue()).get(`${stage.source}.b\\n`);
    expect(table?.former).toEqual(new Map([['d', null]]));
    await at.candidate.query('INSERT INTO `b\\n` (id) VALUES (1)');
    expect(await at.database.overlayRows(9)).toMatchObject([
      {
        ...{ kind: 'insert', table: { name: 'b\\n' } },
        columns: [{ column: 'id' }, { column: `c\\'`, candidate: 'x\\y' }],
      },
    ]);
  });

  test('a table that got its key later is captured from then on, with its rows as production’s', async () => {
    const stage = await stageOf(engine, 'CREATE TABLE loose (id INT NOT NULL, v INT)');
    await stage.client.query('INSERT INTO loose VALUES (1, 1)');
    const at = await overlaidRollout(stage);
    await carry(at, await changed(stage, 'ALTER TABLE loose ADD PRIMARY KEY (id)'));
    await at.candidate.query('UPDATE loose SET v = 2');
    expect(await imageOf(at, 'loose', 'id, v')).toEqual([{ id: 1, v: 1 }]);
  });

  test('only what is changed is closed meanwhile, and what reaches it by foreign keys', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE top (id INT PRIMARY KEY)',
      'CREATE TABLE mid (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES top (id) ON DELETE CASCADE)',
      `CREATE TABLE t (id INT PRIMARY KEY, up INT, b INT,
        FOREIGN KEY (up) REFERENCES mid (id) ON DELETE SET NULL)`,
      'CREATE TABLE plain (id INT PRIMARY KEY)',
      'CREATE TABLE below (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id))',
    );
    await stage.client.query('INSERT INTO top VALUES (1)');
    await stage.client.query('INSERT INTO mid VALUES (1, 1)');
    await stage.client.query('INSERT INTO t VALUES (1, 1, 1)');
    const at = await overlaidRollout(stage);
    const [change] = await changed(stage, 'ALTER TABLE t DROP b');
    if (change === undefined) throw new Error('nothing was changed');
    const carried = await paused(at, [{ ...change, statements: [...change.statements, PAUSE] }]);
    for (const sql of ['DELETE FROM top', 'UPDATE mid SET up = NULL', 'DELETE IGNORE FROM t']) {
      expect(await refusal(at, sql), sql).toBe(1205);
    }
    for (const sql of ['INSERT INTO plain VALUES (1)', 'INSERT INTO below VALUES (1, NULL)']) {
      expect(await refusal(at, sql), sql).toBeNull();
    }
    expect(await at.database.overlayRows(9)).toHaveLength(2);
    expect(await carried.resume()).toBeNull();
    expect(await refusal(at, 'DELETE FROM top')).toBeNull();
    expect(await at.database.overlayRows(9)).toHaveLength(5);
  });

  test('a new table below another one is captured through that one from the first row on', async () => {
    const stage = await stageOf(engine, KEYED);
    await stage.client.query(`INSERT INTO t VALUES (1, 'x', 1)`);
    const at = await overlaidRollout(stage);
    const child = `CREATE TABLE child (id INT PRIMARY KEY, t INT, up INT,
      FOREIGN KEY (t) REFERENCES t (id) ON DELETE CASCADE,
      FOREIGN KEY (up) REFERENCES child (id) ON DELETE SET NULL)`;
    await carry(at, await changed(stage, child));
    await at.apply(rowsStep(stage, 'child', put(['id'], { id: '1', t: '1', up: '1' })));
    await at.candidate.query('DELETE FROM t');
    expect(await rowsOf(at.admin, 'SELECT id FROM child')).toEqual([]);
    expect(await imageOf(at, 'child', 'id, t, up')).toEqual([{ id: 1, t: 1, up: 1 }]);
  });

  test('a transaction in the way keeps nobody else waiting for long, and is named', async () => {
    const stage = await stageOf(engine, KEYED);
    const at = await overlaidRollout(stage);
    const changes = await changed(stage, 'ALTER TABLE t DROP b');
    await at.candidate.query(`XA START 'a', 'b', 7`);
    await at.candidate.query(`INSERT INTO t VALUES (1, 'x', 1)`);
    await at.candidate.query(`XA END 'a', 'b', 7`);
    await at.candidate.query(`XA PREPARE 'a', 'b', 7`);
    const idle = await sessionOn(at.candidateUrl, at.name);
    await idle.query('START TRANSACTION');
    await idle.query('SELECT * FROM t');
    const writer = await sessionOn(at.candidateUrl, at.name);
    let [longestMs, writes, isOver] = [0, 0, false];
    const written = (async () => {
      for (; !isOver; writes += 1) {
        const since = performance.now();
        await writer.query(`INSERT INTO t VALUES (2, 'x', 1) ON DUPLICATE KEY UPDATE b = b + 1`);
        longestMs = Math.max(longestMs, performance.now() - since);
      }
    })();
    const refused = await carry(at, changes).catch((error: unknown) => error);
    isOver = true;
    await written;
    const [own] = await rowsOf(idle, 'SELECT CONNECTION_ID() AS id');
    const inSession = `in session ${String(own?.['id'])}, open for`;
    expect(refused).toMatchObject({
      code: 'APPLY_BLOCKED',
      context: { detail: expect.stringContaining(`XA COMMIT X'61', X'62', 7`) as string },
    });
    expect(refused).toMatchObject({
      context: { detail: expect.stringContaining(inSession) as string },
    });
    expect(writes).toBeGreaterThan(10);
    expect(longestMs).toBeLessThan(3_000);
    await at.candidate.query(`XA ROLLBACK 'a', 'b', 7`);
    await idle.query('ROLLBACK');
    await carry(at, changes);
    expect(await at.database.overlayRows(9)).toHaveLength(1);
  });

  test('what a crash within a change leaves is closed to the candidate, and captured again', async () => {
    const stage = await stageOf(engine, KEYED, 'CREATE TABLE u (id INT PRIMARY KEY)');
    await stage.client.query(`INSERT INTO t (id, a, b) VALUES (1, 'x', 1)`);
    const at = await overlaidRollout(stage);
    const [change] = await changed(stage, 'ALTER TABLE t DROP b');
    if (change === undefined) throw new Error('nothing was changed');
    const carried = await paused(at, [{ ...change, statements: [PAUSE] }]);
    const writes = [`UPDATE t SET a = 'X'`, 'DELETE IGNORE FROM t'];
    const refused = async () => {
      for (const sql of writes) expect(await refusal(at, sql), sql).toBe(1205);
    };
    await refused();
    expect(await carried.end()).toMatchObject({ code: 'SHADOW_UNREACHABLE' });
    await refused();
    const other = await openTrunk(stage.server, at.name);
    await at.database.releaseFence(at.fence);
    expect(await other.takeFence('after the crash')).not.toBeNull();
    expect(await rowsOf(at.admin, 'SELECT a FROM t')).toEqual([{ a: 'x' }]);
    for (const sql of writes) await at.candidate.query(sql);
    expect(await other.overlayRows(9)).toMatchObject([{ kind: 'delete' }]);
  });
});

test.each(ENGINES)(
  'on %s a table that another account closed is not open while it is closed anew',
  async (engine) => {
    const stage = await stageOf(engine, KEYED);
    const at = await overlaidRollout(stage);
    const client = await Client.connect(new ServerAddress(stage.url, 'shadow.url'), at.name);
    const close = (account: string) =>
      closeTable(client, at.name, 't', { unless: `USER() NOT LIKE '${account}@%'` });
    await close('one');
    const closed: number[] = [];
    const run = client.run.bind(client);
    client.run = async (...args) => {
      const result = await run(...args);
      const events = await rowsOf(
        at.admin,
        `SELECT DISTINCT EVENT_MANIPULATION AS event FROM information_schema.TRIGGERS
          WHERE TRIGGER_SCHEMA = '${at.name}' AND TRIGGER_NAME REGEXP '${CLOSING}'`,
      );
      closed.push(events.length);
      return result;
    };
    for (const account of ['two', 'three', 'three']) await close(account);
    expect(closed.length).toBeGreaterThan(10);
    expect(closed.filter((events) => events !== 3)).toEqual([]);
    const left = await rowsOf(
      at.admin,
      `SELECT ACTION_STATEMENT AS body FROM information_schema.TRIGGERS
        WHERE TRIGGER_SCHEMA = '${at.name}' AND TRIGGER_NAME REGEXP '${CLOSING}'`,
    );
    expect(left.map(({ body }) => String(body).includes('three@'))).toEqual([true, true, true]);
    await client.end();
  },
);
