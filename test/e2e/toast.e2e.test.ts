/**
 * Large values that the connector does not send because they did not change, on real parts: told
 * as unknown, known again by an incremental snapshot or a read of production, and never called equal.
 * Each test starts where the one before ended.
 */
import path from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { settleConnector } from '../support/settle.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { Workplace } from '../support/understudy.ts';

const PREFIX = `toast${process.pid}`;
const production = await testDatabase('production');

/** Columns whose unchanged large values arrive as NULL; with them two that have a placeholder. */
const LARGE = {
  amount: ['numeric', `repeat('1234567890', 800)::numeric`],
  floats: ['float8[]', 'array_fill(random(), ARRAY[1000])'],
  ranges: ['int4range[]', 'array_fill(int4range(1, (random() * 1e6)::int + 2), ARRAY[500])'],
  flags: ['bool[]', 'array_fill(random() < 0.5, ARRAY[4000])'],
  moments: ['timestamptz[]', 'array_fill(clock_timestamp(), ARRAY[500])'],
  body: ['text', `repeat(md5(random()::text), 100)`],
  codes: ['uuid[]', 'array_fill(gen_random_uuid(), ARRAY[500])'],
  scores: ['scores', 'array_fill((random() * 1e9)::int, ARRAY[1000])'],
  labels: ['label[]', 'array_fill(md5(random()::text)::label, ARRAY[500])'],
} as const;
const WITHOUT_PLACEHOLDER = ['amount', 'flags', 'floats', 'labels', 'moments', 'ranges', 'scores'];

const columns = Object.entries(LARGE);
const NAMES = columns.map(([name]) => name).join(', ');
const VALUES = columns.map(([, [, value]]) => value).join(', ');
const table = (name: string): string =>
  `CREATE TABLE ${name} (id int PRIMARY KEY, n int,
     ${columns.map(([column, [type]]) => `${column} ${type}`).join(', ')});
   ALTER TABLE ${name} ${columns.map(([c]) => `ALTER ${c} SET STORAGE EXTERNAL`).join(', ')};`;
const rows = (name: string, first: number, last: number): string =>
  `INSERT INTO ${name} (id, n, ${NAMES})
     SELECT i, 0, ${VALUES} FROM generate_series(${first}, ${last}) i;`;

interface Status {
  readonly databases: readonly {
    readonly parked: number;
    readonly unknown: number;
    readonly gaps: readonly {
      readonly table: string;
      readonly column: string | null;
      readonly entries: number;
      readonly oldestMs: number;
    }[];
    readonly gapsCure: string | null;
  }[];
}
interface Report {
  readonly verdict: string;
  readonly reasons: readonly { readonly code: string; readonly table: string | null }[];
  readonly tables: readonly { readonly table: string; readonly state: string }[];
  readonly differences: readonly {
    readonly key: Readonly<Record<string, string>>;
    readonly kind: string;
    readonly cause?: string;
    readonly columns: readonly { readonly name: string; readonly cause?: string }[];
  }[];
}

let shadow: PostgresServer;
let workplace: Workplace;
let client: pg.Client;
let source: object;

const shop = (): string => databaseUrl(shadow.url, 'shop');

const configure = (withProduction: boolean): Promise<void> =>
  workplace.configure({
    source,
    ...(withProduction && { production: { url: production.url } }),
    shadow: { url: shadow.url },
    trunk: { name: 'shop' },
  });

const settle = async (): Promise<void> =>
  settleConnector(production.url, await sharedConnect(), PREFIX);

async function trunk(): Promise<Status['databases'][number]> {
  const [found] = (await workplace.json<Status>(['status'])).databases;
  if (found === undefined) throw new Error('there is no trunk');
  return found;
}

/** `table.column entries`, and `table entries` of parked rows. */
async function gaps(): Promise<readonly string[]> {
  return (await trunk()).gaps.map(({ table: name, column, entries }) =>
    column === null ? `${name} ${entries}` : `${name}.${column} ${entries}`,
  );
}

const unknownIn = (name: string, entries: number): readonly string[] =>
  WITHOUT_PLACEHOLDER.map((column) => `public.${name}.${column} ${entries}`);

const materialize = (status = 0): Promise<{ parked: number; unknown: number }> =>
  workplace.json(['materialize', '--until-caught-up'], status);

async function expectEqual(...only: readonly string[]): Promise<void> {
  const options = { only: only.map((name) => `public.${name}`) };
  expect(await canonicalState(shop(), options)).toEqual(
    await canonicalState(production.url, options),
  );
}

beforeAll(async () => {
  shadow = await startPostgres();
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  client = await connectTo(production.url);
  await client.query(`CREATE DOMAIN label AS text; CREATE DOMAIN scores AS int[];
    ${table('doc')} ${table('quiet')}
    CREATE TABLE signals (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048));
    CREATE TABLE words (id int PRIMARY KEY, body text, codes uuid[], bytes bytea, names text[],
      numbers int[], counts bigint[], j jsonb);
    ${rows('doc', 100, 104)}`);
  const config = await postgresConnector(production.url, PREFIX, {
    // What is in doc now, the shadow never sees as a whole.
    'snapshot.mode': 'no_data',
    'signal.data.collection': 'public.signals',
    'decimal.handling.mode': 'precise',
    // As Debezium has it: else such a value stops the connector.
    'event.converting.failure.handling.mode': 'warn',
  });
  await connect.createConnector(PREFIX, config);
  source = {
    topicPrefix: PREFIX,
    kafka: { brokers: [kafka.broker] },
    connect: { url: connect.url, name: PREFIX },
    signalTable: 'public.signals',
  };
  await client.query(`${rows('doc', 1, 4)} ${rows('quiet', 1, 2)}`);
  await settle();
  workplace = await Workplace.make({});
  await configure(true);
  await materialize();
});

