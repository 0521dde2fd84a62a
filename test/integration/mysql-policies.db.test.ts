/** As policies.db.test.ts, on MySQL and MariaDB. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { dialectFor } from '../../src/dialect/registry.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { OVERLAY_WINS, type TablePolicy } from '../../src/overlay/policy.ts';
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
async function scene(engine: Engine, ddl: readonly string[], inserts: readonly string[]) {
  const stage = await stageOf(engine, ...ddl);
  for (const sql of inserts) await stage.client.query(sql);
  const name = await rolloutOf(stage);
  let policy: TablePolicy = OVERLAY_WINS;
  const server = await dialectFor(stage.url).connectShadow(stage.url, {
    ...{ leaseMs: 60_000, policies: () => policy },
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const database = await openTrunk(server, name);
  const take = async () => {
    const fence = await database.takeFence('test');
    if (fence === null) throw new Error('the fence of a new rollout is taken');
    return fence;
  };
  let fence = await take();
  await database.installOverlay(fence);
  const candidate = await stranger(stage, name, 'SELECT, INSERT, UPDATE, DELETE');
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
  return { stage, name, database, candidate, admin, under, apply };
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
