/** Traps in production's own catalogue, planted on a real server and looked for one by one. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProductionDatabase, StreamFacts } from '../../src/dialect/dialect.ts';
import { serverTraps } from '../../src/dialect/postgres/production/production-diagnosis.ts';
import { slotTraps } from '../../src/dialect/postgres/production/production-diagnosis-stream.ts';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import { LOSSES } from '../../src/decode/losses/losses.ts';
import { toldByCatalogue } from '../support/told-losses.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';

const SCHEMA = `
CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TYPE pair AS (x int, y int);
CREATE DOMAIN price AS numeric; CREATE DOMAIN label AS text;
CREATE TABLE fine (id int PRIMARY KEY, n numeric(10,2), t text, l label, ts timestamptz, a text[],
  g int GENERATED ALWAYS AS (id + 1) STORED);
CREATE TABLE placeholders (id int PRIMARY KEY, t text, v varchar, j json, jb jsonb, x xml,
  ta text[], ja jsonb[], ia int[], la bigint[], ua uuid[]);
CREATE TABLE toasty (id int PRIMARY KEY, n numeric, p price, b bytea, v varbit, fa float8[],
  ma mood[], da date[], ba bytea[], t text);
CREATE TABLE toasty_required (id int PRIMARY KEY, n numeric NOT NULL);
CREATE TABLE toasty_full (id int PRIMARY KEY, n numeric NOT NULL); ALTER TABLE toasty_full REPLICA IDENTITY FULL;
CREATE TABLE unknown_types (id int PRIMARY KEY, n name, p pair, l line, m int4multirange, pa pair[]);
CREATE TABLE lost_arrays (id int PRIMARY KEY, m money[], x xml[], i interval[], p point[]);
ALTER TABLE lost_arrays REPLICA IDENTITY FULL;
CREATE TABLE bits (id int PRIMARY KEY, b bit(3)[]); ALTER TABLE bits REPLICA IDENTITY FULL;
CREATE TABLE enum_arrays (id int PRIMARY KEY, m mood[]); ALTER TABLE enum_arrays REPLICA IDENTITY FULL;
CREATE TABLE matrix (id int PRIMARY KEY, m int[][]);
CREATE DOMAIN level AS int DEFAULT 3;
CREATE TABLE defaults (id int PRIMARY KEY, a int DEFAULT 5, b text, l level,
  g int GENERATED ALWAYS AS (id + 1) STORED);
CREATE TABLE zoned (id int PRIMARY KEY, t timetz);
CREATE TABLE by_only_index (u int NOT NULL UNIQUE, n int);
ALTER TABLE by_only_index REPLICA IDENTITY USING INDEX by_only_index_u_key;
CREATE DOMAIN scores AS int[];
CREATE TABLE domains (id int PRIMARY KEY, s scores, plain int[]);
CREATE TABLE cursors (id int PRIMARY KEY, c refcursor, r refcursor[]);
CREATE DOMAIN feeling AS mood;
CREATE TABLE keyless (a int); CREATE TABLE keyless_full (a int);
ALTER TABLE keyless_full REPLICA IDENTITY FULL;
CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE by_index (id int PRIMARY KEY, u int NOT NULL UNIQUE);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_u_key;
CREATE TABLE generated_key (a int, id int GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY);
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE filtered (id int PRIMARY KEY, a int, b int);
CREATE TABLE elsewhere (id int PRIMARY KEY);
CREATE UNLOGGED TABLE volatile (id int PRIMARY KEY);
CREATE PUBLICATION ours FOR TABLE fine, placeholders, toasty, toasty_required, toasty_full,
  unknown_types, lost_arrays, bits, enum_arrays, matrix, zoned, cursors, domains, by_only_index, keyless, keyless_full, nothing,
  by_index, generated_key, parts, filtered (id, a) WHERE (id > 5);
CREATE PUBLICATION others FOR TABLE elsewhere;
CREATE PUBLICATION updates FOR TABLE fine WITH (publish = 'update');
CREATE PUBLICATION rows_only FOR TABLE fine WITH (publish = 'insert, update, delete');
`;

const STREAM: StreamFacts = {
  modes: { binary: 'bytes', decimal: 'precise', time: 'adaptive' },
  unknownDatatypes: true,
  stopsAtValues: false,
  slot: null,
  publication: { name: 'ours', madeByConnector: false },
  started: true,
};

const told = new Set<string>();
const database = await testDatabase('traps');
let production: ProductionDatabase;

beforeAll(async () => {
  const client = await connectTo(database.url);
  await client.query(SCHEMA);
  await client.end();
  production = await connectProduction(database.url);
});
afterAll(() => production[Symbol.asyncDispose]());

async function found(
  table: string | null,
  changes: Partial<StreamFacts> = {},
): Promise<readonly string[]> {
  const tables = table === null ? [] : [{ schema: 'public', name: table }];
  const findings = await production.diagnose(tables, { ...STREAM, ...changes });
  const usual = ['production.version', 'production.wal-level', 'production.enum-domain'];
  for (const { id } of findings) told.add(id);
  return findings
    .filter(({ id }) => !usual.includes(id))
    .map(({ id, level, message }) => {
      const columns = BY_COLUMN.test(id) ? message.slice(message.lastIndexOf(':')) : '';
      return `${level} ${id}${columns}`;
    });
}

/** Findings whose message ends with columns. */
const BY_COLUMN =
  /^table\.(toast|type|array|bit|null|dimensions|timetz|refcursor|generated|column)/;

