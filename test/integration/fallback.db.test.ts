/**
 * Fallback mode: a server where the account may neither bypass triggers nor end other people's
 * sessions. The whole way, as an account that is no superuser, and what nobody may talk it into.
 */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { partitionKey } from '../../src/change/position.ts';
import { RowShape } from '../../src/change/value.ts';
import type { Fence, ShadowDatabase, ShadowServer } from '../../src/dialect/dialect.ts';
import { assertLetsMigrate } from '../../src/dialect/migrating.ts';
import { withCondition } from '../../src/dialect/postgres/shadow/fallback-schema.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import { databaseUrl, dropDatabase } from '../support/postgres.ts';
import { Random } from '../support/random.ts';
import { postgresUrl } from '../support/test-database.ts';
import { ask, freshName, planOf, session } from './shadow.fixture.ts';

const account = `Fall"back'_${randomBytes(4).toString('hex')}`;
const ACCOUNT = pg.escapeIdentifier(account);

beforeAll(async () => {
  await admin(`CREATE ROLE ${ACCOUNT} NOSUPERUSER CREATEDB CREATEROLE LOGIN PASSWORD 'x'`);
});

afterAll(async () => {
  const left = await admin(
    `SELECT datname AS name FROM pg_database WHERE pg_get_userbyid(datdba) = ${pg.escapeLiteral(account)}`,
  );
  for (const row of left) await dropDatabase(postgresUrl(), String(row['name']));
  await admin(`DROP OWNED BY ${ACCOUNT}; DROP ROLE ${ACCOUNT}`);
});

