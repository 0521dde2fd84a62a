/** What a production of MySQL and MariaDB was changed to, carried into a trunk of before. */
import { describe, expect, test } from 'vitest';
import type { SourcePosition } from '../../src/change/position.ts';
import type { ToldAddition } from '../../src/change/table-change.ts';
import type { TableId } from '../../src/change/table-id.ts';
import { schemaSourceOf, schemaTargetOf, type CarriedChange } from '../../src/dialect/evolving.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import { changesBetween, type SchemaChange } from '../../src/schema/schema-change.ts';
import { placeText } from '../../src/schema/table-renames.ts';
import {
  batchOf,
  ENGINES,
  imageOf,
  openTrunk,
  overlaidRollout,
  put,
  rolloutOf,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
  stranger,
  type Stage,
} from './mysql.fixture.ts';

const TABLE = `CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(3), b INT, c INT NOT NULL)`;

/** As the connector would tell of columns added by a statement with such literals. */
function told(name: string, nullable: boolean, value: string | null, ddl: string): ToldAddition {
  return { column: { name, nullable, default: value }, ddl };
}

async function changed(stage: Stage, ...ddl: readonly string[]): Promise<readonly SchemaChange[]> {
  const there = await sessionOn(stage.url, stage.source);
  for (const sql of ddl) await there.query(sql);
  const production = await connected(stage);
  return changesBetween(await stage.database.catalogue(), await production.catalogue(), false);
}

const connected = (stage: Stage) =>
  dialectFor(stage.url).connectProduction(`${stage.url}${stage.source}`, () => true);

async function found(
  stage: Stage,
  changes: readonly SchemaChange[],
): Promise<readonly CarriedChange[]> {
  const source = schemaSourceOf(await connected(stage));
  const carried: CarriedChange[] = [];
  for (const change of changes) {
    const finding = await source?.finding(change, () => true);
    if (finding?.kind !== 'carried') throw new Error(`${change.kind}: ${JSON.stringify(finding)}`);
    carried.push(finding.carried);
  }
  return carried;
}

const carry = (stage: Stage, changes: readonly CarriedChange[], fence = stage.fence) =>
  schemaTargetOf(stage.database)?.carry(fence, changes) ?? Promise.reject(new Error('no target'));

async function definitions(stage: Stage): Promise<readonly unknown[]> {
  const there = await sessionOn(stage.url, stage.source);
  const [ours, theirs] = [stage.client, there].map((client) =>
    rowsOf(client, 'SHOW CREATE TABLE t'),
  );
  return [(await ours)?.[0]?.['Create Table'], (await theirs)?.[0]?.['Create Table']];
}