const OK = ['ok table.ready'];

describe('the traps of a table', () => {
  test.each([
    ['fine', OK],
    ['placeholders', OK],
    ['toasty_required', ['error table.toast-stops: n']],
    ['toasty_full', OK],
    ['lost_arrays', ['warning table.array-type: m, x, i, p']],
    ['bits', ['warning table.bit-array: b']],
    ['enum_arrays', ['warning table.null-elements: m']],
    ['matrix', ['warning table.dimensions: m']],
    ['zoned', ['warning table.timetz: t']],
    ['cursors', ['warning table.array-type: r', 'error table.refcursor: c']],
    ['keyless_full', OK],
    ['keyless', ['error table.key']],
    ['nothing', ['error table.identity']],
    ['by_index', ['error table.identity']],
    ['by_only_index', OK],
    ['generated_key', ['error table.generated-key: id']],
    ['parts', ['error table.partitions']],
    ['filtered', ['error table.row-filter', 'error table.column-list: b']],
    ['volatile', ['error table.unlogged', 'warning table.publication']],
    ['elsewhere', ['warning table.publication']],
    ['absent', ['error table.missing']],
  ])('are named: %s', async (table, expected) => {
    expect(await found(table)).toEqual(expected);
  });

  test('depend on the connector’s modes where a large unchanged value arrives as NULL', async () => {
    const nulls = 'warning table.null-elements: ma';
    expect(await found('toasty')).toEqual(['warning table.toast: n, p, v, fa, ma', nulls]);
    const modes = { binary: 'base64', decimal: 'string', time: 'isostring' } as const;
    expect(await found('toasty', { modes })).toEqual([
      'warning table.toast: b, v, fa, ma, da, ba',
      nulls,
    ]);
    const hex = { ...modes, binary: 'hex', time: 'connect' } as const;
    expect(await found('toasty', { modes: hex })).toEqual([
      'warning table.toast: v, fa, ma, ba',
      nulls,
    ]);
  });

  test('depend on what the connector does with types it does not know', async () => {
    expect(await found('unknown_types')).toEqual([
      'warning table.toast: pa',
      'warning table.null-elements: pa',
    ]);
    const base64 = { modes: { ...STREAM.modes, binary: 'base64' } } as const;
    expect(await found('unknown_types', base64)).toEqual([
      'warning table.toast: p, m, pa',
      'warning table.null-elements: pa',
    ]);
    expect(await found('unknown_types', { unknownDatatypes: false })).toEqual([
      'warning table.type: p, l, m, pa',
    ]);
  });

  test('are worse where the connector may not send NULL for what it cannot convert', async () => {
    const stops = { stopsAtValues: true };
    expect(await found('toasty', stops)).toEqual([
      'error table.toast-stops: n, p, v, fa, ma',
      'warning table.null-elements-stop: ma',
    ]);
    expect(await found('bits', stops)).toEqual(['error table.bit-array-stops: b']);
    expect(await found('enum_arrays', stops)).toEqual(['warning table.null-elements-stop: m']);
  });

  test('know a domain over an array for one whose placeholder is lost', async () => {
    expect(await found('domains')).toEqual(['warning table.toast: s']);
  });

  test('are looked for in the connector’s own publication', async () => {
    const of = (name: string) => ({ publication: { name, madeByConnector: false } });
    expect(await found('fine', of('updates'))).toEqual(['error table.publish']);
    expect(await found('fine', of('rows_only'))).toEqual(['warning table.truncate']);
    expect(await found('elsewhere', of('others'))).toEqual(OK);
  });
});

test('which columns have a default is known, also from a domain', async () => {
  const catalogue = await production.catalogue();
  const columns = catalogue.get('public.defaults')?.columns ?? [];
  expect(columns.filter(({ hasDefault }) => hasDefault).map(({ name }) => name)).toEqual([
    'a',
    'l',
  ]);
});