async function admin(sql: string): Promise<readonly pg.QueryResultRow[]> {
  const client = new pg.Client({ connectionString: postgresUrl() });
  await client.connect();
  try {
    return (await client.query<pg.QueryResultRow>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** The server as the account sees it. */
async function shadow(): Promise<ShadowServer> {
  const url = new URL(postgresUrl());
  url.username = encodeURIComponent(account);
  url.password = 'x';
  const server = await connectShadow(url.href);
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

const SHOP = [
  `CREATE TABLE customer (id int PRIMARY KEY, name text,
    email text UNIQUE DEFERRABLE INITIALLY DEFERRED)`,
  `CREATE TABLE purchase (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer
    ON DELETE CASCADE, total int, slot int UNIQUE DEFERRABLE)`,
  `CREATE TABLE event (id int PRIMARY KEY, part int) `,
  `CREATE TABLE visit (id int PRIMARY KEY, page text) PARTITION BY HASH (id)`,
  `CREATE TABLE visit_0 PARTITION OF visit FOR VALUES WITH (MODULUS 2, REMAINDER 0)`,
  `CREATE TABLE visit_1 PARTITION OF visit FOR VALUES WITH (MODULUS 2, REMAINDER 1)`,
  `CREATE TABLE log (id bigserial PRIMARY KEY, what text)`,
  `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.log (what) VALUES (TG_NAME); RETURN NEW; END $$`,
  `CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.total := NEW.total + 1000; RETURN NEW; END $$`,
  `CREATE TRIGGER plain AFTER INSERT OR DELETE ON purchase FOR EACH ROW EXECUTE FUNCTION note()`,
  `CREATE TRIGGER "odd "" FOR EACH ROW WHEN (" AFTER UPDATE OF total ON purchase FOR EACH ROW
    WHEN (OLD.total > 5 OR NEW.total IS DISTINCT FROM OLD.total)
    EXECUTE FUNCTION note(' WHEN (it''s) EXECUTE FUNCTION ')`,
  `CREATE TRIGGER raised BEFORE INSERT ON purchase FOR EACH ROW WHEN (NEW.total < 10)
    EXECUTE FUNCTION raise()`,
  `CREATE TRIGGER together AFTER UPDATE ON purchase REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION note()`,
  `CREATE CONSTRAINT TRIGGER late AFTER INSERT ON customer DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION note()`,
  `CREATE TRIGGER emptied BEFORE TRUNCATE ON customer EXECUTE FUNCTION note()`,
  `CREATE TRIGGER off AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION note()`,
  `ALTER TABLE customer DISABLE TRIGGER off`,
  `COMMENT ON TRIGGER off ON customer IS 'it''s off'`,
  `CREATE TRIGGER always AFTER INSERT ON visit FOR EACH ROW EXECUTE FUNCTION note()`,
  `ALTER TABLE visit ENABLE ALWAYS TRIGGER always`,
  `CREATE FUNCTION shout() RETURNS void LANGUAGE sql SECURITY DEFINER AS
    $$ UPDATE public.customer SET name = upper(name) $$`,
  `CREATE RULE also AS ON INSERT TO event DO ALSO INSERT INTO log (what) VALUES ('rule')`,
  `CREATE VIEW named AS SELECT id, name FROM customer`,
  `CREATE TRIGGER instead INSTEAD OF INSERT ON named FOR EACH ROW EXECUTE FUNCTION note()`,
  `ALTER TABLE event FORCE ROW LEVEL SECURITY`,
];

const COLUMNS = {
  customer: ['id', 'name', 'email'],
  purchase: ['id', 'customer', 'total', 'slot'],
  event: ['id', 'part'],
  visit: ['id', 'page'],
} as const;
type Table = keyof typeof COLUMNS;
const TABLES = Object.keys(COLUMNS) as readonly Table[];

type Row = readonly (string | null)[];

function put(...row: Row): NetChange {
  return {
    kind: 'upsert',
    key: [row[0] ?? null],
    from: [row[0] ?? null],
    complete: true,
    image: { shape: new RowShape([]), values: row },
  };
}

function gone(id: string): NetChange {
  return { kind: 'delete', key: [id] };
}

/** A step of full rows, in the order of COLUMNS. */
function rows(table: Table, ...changes: readonly NetChange[]): BatchStep {
  const shape = new RowShape(COLUMNS[table]);
  return {
    kind: 'rows',
    table: { schema: 'public', name: table },
    changes: changes.map((change) =>
      change.kind === 'delete'
        ? change
        : { ...change, image: { shape, values: change.image.values } },
    ),
  };
}

interface Held {
  readonly database: ShadowDatabase;
  readonly fence: Fence;
  /** For a look inside, as superuser. */
  readonly look: pg.Client;
  apply(...steps: readonly BatchStep[]): ReturnType<ShadowDatabase['apply']>;
}

async function hold(server: ShadowServer, name: string): Promise<Held> {
  const database = await server.open(name);
  if (database === null) throw new Error('it is not there');
  onTestFinished(() => database[Symbol.asyncDispose]());
  const fence = await database.takeFence('test');
  if (fence === null) throw new Error('somebody holds it');
  const look = await session(databaseUrl(postgresUrl(), name));
  let next = (await database.progress()).position.offsets.get(partitionKey('t', 0)) ?? 0n;
  return {
    ...{ database, fence, look },
    apply: (...steps) => {
      next += 1n;
      const offsets = new Map([[partitionKey('t', 0), next]]);
      return database.apply(fence, {
        ...{ steps, position: { offsets, source: null, eventTimeMs: null }, txIds: [] },
        ...{ unmarked: 0, events: 1, transactions: 1, bytes: 1 },
      });
    },
  };
}

async function trunk(
  server: ShadowServer,
  sql: readonly string[] = SHOP,
): Promise<{ readonly name: string; readonly skipped: readonly string[] }> {
  const name = freshName('fallback');
  const made = await server.createTrunk({ name, topicPrefix: 'prod', plan: planOf(...sql) });
  return { name, ...made };
}

/** A rollout with an overlay and its candidate, of a trunk with one customer and one purchase. */
async function rollout(server: ShadowServer): Promise<Held & { readonly candidate: pg.Client }> {
  const { name } = await trunk(server);
  const base = await hold(server, name);
  await base.apply(
    rows('customer', put('1', 'Ada', 'a@x')),
    rows('purchase', put('1', '1', '5', '1')),
  );
  await base.database.releaseFence(base.fence);
  // The account may not end a superuser's session, and a copy bears none.
  await base.look.end();
  const to = freshName('rollout');
  await server.clone({ from: name, to, rolloutName: 'next' });
  // Registered before the sessions, and so run after they ended.
  onTestFinished(() => server.drop({ database: to, role: to }));
  const held = await hold(server, to);
  expect(await held.database.installOverlay(held.fence)).toMatchObject({ notCaptured: [] });
  const { url } = await server.createCandidateRole({ database: to, role: to, password: 'pass' });
  return { ...held, candidate: await session(url) };
}

const values = async (client: pg.Client, sql: string): Promise<readonly unknown[]> =>
  (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows;

const noted = async (client: pg.Client): Promise<readonly unknown[]> =>
  (await values(client, 'SELECT DISTINCT what FROM public.log ORDER BY 1')).flat();

async function differences(held: Held): Promise<readonly string[]> {
  const found = await held.database.overlayRows(100);
  return found.map((row) => `${row.table.name} ${row.key.join('/')} ${row.kind}`).sort();
}

test('a trunk of an account that may not bypass triggers says what it lacks, and why', async () => {
  const { name, skipped } = await trunk(await shadow());
  const reason = expect.stringMatching(
    /: .*; a superuser must run: GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO /,
  ) as unknown;
  expect(skipped).toEqual([reason, reason, reason]);
  expect(skipped.map((line) => line.split(':')[0])).toEqual([
    'foreign key purchase_customer_fkey of table public.purchase',
    'rule also of table public.event',
    'FORCE ROW LEVEL SECURITY of table public.event',
  ]);
  const look = await session(databaseUrl(postgresUrl(), name));
  const triggers = await values(
    look,
    `SELECT tgname, tgenabled, obj_description(oid, 'pg_trigger'),
       pg_get_triggerdef(oid) LIKE '%SESSION_USER <> %' FROM pg_trigger
     WHERE NOT tgisinternal AND tgrelid::regclass::text !~ 'visit_' ORDER BY tgname COLLATE "C"`,
  );
  expect(triggers).toEqual([
    ['always', 'A', null, true],
    ['emptied', 'O', null, true],
    ['instead', 'O', null, false],
    ['late', 'O', null, true],
    ['odd " FOR EACH ROW WHEN (', 'O', null, true],
    ['off', 'D', `it's off`, true],
    ['plain', 'O', null, true],
    ['raised', 'O', null, true],
    ['together', 'O', null, true],
  ]);
});

test('batches lead to production’s state, and nothing acts on them', async () => {
  const server = await shadow();
  const held = await hold(server, (await trunk(server)).name);
  const model = new Map<Table, Map<string, Row>>(TABLES.map((table) => [table, new Map()]));
  const random = new Random(7);
  for (let batch = 0; batch < 40; batch += 1) {
    const steps: BatchStep[] = [];
    for (const table of ['purchase', 'visit', 'event', 'customer'] as const) {
      const known = model.get(table) ?? new Map<string, Row>();
      if (random.chance(0.05)) {
        known.clear();
        steps.push({ kind: 'truncate', table: { schema: 'public', name: table } });
      }
      const changes = new Map<string, NetChange>();
      // Unique values move among all rows of a batch: for a moment two rows hold the same.
      const slots = [...Array(10).keys()].map(String);
      for (const id of ['1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        const slot = slots.splice(random.integer(0, slots.length - 1), 1)[0] ?? null;
        if (random.chance(0.3)) {
          known.delete(id);
          changes.set(id, gone(id));
          continue;
        }
        const all = { customer: [id, 'n', slot], purchase: [id, '77', '3', slot] };
        const rest = { event: [id, slot], visit: [id, slot] };
        const row = { ...all, ...rest }[table];
        known.set(id, row);
        changes.set(id, put(...row));
      }
      steps.push(rows(table, ...changes.values()));
    }
    await held.apply(...steps);
    for (const table of TABLES) {
      const texts = COLUMNS[table].map((column) => `${column}::text`).join(', ');
      const found = await values(held.look, `SELECT ${texts} FROM public.${table} ORDER BY id`);
      const expected = [...(model.get(table) ?? [])].sort(([a], [b]) => Number(a) - Number(b));
      expect(found, `${table} after batch ${String(batch)}`).toEqual(
        expected.map(([, row]) => row),
      );
    }
  }
  expect(await noted(held.look)).toEqual([]);
});

test('a value that is there twice at the end is refused before the commit, with its place', async () => {
  const server = await shadow();
  const held = await hold(server, (await trunk(server)).name);
  const twice = rows('customer', put('1', 'Ada', 'a@x'), put('2', 'Bob', 'a@x'));
  await expect(held.apply(twice)).rejects.toMatchObject({
    code: 'APPLY_FAILED',
    context: {
      table: 'public.customer',
      detail: expect.stringContaining('customer_email_key') as string,
    },
  });
  expect(await values(held.look, 'SELECT FROM public.customer')).toEqual([]);
});

test('in a rollout triggers and capture act for the candidate, and not for the applier', async () => {
  const { candidate, ...held } = await rollout(await shadow());
  await held.apply(
    rows('purchase', put('2', '99', '7', '2'), put('1', '1', '6', '1')),
    rows('customer', put('2', 'Bob', 'b@x')),
    rows('visit', put('1', 'home')),
    rows('event', put('1', '1')),
  );
  expect(await noted(held.look)).toEqual([]);
  expect(await differences(held)).toEqual([]);

  await candidate.query(`INSERT INTO customer VALUES (10, 'Cid', 'c@x');
    INSERT INTO purchase VALUES (10, 10, 1, 10); UPDATE purchase SET total = 8 WHERE id = 1;
    DELETE FROM purchase WHERE id = 2; INSERT INTO visit VALUES (2, 'cart')`);
  expect(await values(held.look, 'SELECT total FROM purchase WHERE id = 10')).toEqual([[1001]]);
  expect(await noted(held.look)).toEqual([
    ...['always', 'late', 'odd " FOR EACH ROW WHEN (', 'plain', 'together'],
  ]);
  const own = [
    ...['customer 10 insert', 'purchase 1 update', 'purchase 10 insert', 'purchase 2 delete'],
    'visit 2 insert',
  ];
  const changed = async (): Promise<readonly string[]> =>
    (await differences(held)).filter((line) => !line.startsWith('log'));
  expect(await changed()).toEqual(own);
  // Production's changes go on beneath what the candidate owns.
  expect(
    await held.apply(rows('purchase', put('1', '1', '60', '1'), put('2', '1', '9', '3'))),
  ).toEqual({
    ...{ rows: 0, owned: 2, repairs: 0 },
  });
  expect(await changed()).toEqual(own);
  expect(
    await values(held.look, 'SELECT id, total FROM public__production.purchase ORDER BY 1'),
  ).toEqual([
    [1, 60],
    [2, 9],
  ]);

  const before = await values(held.look, 'SELECT count(*) FROM log');
  expect(await held.database.resetOverlay(held.fence, {})).toBeGreaterThan(own.length);
  expect(await differences(held)).toEqual([]);
  expect(await values(held.look, 'SELECT id, total, slot FROM purchase ORDER BY 1')).toEqual([
    [1, 60, 1],
    [2, 9, 3],
  ]);
  expect(before).not.toEqual([['0']]);
  expect(await noted(held.look), 'the reset took the notes away and made none').toEqual([]);

  await candidate.query('TRUNCATE customer');
  expect(await changed()).toEqual(['customer 1 delete', 'customer 2 delete']);
  expect(await noted(held.look)).toEqual(['emptied']);
});

test('a reset that a row of the candidate stands in the way of is refused, not half done', async () => {
  const { candidate, ...held } = await rollout(await shadow());
  await candidate.query(`UPDATE customer SET email = 'free' WHERE id = 1;
    INSERT INTO customer VALUES (10, 'Cid', 'a@x')`);
  const only = { table: { schema: 'public', name: 'customer' }, key: ['1'] };
  await expect(held.database.resetOverlay(held.fence, only)).rejects.toMatchObject({
    code: 'APPLY_BLOCKED',
  });
  const rest = await differences(held);
  expect(rest.filter((line) => line.startsWith('customer'))).toHaveLength(2);
});

test('a candidate cannot pose as the applier', async () => {
  const { candidate, ...held } = await rollout(await shadow());
  const applier = pg.escapeIdentifier(account);
  for (const sql of [
    `SET ROLE ${applier}`,
    `SET SESSION AUTHORIZATION ${applier}`,
    'SET session_replication_role = replica',
    'ALTER TABLE customer DISABLE TRIGGER ALL',
    'DROP TRIGGER "!understudy_row" ON customer',
    `UPDATE understudy.marker SET spared_account = current_user`,
    `GRANT ${applier} TO CURRENT_USER`,
  ]) {
    await expect(candidate.query(sql), sql).rejects.toMatchObject({ code: '42501' });
  }
  // In it the current user is the applier's account; who logged in is not.
  await candidate.query('SELECT shout()');
  expect(await differences(held)).toEqual(['customer 1 update']);
  await candidate.query(`SET understudy.applier = 'on'; SET application_name = 'understudy';
    SET understudy.account = ${pg.escapeLiteral(account)}`);
  // An operator and a function of its own, of the names that the conditions use.
  await candidate.query(`CREATE FUNCTION pg_temp.never(name, name) RETURNS boolean LANGUAGE sql
      AS 'SELECT false';
    CREATE OPERATOR pg_temp.<> (LEFTARG = name, RIGHTARG = name, FUNCTION = pg_temp.never);
    SET search_path = pg_temp, public, pg_catalog`);
  await candidate.query(`UPDATE customer SET name = 'X'; DELETE FROM purchase`);
  const rest = (await differences(held)).filter((line) => !line.startsWith('log'));
  expect(rest).toEqual(['customer 1 update', 'purchase 1 delete']);
});

test('a rollout goes with the sessions and the prepared transactions of its candidate', async () => {
  const server = await shadow();
  const { candidate, database, look } = await rollout(server);
  await look.end();
  const second = pg.escapeLiteral(database.name);
  await candidate.query(`BEGIN`);
  await candidate.query(`UPDATE customer SET name = 'X'`);
  await candidate.query(`PREPARE TRANSACTION ${second}`);
  await candidate.query('BEGIN');
  await database[Symbol.asyncDispose]();
  await server.drop({ database: database.name, role: database.name });
  expect(await ask(`SELECT FROM pg_roles WHERE rolname = ${second}`)).toEqual([]);
  expect(await server.open(database.name)).toBeNull();
});

test('a candidate’s role that is there gets its new password', async () => {
  const server = await shadow();
  const { database } = await rollout(server);
  const again = { database: database.name, role: database.name, password: 'other' };
  expect((await server.createCandidateRole(again)).url).toContain(':other@');
});

test('what a migration adds that would act on the applier stops it, and names the cure', async () => {
  const server = await shadow();
  const { name } = await trunk(server);
  const url = new URL(databaseUrl(postgresUrl(), name));
  url.username = encodeURIComponent(account);
  const owner = await session(url.href);
  const condition = `session_user <> ${pg.escapeLiteral(account)}`;
  const add = (what: string): string =>
    `CREATE TRIGGER extra AFTER INSERT ON event FOR EACH ROW ${what} EXECUTE FUNCTION note()`;
  const faults = [
    [add(''), 'DROP TRIGGER extra ON event'],
    [add('WHEN (NEW.id > 0)'), 'DROP TRIGGER extra ON event'],
    ['ALTER TABLE purchase ADD FOREIGN KEY (customer) REFERENCES customer', null],
    ['CREATE RULE extra AS ON DELETE TO event DO ALSO NOTHING', 'DROP RULE extra ON event'],
  ] as const;
  for (const [fault, cure] of faults) {
    await owner.query(fault);
    const held = await hold(server, name);
    await expect(held.apply(rows('event', put('1', '1'))), fault).rejects.toMatchObject({
      code: 'APPLY_FAILED',
      context: { table: expect.stringMatching(/^public\.(event|purchase|customer)$/) as string },
    });
    await owner.query(cure ?? 'ALTER TABLE purchase DROP CONSTRAINT purchase_customer_fkey');
    await held.apply(rows('event', put('1', '1')));
    await held.database.releaseFence(held.fence);
  }
  await owner.query(add(`WHEN (${condition} AND NEW.id > 0)`));
  const held = await hold(server, name);
  await held.apply(rows('event', put('2', '2')));
  expect(await noted(held.look)).toEqual([]);
});

test('a database is followed in the mode it was made in, or not at all', async () => {
  const server = await shadow();
  const spared = (await trunk(server)).name;
  const other = await connectShadow(postgresUrl());
  onTestFinished(() => other[Symbol.asyncDispose]());
  const foreign = await hold(other, spared);
  await expect(foreign.apply(rows('event', put('1', '1')))).rejects.toMatchObject({
    code: 'DATABASE_PERMISSION',
    context: { detail: expect.stringContaining('log in as that account') as string },
  });
  await foreign.database.releaseFence(foreign.fence);

  await admin(`GRANT SET ON PARAMETER session_replication_role TO ${ACCOUNT}`);
  onTestFinished(async () => {
    await admin(`REVOKE SET ON PARAMETER session_replication_role FROM ${ACCOUNT}`);
  });
  // With the right now, but the schema is what it is.
  await (await hold(server, spared)).apply(rows('event', put('1', '1')));
  const { name, skipped } = await trunk(server, SHOP.slice(0, 2));
  expect(skipped).toEqual([]);
  const held = await hold(server, name);
  await held.apply(rows('purchase', put('1', '99', '1', '1')));
  const kept = `SELECT FROM pg_constraint WHERE contype = 'f'
    AND connamespace <> 'understudy'::regnamespace`;
  expect(await values(held.look, kept)).toHaveLength(1);
  await held.database.releaseFence(held.fence);

  await admin(`REVOKE SET ON PARAMETER session_replication_role FROM ${ACCOUNT}`);
  const lost = await hold(server, name);
  await expect(lost.apply(rows('customer', put('1', 'a', 'a')))).rejects.toMatchObject({
    code: 'DATABASE_PERMISSION',
    context: {
      detail: expect.stringContaining(
        'GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO',
      ) as string,
    },
  });
});

test('a condition goes where WHEN belongs, whatever the names say', () => {
  const head = 'CREATE TRIGGER " FOR EACH ROW WHEN (""" AFTER INSERT ON s.t FOR EACH ROW ';
  const tail = `EXECUTE FUNCTION f(' FOR EACH ROW WHEN (')`;
  expect(withCondition({ definition: head + tail, conditional: false }, 'c')).toBe(
    `${head}WHEN (c) ${tail}`,
  );
  const definition = `${head}WHEN ((new.a OR new.b)) ${tail}`;
  expect(withCondition({ definition, conditional: true }, 'c')).toBe(
    `${head}WHEN (c AND (new.a OR new.b)) ${tail}`,
  );
  expect(() => withCondition({ definition, conditional: false }, 'c')).toThrow('stands where');
});

test('no candidate migrates by itself where nobody may notice it', async () => {
  const refused = await assertLetsMigrate(await shadow()).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: 'DATABASE_PERMISSION' });
  expect(JSON.stringify(refused)).toContain('rollout migrate');
});