describe.each(ENGINES)('on %s', (engine) => {
  test('columns are added at their place with what they had for rows that were there', async () => {
    const stage = await stageOf(engine, TABLE);
    await stage.client.query('INSERT INTO t (a, c) VALUES (NULL, 1)');
    const ddl = [
      `ALTER TABLE t ADD x INT NOT NULL AFTER id, ADD y VARCHAR(9) DEFAULT 'old' FIRST, ADD z INT DEFAULT 5`,
      `ALTER TABLE t ALTER y SET DEFAULT 'new', MODIFY z INT NOT NULL DEFAULT 6, MODIFY x BIGINT NULL`,
    ];
    const changes = await changed(stage, ...ddl);
    const values = new Map([
      ['x', told('x', false, null, ddl[0] ?? '')],
      ['y', told('y', true, 'old', ddl[0] ?? '')],
      ['z', told('z', true, '5', ddl[0] ?? '')],
    ]);
    const toldOf = changes.map((change) => {
      const addition = change.kind === 'add' ? values.get(change.column.name) : undefined;
      return change.kind === 'add' && addition !== undefined
        ? { ...change, told: addition }
        : change;
    });
    expect(await carry(stage, await found(stage, toldOf))).toEqual([]);
    expect(await stage.rows('SELECT x, y, z FROM t')).toEqual([{ x: '0', y: 'old', z: 5 }]);
    const [ours, theirs] = await definitions(stage);
    // NULL may stand in rows of before.
    expect(String(ours).replace(/`z` int(\(11\))? DEFAULT/, '`z` int$1 NOT NULL DEFAULT')).toBe(
      String(theirs)
        .replace(/ AUTO_INCREMENT=\d+/, '')
        .replace(') ENGINE=InnoDB', ') ENGINE=InnoDB AUTO_INCREMENT=2'),
    );
  });

  test('a column is not added where nobody tells what rows that were there have in it', async () => {
    const stage = await stageOf(engine, TABLE);
    const source = schemaSourceOf(await connected(stage));
    const whys = [];
    for (const [definition, value, ddl] of [
      ['n INT DEFAULT 5', undefined, ''],
      ['n TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP', null, 'ADD n TIMESTAMP DEFAULT NOW()'],
      ['n CHAR(36) DEFAULT NULL', null, 'ADD n CHAR(36) DEFAULT (UUID())'],
    ] as const) {
      const [change] = await changed(stage, `ALTER TABLE t ADD ${definition}`);
      if (change?.kind !== 'add') throw new Error('nothing was added');
      const addition = value === undefined ? {} : { told: told('n', true, value, ddl) };
      whys.push(await source?.finding({ ...change, ...addition }, () => true));
      await changed(stage, 'ALTER TABLE t DROP n');
    }
    expect(whys).toMatchObject([{ kind: 'untold' }, { kind: 'untold' }, { kind: 'untold' }]);
  });

  test('what was carried before is passed over, wherever a crash came between', async () => {
    const stage = await stageOf(engine, TABLE);
    const changes = await changed(
      stage,
      `ALTER TABLE t ADD n DATE, DROP b, RENAME COLUMN a TO aa, MODIFY c BIGINT NOT NULL,
        DROP PRIMARY KEY, ADD PRIMARY KEY (c, id), ADD KEY (id)`,
    );
    const addition = told('n', true, null, 'ADD n DATE');
    const clear = changes.flatMap((change): readonly SchemaChange[] => {
      if (change.kind === 'add') return [{ ...change, told: addition }];
      if (change.kind !== 'rename') return [change];
      return [{ ...change, certain: true }];
    });
    const carried = await found(stage, clear);
    expect(carried.map(({ change }) => change.kind)).toEqual(
      expect.arrayContaining(['rename', 'drop', 'widen', 'add', 'key']),
    );
    for (let done = 0; done <= carried.length; done += 1) {
      await carry(stage, carried.slice(0, done));
    }
    expect(await carry(stage, carried)).toEqual([]);
    const production = await connected(stage);
    expect(
      changesBetween(await stage.database.catalogue(), await production.catalogue(), false),
    ).toEqual([]);
    const former = (await stage.database.catalogue()).get(`${stage.source}.t`)?.former;
    expect(new Map(former)).toEqual(
      new Map([
        ['a', 'aa'],
        ['b', null],
      ]),
    );
  });

  test('a table gets its new name with what is noted of it, wherever a crash came between', async () => {
    const child = `CREATE TABLE child (id INT PRIMARY KEY, t INT, CONSTRAINT of_t FOREIGN KEY (t)
      REFERENCES t (id) ON DELETE CASCADE)`;
    for (const cut of ['nowhere', 'before the table', 'behind the table'] as const) {
      const stage = await stageOf(engine, TABLE, child);
      await stage.client.query('INSERT INTO t (a, c) VALUES (NULL, 1)');
      const target = schemaTargetOf(stage.database);
      const [from, to] = ['t', 'u'].map((name) => ({ schema: stage.source, name })) as [
        TableId,
        TableId,
      ];
      await target?.remember(stage.fence, { table: from, name: 'old', now: 'a' });
      await target?.note(stage.fence, from, 'mixed');
      const until: SourcePosition = {
        ...{ connector: engine, file: 'binlog.000007', pos: 5n, row: 0, gtid: null },
      };
      const change: SchemaChange = {
        ...{ kind: 'renameTable', table: to, from, until, turn: 3n, why: null },
      };
      const carried = await found(stage, [change]);
      if (cut !== 'nowhere') {
        await stage.client.query(
          `INSERT INTO ${stage.trunk}__understudy.renamed_table (from_schema, from_name, to_schema,
            to_name, until_place, turn, done) VALUES (?, 't', ?, 'u', ?, 3, 0)`,
          [stage.source, stage.source, placeText(until)],
        );
      }
      if (cut === 'behind the table') await stage.client.query('RENAME TABLE t TO u');
      // Whoever follows then begins with it.
      await target?.finishRenames(stage.fence);
      const isDone = (await target?.renames())?.length === 1;
      expect(isDone).toBe(cut === 'behind the table');
      if (!isDone) await carry(stage, carried);
      const catalogue = await stage.database.catalogue();
      expect([...catalogue.keys()]).toEqual([`${stage.source}.child`, `${stage.source}.u`]);
      expect(catalogue.get(`${stage.source}.u`)).toMatchObject({
        ...{ former: new Map([['old', 'a']]), names: [{ table: from, after: null, until }] },
      });
      expect(catalogue.get(`${stage.source}.child`)?.foreignKeys).toMatchObject([
        { name: 'of_t', references: to },
      ]);
      expect(await target?.renames()).toEqual([{ from, to, until, turn: 3n }]);
      expect(await target?.noted()).toMatchObject([{ table: to, state: 'mixed' }]);
      expect(await stage.rows('SELECT id FROM u')).toEqual([{ id: 1 }]);
    }
  });

  test('nothing is changed by who lost the fence', async () => {
    const stage = await stageOf(engine, TABLE);
    const changes = await found(stage, await changed(stage, 'ALTER TABLE t DROP b'));
    await stage.database.releaseFence(stage.fence);
    const other = await stage.server.open(stage.trunk);
    expect(await other?.takeFence('other')).not.toBeNull();
    await expect(carry(stage, changes)).rejects.toMatchObject({ code: 'FENCED' });
    const columns = (await stage.database.catalogue()).get(`${stage.source}.t`)?.columns ?? [];
    expect(columns.map(({ name }) => name)).toContain('b');
    await other?.[Symbol.asyncDispose]();
  });

  test('a dropped table goes, and is remembered until it is there again', async () => {
    const stage = await stageOf(engine, TABLE);
    const label = `${stage.source}.t`;
    const target = schemaTargetOf(stage.database);
    await carry(
      stage,
      await found(stage, await changed(stage, 'CREATE TABLE u (id INT)', 'DROP TABLE t')),
    );
    expect((await stage.database.catalogue()).has(label)).toBe(false);
    expect(await target?.formerTables()).toEqual(new Set([label]));
    await carry(stage, await found(stage, await changed(stage, TABLE)));
    expect(await target?.formerTables()).toEqual(new Set());
  });

  test('a rollout takes the change, and captures what is written in its new shape', async () => {
    const other = `CREATE TABLE u (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id)
      ON DELETE CASCADE)`;
    const stage = await stageOf(engine, TABLE, other);
    const name = await rolloutOf(stage);
    const rollout = await openTrunk(stage.server, name);
    const fence = await rollout.takeFence('test');
    if (fence === null) throw new Error('it is held');
    await rollout.installOverlay(fence);
    const ddl = 'ALTER TABLE t ADD x VARCHAR(5), DROP b, RENAME COLUMN a TO aa';
    const changes = (await changed(stage, ddl)).map((change) =>
      change.kind === 'add' ? { ...change, told: told('x', true, null, ddl) } : change,
    );
    await carry({ ...stage, database: rollout }, await found(stage, changes), fence);
    const row = put(['id'], { id: '1', aa: 'one', c: '1', x: 'X' });
    await rollout.apply(fence, batchOf([rowsStep(stage, 't', row)]));
    expect(await rollout.overlayRows(9)).toEqual([]);
    const candidate = await stranger(stage, name, 'SELECT, INSERT, UPDATE, DELETE');
    await candidate.query(`INSERT INTO u VALUES (1, 1)`);
    await candidate.query(`UPDATE t SET x = 'Y'`);
    const differences = await rollout.overlayRows(9);
    expect(differences.map(({ kind, columns }) => [kind, columns])).toEqual([
      ['update', [{ column: 'x', production: 'X', candidate: 'Y' }]],
      [
        'insert',
        [
          { column: 'id', production: null, candidate: '1' },
          { column: 't', production: null, candidate: '1' },
        ],
      ],
    ]);
    await candidate.query('DELETE FROM t');
    const counts = await rollout.overlayCounts();
    expect(counts.map(({ deleted, equal }) => [deleted, equal])).toEqual([
      [1, 0],
      [0, 1],
    ]);
  });

  test('production’s image of what a candidate owns goes along', async () => {
    const stage = await stageOf(engine, TABLE);
    const rows = `INSERT INTO t (id, a, b, c) VALUES (1, 'x', 1, 1), (2, 'y', 2, 2), (3, 'z', 3, 3)`;
    await stage.client.query(rows);
    const at = await overlaidRollout(stage);
    await at.candidate.query(`UPDATE t SET a = 'X' WHERE id = 1`);
    await at.candidate.query('DELETE FROM t WHERE id = 2');
    await at.candidate.query(`INSERT INTO t (id, a, b, c) VALUES (4, 'new', 4, 4)`);
    const ddl = `ALTER TABLE t ADD x VARCHAR(5) NOT NULL DEFAULT 'was', DROP b,
      RENAME COLUMN a TO aa, MODIFY c BIGINT`;
    const changes = await found(
      stage,
      (await changed(stage, ddl)).map((change) => {
        if (change.kind === 'add') return { ...change, told: told('x', false, 'was', ddl) };
        return change.kind === 'rename' ? { ...change, certain: true } : change;
      }),
    );
    await carry(stage, changes);
    // A crash between any two: some of them are carried, and captured anew.
    for (let done = 1; done <= changes.length; done += 1) {
      await carry({ ...stage, ...at }, changes.slice(0, done), at.fence);
    }
    expect(await imageOf(at, 't', 'id, aa, c, x')).toEqual(
      await stage.rows('SELECT id, aa, c, x FROM t ORDER BY id'),
    );
    expect(await rowsOf(at.admin, 'SELECT id, aa FROM t ORDER BY id')).toEqual([
      { id: 1, aa: 'X' },
      { id: 3, aa: 'z' },
      { id: 4, aa: 'new' },
    ]);
    const key = await found(
      stage,
      await changed(stage, 'ALTER TABLE t DROP PRIMARY KEY, ADD KEY (id), ADD PRIMARY KEY (c, id)'),
    );
    await expect(carry({ ...stage, ...at }, key, at.fence)).rejects.toMatchObject({
      code: 'SCHEMA_FAILED',
    });
    await at.candidate.query(`UPDATE t SET aa = 'Z' WHERE id = 3`);
    expect(await at.database.overlayRows(9)).toHaveLength(4);
  });

  test('a new table is captured, and numbers what the candidate inserts far above', async () => {
    const stage = await stageOf(engine, TABLE);
    const at = await overlaidRollout(stage);
    const fresh = 'CREATE TABLE fresh (id INT PRIMARY KEY AUTO_INCREMENT, v INT)';
    // Also one that there was before.
    for (const ddl of [fresh, 'DROP TABLE fresh', fresh]) {
      const changes = await found(stage, await changed(stage, ddl));
      await carry(stage, changes);
      await carry({ ...stage, ...at }, changes, at.fence);
    }
    await at.candidate.query('INSERT INTO fresh (v) VALUES (1)');
    await at.apply(rowsStep(stage, 'fresh', put(['id'], { id: '1', v: '2' })));
    expect(await rowsOf(at.admin, 'SELECT id, v FROM fresh ORDER BY id')).toEqual([
      { id: 1, v: 2 },
      { id: 1_610_612_736, v: 1 },
    ]);
    expect(await imageOf(at, 'fresh', 'id, v')).toEqual([{ id: 1, v: 2 }]);
  });
});