afterAll(async () => {
  await client.end();
  await workplace[Symbol.asyncDispose]();
  await (await sharedConnect()).deleteConnector(PREFIX);
  await shadow.stop();
});

it('tells what is unknown, and since when, where nothing can be asked', async () => {
  await client.query(`UPDATE doc SET n = 1 WHERE id IN (1, 2, 100, 101);
    UPDATE doc SET amount = NULL, n = 2 WHERE id = 2;
    UPDATE doc SET id = 13 WHERE id = 3;
    UPDATE quiet SET n = 1`);
  await settle();
  const manifest = path.join(workplace.directory, 'manifest.json');
  await workplace.json(['drift', 'snapshot', '--with-rows', '--out', manifest]);
  await configure(false);

  const report = await workplace.json<Report>(['drift', 'check', '--manifest', manifest], 1);
  const doubts = report.reasons.map(({ code, table: name }) => `${code} ${String(name)}`);
  expect(doubts).toContain('values-unknown public.quiet');
  expect(report.tables).toContainEqual(
    expect.objectContaining({ table: 'public.quiet', state: 'inconclusive' }),
  );
  const differing = new Map(report.differences.map((found) => [found.key['id'], found]));
  expect(differing.get('2')).toMatchObject({ kind: 'changed', cause: 'unknown-value' });
  for (const id of ['100', '101']) {
    expect(differing.get(id)).toMatchObject({ kind: 'missing', cause: 'parked-row' });
  }

  expect(await materialize(2)).toMatchObject({
    parked: 2,
    unknown: 5 * WITHOUT_PLACEHOLDER.length,
  });
  expect(await gaps()).toEqual(['public.doc 2', ...unknownIn('doc', 3), ...unknownIn('quiet', 2)]);
  const [before, after] = [await trunk(), await trunk()];
  for (const [i, gap] of before.gaps.entries()) {
    expect(gap.oldestMs).toBeGreaterThan(0);
    expect(after.gaps[i]?.oldestMs).toBeGreaterThan(gap.oldestMs);
  }
  expect(before.gapsCure).toContain('configure production.url');
  const { stdout } = await workplace.run(['status']);
  expect(stdout).toMatch(
    /3 values of public\.doc\.floats are unknown, the oldest for [0-9.]+ ?m?s/,
  );
  expect(stdout).toMatch(/2 rows of public\.doc are parked, the oldest for [0-9.]+ ?m?s/);
});

it('knows it again when an incremental snapshot reads the table', async () => {
  await client.query(`INSERT INTO signals VALUES ('one', 'execute-snapshot',
    '{"type": "incremental", "data-collections": ["public.doc"]}')`);
  await expect
    .poll(
      async () => {
        await settle();
        await workplace.run(['materialize', '--until-caught-up']);
        return gaps();
      },
      { timeout: 60_000, interval: 500 },
    )
    .toEqual(unknownIn('quiet', 2));
  await expectEqual('doc');
});

it('reads it from production while it follows', async () => {
  await client.query(`TRUNCATE doc; ${rows('doc', 1, 3)}`);
  await settle();
  await materialize(2);
  await expectEqual('doc');
  await client.query(`UPDATE doc SET n = 5; UPDATE doc SET flags = NULL WHERE id = 2`);
  await settle();
  await materialize(2);
  expect(await gaps()).toEqual([...unknownIn('doc', 3), ...unknownIn('quiet', 2)]);

  await configure(true);
  const run = workplace.start(['run']);
  await expect.poll(gaps, { timeout: 60_000, interval: 500 }).toEqual([]);
  run.kill('SIGTERM');
  expect(await run.ended).toMatchObject({ status: 0 });
  await expectEqual('doc', 'quiet');
  expect(await materialize()).toMatchObject({ parked: 0, unknown: 0 });
});

it('fetches a row from production that an update finds missing', async () => {
  const lost = await connectTo(shop());
  await lost.query('DELETE FROM doc WHERE id IN (1, 2)');
  await lost.end();
  await client.query(
    `UPDATE doc SET n = 6 WHERE id IN (1, 3); UPDATE doc SET id = 12 WHERE id = 2`,
  );
  await settle();
  await configure(false);
  await materialize(2);
  expect(await gaps()).toEqual(['public.doc 2', ...unknownIn('doc', 1)]);
  await configure(true);
  expect(await materialize()).toMatchObject({ parked: 0, unknown: 0 });
  await expectEqual('doc');
  expect(await workplace.json<Report>(['drift', 'check'])).toMatchObject({ verdict: 'equal' });
});

it('takes the words for a value not sent as data where a row is new', async () => {
  const word = '__debezium_unavailable_value';
  await client.query(
    `INSERT INTO words VALUES (1, $1, ARRAY['b68a35a7-17ad-35b3-af2a-ae46edb4545a'::uuid],
       convert_to($1, 'UTF8'), ARRAY[$1], $2::int[], $2::int[], to_jsonb($1::text)),
       (2, $1, NULL, NULL, NULL, NULL, NULL, NULL)`,
    [word, [...Buffer.from(word)]],
  );
  await settle();
  expect(await materialize()).toMatchObject({ parked: 0, unknown: 0 });
  await expectEqual('words');
});