describe('what the connector makes at its start', () => {
  const publication = { name: 'not_there', madeByConnector: true };

  test('is not missed before it starts', async () => {
    expect(await found('fine', { publication, slot: 'not_there', started: false })).toEqual(OK);
  });

  test('is missed once it has started, or if somebody else must make it', async () => {
    expect(await found(null, { publication, slot: 'not_there' })).toEqual([
      'error production.slot-missing',
      'error production.publication-missing',
    ]);
    const disabled = { publication: { ...publication, madeByConnector: false }, started: false };
    expect(await found(null, disabled)).toEqual(['error production.publication-missing']);
  });
});

describe('the slot', () => {
  const slot = database.name;

  test.each([
    ['lost', { status: 'lost' }],
    ['lost', { invalidation: 'idle_timeout' }],
    ['temporary', { temporary: true }],
    ['at-risk', { status: 'unreserved' }],
    ['behind', { behind: String(2n * 1024n ** 3n) }],
  ] as const)('that is no longer safe is named: %s by %j', (id, changes) => {
    const sound = {
      ...{ temporary: false, active: true, here: true, database: 'd', status: 'reserved' },
      ...{ invalidation: null, behind: '0' },
    };
    expect(slotTraps('s', sound, true)).toEqual([]);
    const [finding, ...others] = slotTraps('s', { ...sound, ...changes }, true);
    expect([finding?.id, others]).toEqual([`production.slot-${id}`, []]);
    expect([finding?.message, finding?.cure].every((text) => (text ?? '').length > 10)).toBe(true);
  });

  test('that is temporary is told on a real server', async () => {
    const client = await connectTo(database.url);
    try {
      await client.query(
        `SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput', temporary => true)`,
      );
      expect(await found(null, { slot })).toEqual(['error production.slot-temporary']);
    } finally {
      await client.end();
    }
  });

  test('that nobody reads, or that belongs to another database, is named', async () => {
    const client = await connectTo(database.url);
    const other = serverDatabase();
    try {
      await client.query(`SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`);
      expect(await found(null, { slot })).toEqual(['warning production.slot-idle']);
      expect(await found(null, { slot, started: false })).toEqual([]);
      await using stranger = await connectProduction(other);
      const findings = await stranger.diagnose([], { ...STREAM, slot, publication: null });
      expect(findings.map(({ id }) => id)).toContain('production.slot-elsewhere');
    } finally {
      await client.query(`SELECT pg_drop_replication_slot('${slot}')`);
      await client.end();
    }
  });
});

test('the doctor tells what the table of losses says that it reads in the catalogue', async () => {
  const promised = toldByCatalogue('postgresql', LOSSES);
  expect(promised.length).toBeGreaterThan(4);
  expect(promised.filter((id) => !told.has(id))).toEqual([]);
});

test('a standby is named, whose snapshots cannot be pinned', () => {
  const primary = {
    ...{ version: 150_000, versionText: '15', walLevel: 'logical', standby: false },
    ...{ mayEmit: true, enumDomains: [] },
  };
  expect(serverTraps(primary)).toEqual([]);
  expect(serverTraps({ ...primary, standby: true })).toMatchObject([
    { id: 'production.standby', level: 'error', cure: 'Point production.url at the primary.' },
  ]);
});

test('an account that may not write the mark of a drift check is named', async () => {
  const client = await connectTo(database.url);
  const role = `${database.name}_mute`;
  const { rows } = await client.query<{ signature: string }>(
    `SELECT oid::regprocedure::text AS signature FROM pg_proc
      WHERE proname = 'pg_logical_emit_message' AND proargtypes[2] = 'text'::regtype`,
  );
  const change = (what: string): string =>
    rows.map(({ signature }) => what.replace('$', signature)).join(';');
  try {
    await client.query(`CREATE ROLE ${role} LOGIN`);
    await client.query(change('REVOKE EXECUTE ON FUNCTION $ FROM PUBLIC'));
    const url = new URL(database.url);
    url.username = role;
    await using mute = await connectProduction(url.href);
    const findings = await mute.diagnose([], { ...STREAM, publication: null });
    expect(findings.map(({ id, level }) => `${level} ${id}`)).toContain('error production.marker');
  } finally {
    await client.query(change('GRANT EXECUTE ON FUNCTION $ TO PUBLIC'));
    await client.query(`DROP ROLE ${role}`);
    await client.end();
  }
});

/** The server's own database. */
function serverDatabase(): string {
  const url = new URL(database.url);
  url.pathname = '/postgres';
  return url.href;
}
