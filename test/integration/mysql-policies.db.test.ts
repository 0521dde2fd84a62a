/** As policies.db.test.ts, on MySQL and MariaDB. */
import type { Connection } from 'mysql2/promise';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { TableId } from '../../src/change/table-id.ts';
import type { MigratingShadow } from '../../src/dialect/migrating.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { keyId } from '../../src/order/key-text.ts';
import { OVERLAY_WINS, type ColumnPolicy, type TablePolicy } from '../../src/overlay/policy.ts';
import { appliedUnlessBlocked, inOrder, race, written } from '../support/isolated-race.ts';
import { Random } from '../support/random.ts';
import { baseSeed } from '../support/seeds.ts';
import {
  batchOf,
  ENGINES,
  gone,
  imageOf,
  openTrunk,
  put,
  rolloutOf,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
  stranger,
  type Engine,
  type Row,
} from './mysql.fixture.ts';
import {
  patch,
  policyTests,
  row,
  ROWS,
  SOURCE_WINS,
  TABLE,
  type PolicyScene,
} from './policies.fixture.ts';

/** `t` and what it is made by, and what stands in it; statements of it all. */
async function scene(
  engine: Engine,
  ddl: readonly string[],
  inserts: readonly string[],
  isolated: string | null = null,
) {
  const stage = await stageOf(engine, ...ddl);
  for (const sql of inserts) await stage.client.query(sql);
  const name = await rolloutOf(stage);
  let policy: TablePolicy = OVERLAY_WINS;
  const server = await dialectFor(stage.url).connectShadow(stage.url, {
    ...{ leaseMs: 60_000, policies: () => policy },
    isolates: (table: TableId) => table.name === isolated,
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const database = (await openTrunk(server, name)) as MigratingShadow;
  const take = async () => {
    const fence = await database.takeFence('test');
    if (fence === null) throw new Error('the fence of a new rollout is taken');
    return fence;
  };
  let fence = await take();
  await database.installOverlay(fence);
  const candidate = await stranger(stage, name, 'SELECT, INSERT, UPDATE, DELETE');
  /** More sessions of the candidate. */
  const writers = (count: number) => {
    const { user, password } = candidate.config as { user: string; password: string };
    const url = new URL(stage.url);
    [url.username, url.password] = [user, password];
    return Promise.all(Array.from({ length: count }, () => sessionOn(url.href, name)));
  };
  const admin = await sessionOn(stage.url, name);
  /** Under another policy who applies is another one. */
  const under = async (now: TablePolicy) => {
    if (now !== policy) {
      await database.releaseFence(fence);
      policy = now;
      fence = await take();
    }
    return fence;
  };
  const apply = async (now: TablePolicy, ...steps: readonly BatchStep[]) =>
    database.apply(await under(now), batchOf(steps));
  return { stage, name, database, candidate, writers, admin, under, apply };
}

type Scene = Awaited<ReturnType<typeof scene>>;

const COLUMNS = 'id, a, b, n, u';
const arrays = (rows: readonly Row[]): readonly unknown[] => rows.map((one) => Object.values(one));

async function write({ candidate }: Scene, ...statements: readonly string[]): Promise<void> {
  for (const sql of statements) await candidate.query(sql);
}

async function outcomes({ admin, name }: Scene): Promise<readonly string[]> {
  const rows = await rowsOf(
    admin,
    `SELECT outcome, row_key AS k FROM \`${name}__understudy\`.outcome ORDER BY row_key`,
  );
  return rows.map(
    ({ outcome, k }) => `${String(outcome)} ${(JSON.parse(String(k)) as string[]).join()}`,
  );
}

async function conflicts({ database }: Scene): Promise<readonly string[]> {
  return (await database.overlayConflicts(99))
    .map(({ key, kind, columns }) => `${key.join()} ${kind} ${columns.map((c) => c.column).join()}`)
    .toSorted();
}

async function policyScene(engine: Engine, more: readonly string[]): Promise<PolicyScene> {
  const isInsert = (sql: string): boolean => sql.startsWith('INSERT');
  const at = await scene(
    engine,
    [TABLE, ...more.filter((sql) => !isInsert(sql))],
    [ROWS, ...more.filter(isInsert)].map((sql) => sql.replace('t VALUES', `t (${COLUMNS}) VALUES`)),
  );
  const { stage, database, admin, name } = at;
  return {
    write: (...statements) =>
      write(at, ...statements.map((sql) => sql.replace('t VALUES', `t (${COLUMNS}) VALUES`))),
    apply: (policy, ...changes) => at.apply(policy, rowsStep(stage, 't', ...changes)),
    truncate: (policy) =>
      at.apply(policy, { kind: 'truncate', table: { schema: stage.source, name: 't' } }),
    sweep: async (policy) => database.sweepOverlay(await at.under(policy), null),
    merge: async () => database.resolveOverlay(await at.under(OVERLAY_WINS), {}, 'merge'),
    seen: async () => arrays(await rowsOf(admin, `SELECT ${COLUMNS} FROM t ORDER BY id`)),
    base: async () => arrays(await imageOf(at, 't', COLUMNS)),
    owned: async () =>
      (await rowsOf(admin, `SELECT id FROM \`${name}__understudy\`.\`t#journal\` ORDER BY id`)).map(
        ({ id }) => id,
      ),
    outcomes: () => outcomes(at),
    conflicts: () => conflicts(at),
  };
}

describe.each(ENGINES)('on %s', (engine) => {
  policyTests(
    (...more) => policyScene(engine, more),
    `ALTER TABLE t ADD g VARCHAR(40) AS (IF(b = 'theirs', b, NULL)) VIRTUAL UNIQUE`,
  );
});

describe.each(ENGINES)('on %s source-wins', (engine) => {
  const whole = (image: Readonly<Record<string, string | null>>) => put(['id'], image);

  it('makes no row of both, where production’s is not known here', async () => {
    const at = await scene(engine, [TABLE], [ROWS]);
    await write(at, `INSERT INTO t VALUES (4, 'mine', 'secret', 1, 'four')`);
    const change = rowsStep(at.stage, 't', patch(4, { a: 'theirs' }));
    await expect(at.apply(SOURCE_WINS, change)).rejects.toMatchObject({ code: 'ROW_INCOMPLETE' });
    // One that comes anew without a column gets that column’s default.
    await at.apply(
      SOURCE_WINS,
      rowsStep(at.stage, 't', whole({ id: '4', a: 'theirs', n: '1', u: 'vier' })),
    );
    const seen = { id: 4, a: 'theirs', b: null, n: 1, u: 'vier' };
    expect(await rowsOf(at.admin, 'SELECT * FROM t WHERE id = 4')).toEqual([seen]);
    expect(await outcomes(at)).toEqual(['theirs 4']);
  });

  it('forgets nothing of what is not known of rows that it only puts back', async () => {
    const at = await scene(engine, [TABLE], [ROWS]);
    const parked = `\`${at.name}__understudy\`.parked`;
    await at.admin.query(`INSERT INTO ${parked} (table_schema, table_name, id, \`key\`, at_us)
      VALUES ('${at.stage.source}', 't', '${keyId(['4'])}', '["4"]', 1)`);
    await write(at, `INSERT INTO t VALUES (4, 'mine', 'mine', 1, 'held')`);
    await at.apply(SOURCE_WINS, rowsStep(at.stage, 't', row(1, 'a', 'b', '1', 'held')));
    expect(await rowsOf(at.admin, `SELECT COUNT(*) AS n FROM ${parked}`)).toEqual([{ n: '1' }]);
    expect(await rowsOf(at.admin, 'SELECT id FROM t ORDER BY id')).toEqual(
      [1, 2, 3].map((id) => ({ id })),
    );
  });
});

describe.each(ENGINES)('on %s merged columns', (engine) => {
  const DDL = `CREATE TABLE t (id INT PRIMARY KEY, c INT UNSIGNED, big BIGINT UNSIGNED, d DECIMAL(9, 2) UNSIGNED,
    f DOUBLE UNSIGNED, g DOUBLE, s VARCHAR(9) COLLATE utf8mb4_general_ci, e ENUM('x', 'y'), j JSON,
    at TIMESTAMP(6) NOT NULL DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP(6))`;
  const ROW = `INSERT INTO t VALUES (1, 100, 18446744073709551000, 5, 8, 0.1, 'a', 'x', '{}', '2020-01-01')`;
  const IMAGE = { c: '100', big: '18446744073709551000', d: '5.00', f: '8', g: '0.1', s: 'a' };
  const REST = { e: 'x', j: '{}', at: '2020-01-01 00:00:00.000000+00' };

  it('are exact, and no other column of the row changes', async () => {
    const at = await scene(engine, [DDL], [ROW]);
    const policy: TablePolicy = {
      ...{ rows: 'overlay-wins', others: 'merge' },
      columns: new Map<string, ColumnPolicy>([
        ...['c', 'big', 'd', 'f', 'g'].map((name) => [name, 'delta'] as const),
        ['at', 'overlay-wins'],
      ]),
    };
    await write(
      at,
      `UPDATE t SET c = 30, big = big - 10, d = 1, f = 7, e = 'y', at = '2021-01-01' WHERE id = 1`,
    );
    await at.apply(
      policy,
      rowsStep(
        at.stage,
        't',
        put(['id'], {
          ...{ id: '1', ...IMAGE, ...REST, c: '90', big: '18446744073709551610', d: '4.50' },
          ...{ f: '6', g: '0.3', s: 'A', j: '{"a": 1}' },
        }),
      ),
    );
    expect(
      await rowsOf(
        at.admin,
        `SELECT c, big, d, f, g, s, e, CAST(j AS CHAR) AS j, CAST(at AS CHAR) AS at FROM t`,
      ),
    ).toEqual([
      {
        ...{ c: 20, big: '18446744073709551600', d: '0.50', f: 5, g: 0.3, s: 'A', e: 'y' },
        ...{ j: '{"a": 1}', at: '2021-01-01 00:00:00.000000' },
      },
    ]);
    expect(await conflicts(at)).toEqual([]);
    // Below zero the column takes none.
    await at.apply(policy, rowsStep(at.stage, 't', patch(1, { c: '60', s: 'b' })));
    expect(await rowsOf(at.admin, 'SELECT c, s FROM t')).toEqual([{ c: 20, s: 'A' }]);
    expect((await conflicts(at)).map((text) => text.split(' ')[1])).toEqual(['update_differs']);
  });
});

describe.each(ENGINES)('on %s policies', (engine) => {
  it('go by production’s names where the candidate gave columns others', async () => {
    const at = await scene(engine, [TABLE], [ROWS]);
    const table = { schema: at.stage.source, name: 't' };
    const policy: TablePolicy = {
      ...{ rows: 'overlay-wins', others: 'overlay-wins' },
      columns: new Map([
        ['a', 'source-wins'],
        ['n', 'delta'],
      ]),
    };
    const fence = await at.under(policy);
    const renames = [{ table, from: 'a', to: 'x' }];
    await at.database.migrations.begin(fence, { role: at.name, renames });
    await at.admin.query(
      'ALTER TABLE t RENAME COLUMN a TO x, ADD COLUMN own INT NOT NULL DEFAULT 7',
    );
    await at.database.migrations.end(fence);
    await write(at, `UPDATE t SET x = 'mine', b = 'mine', n = 1, own = 8, u = 'uno' WHERE id = 1`);
    await at.apply(policy, rowsStep(at.stage, 't', row(1, 'theirs', 'theirs', '105', 'one')));
    const seen = { id: 1, x: 'theirs', b: 'mine', n: 6, u: 'uno', own: 8 };
    expect(await rowsOf(at.admin, 'SELECT * FROM t WHERE id = 1')).toEqual([seen]);
    // A row that is put back has what its own columns have without being told.
    await write(
      at,
      `INSERT INTO t VALUES (9, 'mine', 'mine', 1, 'held', 9)`,
      `DELETE FROM t WHERE id = 2`,
    );
    await at.apply(SOURCE_WINS, rowsStep(at.stage, 't', row(2, 'a', 'b', '1', 'held')));
    expect(await rowsOf(at.admin, 'SELECT id, u, own FROM t WHERE id > 1 ORDER BY id')).toEqual([
      { id: 2, u: 'held', own: 7 },
      { id: 3, u: 'three', own: 7 },
    ]);
  });

  it('say nothing of tables that are kept apart', async () => {
    const at = await scene(
      engine,
      ['CREATE TABLE job (id INT PRIMARY KEY, v VARCHAR(9) UNIQUE)'],
      [`INSERT INTO job VALUES (1, 'one'), (2, 'two')`],
      'job',
    );
    await write(at, `UPDATE job SET v = 'mine' WHERE id = 1`);
    const job = (id: string, v: string) => put(['id'], { id, v });
    await at.apply(SOURCE_WINS, rowsStep(at.stage, 'job', job('1', 'theirs'), job('2', 'mine')));
    expect(await rowsOf(at.admin, 'SELECT v FROM job ORDER BY id')).toEqual([
      { v: 'mine' },
      { v: 'two' },
    ]);
    expect(await outcomes(at)).toEqual([]);
  });
});

describe.each(ENGINES)('on %s while both write at the same time', (engine) => {
  const seed = baseSeed(process.env['UNDERSTUDY_SEED']);
  const place = `seed ${String(seed)}`;

  it('source-wins leaves nothing of the candidate’s in production’s image, and ends all of it', async () => {
    const at = await scene(
      engine,
      ['CREATE TABLE job (id INT PRIMARY KEY, state VARCHAR(20))'],
      [
        `INSERT INTO job VALUES ${Array.from({ length: 12 }, (_, id) => `(${String(id)}, 'old')`).join()}`,
      ],
    );
    const clients = await at.writers(4);
    const step = (id: number, state: string | null) =>
      state === null ? gone(String(id)) : put(['id'], { id: String(id), state });
    const raced = await race({
      ...{ seed, forMs: 3_000 },
      write: (writer, statements, commits) =>
        written(async (sql) => clients[writer]?.query(sql), statements, commits),
      apply: (changes) => {
        const all = [...changes].map(([id, state]) => step(id, state));
        return appliedUnlessBlocked(at.apply(SOURCE_WINS, rowsStep(at.stage, 'job', ...all)));
      },
    });
    expect(Math.min(raced.written, raced.applied), place).toBeGreaterThan(5);
    const production = inOrder(raced.production).map(([id, state]) => ({ id, state }));
    const image = `SELECT id, state FROM \`${at.name}__production\`.job ORDER BY id`;
    expect(await rowsOf(at.admin, image), place).toEqual(production);
    const all = Array.from({ length: 24 }, (_, id) => step(id, raced.production.get(id) ?? null));
    await at.apply(SOURCE_WINS, rowsStep(at.stage, 'job', ...all));
    await at.database.sweepOverlay(await at.under(SOURCE_WINS), null);
    expect(await rowsOf(at.admin, 'SELECT * FROM job ORDER BY id'), place).toEqual(production);
  });

  it('delta counts each change of both once', async () => {
    const keys = [1, 2, 3, 4];
    const at = await scene(
      engine,
      ['CREATE TABLE stock (id INT PRIMARY KEY, n INT)'],
      [`INSERT INTO stock VALUES ${keys.map((id) => `(${String(id)}, 0)`).join()}`],
    );
    const policy: TablePolicy = { ...OVERLAY_WINS, columns: new Map([['n', 'delta']]) };
    const [ours, theirs] = [new Map<number, number>(), new Map<number, number>()];
    const add = (to: Map<number, number>, id: number): unknown => to.set(id, (to.get(id) ?? 0) + 1);
    const until = performance.now() + 3_000;
    let applied = 0;
    const write = async (client: Connection, random: Random): Promise<void> => {
      while (performance.now() < until) {
        const id = random.pick(keys);
        const commits = random.chance(0.8);
        const done = await written(
          (sql) => client.query(sql),
          [`UPDATE stock SET n = n + 1 WHERE id = ${String(id)}`],
          commits,
        );
        if (done && commits) add(ours, id);
      }
    };
    const follow = async (random: Random): Promise<void> => {
      while (performance.now() < until) {
        const id = random.pick(keys);
        const n = String((theirs.get(id) ?? 0) + 1);
        const step = rowsStep(at.stage, 'stock', put(['id'], { id: String(id), n }));
        if (!(await appliedUnlessBlocked(at.apply(policy, step)))) continue;
        add(theirs, id);
        applied += 1;
      }
    };
    const clients = await at.writers(3);
    await Promise.all([
      follow(new Random(seed)),
      ...clients.map((client, i) => write(client, new Random(seed + i + 1))),
    ]);
    expect(Math.min(applied, ours.size), place).toBeGreaterThan(2);
    // A change may wait still.
    await at.database.sweepOverlay(await at.under(policy), null);
    const expected = keys.map((id) => ({ id, n: (ours.get(id) ?? 0) + (theirs.get(id) ?? 0) }));
    expect(await rowsOf(at.admin, 'SELECT * FROM stock ORDER BY id'), place).toEqual(expected);
  });
});
