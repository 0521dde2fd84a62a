/** Tables without key under REPLICA IDENTITY FULL: rows are a multiset, on a trunk and in a rollout. */
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ChangeEvent } from '../../src/change/record.ts';
import type { KnownValue } from '../../src/change/value.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { installOverlay } from '../../src/dialect/postgres/overlay/capture.ts';
import { coalesce } from '../../src/order/coalesce.ts';
import { changeEvent, image } from '../support/change-events.ts';
import { createLedgers } from '../support/ledgers.ts';
import { batchOf } from '../support/overlay-applier.ts';
import { testDatabase } from '../support/test-database.ts';

let applier: pg.Client;
let user: pg.Client;

beforeAll(async () => {
  const { url } = await testDatabase('keyless');
  [applier, user] = [
    new pg.Client({ connectionString: url }),
    new pg.Client({ connectionString: url }),
  ];
  await Promise.all([applier.connect(), user.connect()]);
  await applier.query(applierSessionSql);
});

afterAll(() => Promise.all([applier.end(), user.end()]));

const LOG = `CREATE TABLE log (n numeric, t text, j json, p point, x xml, f float8, c char(4), d date,
  made text GENERATED ALWAYS AS (t || '!') STORED)`;

async function fresh(ddl: string, overlay = false): Promise<void> {
  await user.query(`DROP SCHEMA IF EXISTS understudy, public, public__production,
      public__difference CASCADE;
    CREATE SCHEMA public; SET search_path = public; ${ddl}`);
  await createLedgers(user);
  if (!overlay) return;
  await user.query('BEGIN');
  await installOverlay(user);
  await user.query('COMMIT; SET search_path = public');
}

async function apply(...events: readonly ChangeEvent[]): Promise<void> {
  const session = await openApplySession(applier, await readCatalogue(applier));
  await applier.query('BEGIN');
  try {
    await applyBatch(session, batchOf(...coalesce(events, session.catalogue)));
    await applier.query('COMMIT');
  } catch (error) {
    await applier.query('ROLLBACK');
    throw error;
  }
}

type Row = Readonly<Record<string, KnownValue>>;

const tx = { id: '7', totalOrder: 1 };
const add = (row: Row): ChangeEvent =>
  changeEvent({ tx, table: 'log', op: 'create', after: image(row) });
const remove = (row: Row): ChangeEvent =>
  changeEvent({ tx, table: 'log', op: 'delete', before: image(row) });
const change = (before: Row, after: Row): ChangeEvent =>
  changeEvent({ tx, table: 'log', op: 'update', before: image(before), after: image(after) });

async function texts(): Promise<readonly string[]> {
  const { rows } = await user.query<{ row: string }>(
    `SELECT row FROM (SELECT ROW(n, t, j, p, x, f, c, d)::text AS row FROM log) texts
     ORDER BY row COLLATE "C"`,
  );
  return rows.map(({ row }) => row);
}

const row = fc.record({
  n: fc.constantFrom('1.0', '1.00', 'NaN', null),
  t: fc.constantFrom('', 'a', null),
  j: fc.constantFrom('{"a":1}', '{"a": 1}', null),
  p: fc.constantFrom('(1,2)', null),
  x: fc.constantFrom('<a/>', null),
  f: fc.constantFrom('0', '-0', '0.1', null),
  c: fc.constantFrom('a', 'a   ', null),
  d: fc.constantFrom('infinity', '0044-03-15 BC', null),
});
const act = fc.oneof(
  fc.record({ do: fc.constant('add' as const), row }),
  fc.record({ do: fc.constant('remove' as const), at: fc.nat(20) }),
  fc.record({ do: fc.constant('change' as const), at: fc.nat(20), row }),
  fc.record({ do: fc.constant('truncate' as const) }),
);
type Act = typeof act extends fc.Arbitrary<infer T> ? T : never;

/** Production's rows in a list, and the events of an act on it. */
function play(rows: Row[], step: Act): readonly ChangeEvent[] {
  if (step.do === 'truncate') {
    rows.length = 0;
    return [changeEvent({ table: 'log', op: 'truncate' })];
  }
  if (step.do === 'add') {
    rows.push(step.row);
    return [add(step.row)];
  }
  const at = rows.length === 0 ? -1 : step.at % rows.length;
  const old = rows[at];
  if (old === undefined) return [];
  if (step.do === 'remove') {
    rows.splice(at, 1);
    return [remove(old)];
  }
  rows[at] = step.row;
  return [change(old, step.row)];
}

it.each([
  ['a trunk', LOG, false],
  ['a rollout', LOG, true],
  [
    'a partitioned table',
    `${LOG} PARTITION BY LIST (t);
    CREATE TABLE log_a PARTITION OF log FOR VALUES IN ('a');
    CREATE TABLE log_other PARTITION OF log DEFAULT`,
    false,
  ],
] as const)(
  'random histories end as the multiset they describe, in %s',
  async (_, ddl, overlay) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(act, { maxLength: 12 }), { minLength: 1, maxLength: 3 }),
        async (batches) => {
          await fresh(ddl, overlay);
          const rows: Row[] = [];
          for (const batch of batches) await apply(...batch.flatMap((step) => play(rows, step)));
          const shadow = await texts();
          await user.query('TRUNCATE log');
          for (const one of rows) {
            await user.query(
              'INSERT INTO log (n, t, j, p, x, f, c, d) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)',
              ['n', 't', 'j', 'p', 'x', 'f', 'c', 'd'].map((name) => one[name]),
            );
          }
          expect(shadow).toEqual(await texts());
        },
      ),
      { numRuns: 12 },
    );
  },
);

const ONE: Row = { n: '1', t: 'secret', j: null, p: null, x: null, f: null, c: null, d: null };

it('removes exactly one of several equal rows', async () => {
  await fresh(LOG);
  await apply(add(ONE), add(ONE), add(ONE));
  await apply(remove(ONE));
  expect(await texts()).toHaveLength(2);
});

it('refuses to remove a row that is not there, and says no value', async () => {
  await fresh(LOG);
  await apply(add(ONE));
  const failed: unknown = await apply(remove(ONE), remove(ONE)).catch((error: unknown) => error);
  expect(failed).toMatchObject({ code: 'ROW_INCOMPLETE', context: { table: 'public.log' } });
  expect(JSON.stringify(failed) + String(failed)).not.toContain('secret');
  expect(await texts()).toHaveLength(1);
});

it('passes over a row that a candidate has taken', async () => {
  await fresh(LOG, true);
  await apply(add(ONE), add({ ...ONE, n: '2' }));
  await user.query('DELETE FROM log WHERE n = 1');
  await apply(change(ONE, { ...ONE, n: '3' }));
  expect(
    (await user.query({ text: 'SELECT n::int FROM log ORDER BY 1', rowMode: 'array' })).rows,
  ).toEqual([[2], [3]]);
});

it('leaves columns that are not sent to the shadow’s defaults', async () => {
  await fresh(`CREATE TABLE log (a int, b text DEFAULT 'shadow')`);
  await apply(add({ a: '1' }), add({ a: '2' }));
  await apply(remove({ a: '1' }));
  expect((await user.query({ text: 'SELECT * FROM log', rowMode: 'array' })).rows).toEqual([
    [2, 'shadow'],
  ]);
});

it('asks for the old row where events lack it', async () => {
  await fresh(LOG);
  const update = changeEvent({ table: 'log', op: 'update', after: image(ONE) });
  await expect(apply(update)).rejects.toMatchObject({
    code: 'KEY_MISSING',
    context: { table: 'public.log' },
  });
});
