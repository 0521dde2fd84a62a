/**
 * What the shadow refuses or cannot read, on real parts, with several partitions a topic: its key
 * waits, all else goes on and equals production, the drift check names it, and once the cause is gone
 * a replay reads Kafka again. Processes are killed on the way. Each test starts where the one before
 * ended.
 */
import type pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { letters, trunkStatus, type Letter, type Replayed } from '../support/dead-letters.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { payloadOf, readTopics } from '../support/read-topics.ts';
import { settleConnector } from '../support/settle.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { until } from '../support/shop-follow.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { followed, Workplace, type RunningCli } from '../support/understudy.ts';

const PREFIX = `dead${process.pid}`;
const production = await testDatabase('production');

interface Report {
  readonly verdict: string;
  readonly reasons: readonly { readonly code: string; readonly table: string | null }[];
  readonly tables: readonly { readonly table: string; readonly state: string }[];
  readonly differences: readonly {
    readonly table: string;
    readonly key: Readonly<Record<string, string>>;
    readonly cause?: string;
  }[];
}

let shadow: PostgresServer;
let workplace: Workplace;
let source: pg.Client;
let brokers: readonly string[];
let connectUrl: string;

const trunkUrl = (): string => databaseUrl(shadow.url, 'shop');

const configure = (maxRecordBytes: number, encryptionKey?: string): Promise<void> =>
  workplace.configure({
    ...followed(PREFIX, { kafka: { brokers }, connect: { url: connectUrl }, production, shadow }),
    apply: { leaseSeconds: 2, maxRecordBytes },
    ...(encryptionKey !== undefined && { deadLetters: { encryptionKey } }),
  });

/** Kafka holds the record no longer, nor those before it. */
async function deleteTo({ topic, partition, offset }: Letter): Promise<void> {
  const admin = (await sharedKafka()).client().admin();
  await admin.connect();
  // kafkajs deletes only in topics that it was asked about before.
  await admin.fetchTopicOffsets(topic);
  await admin.deleteTopicRecords({
    topic,
    partitions: [{ partition, offset: String(BigInt(offset) + 1n) }],
  });
  await admin.disconnect();
}

/** Starts `run`, and waits until it has applied all that production has done. */
async function follow(): Promise<RunningCli> {
  await settleConnector(production.url, await sharedConnect(), PREFIX);
  const run = workplace.start(['run']);
  await until('run has applied everything', async () => {
    return run.stderr.includes('"following"') && (await trunkStatus(workplace)).lag.offsets === 0;
  });
  return run;
}

/** Both states are equal but for these rows of one table. */
async function expectEqualBut(table: string, ...ids: readonly number[]): Promise<void> {
  const relation = (schema: string, name: string): string =>
    name === table
      ? `(SELECT * FROM ${name} WHERE id <> ALL ('{${ids.join(',')}}')) t`
      : `${schema}.${name}`;
  expect(await canonicalState(trunkUrl(), { relation })).toEqual(
    await canonicalState(production.url, { relation }),
  );
}

async function expectEqual(): Promise<void> {
  expect(await canonicalState(trunkUrl())).toEqual(await canonicalState(production.url));
  expect(await workplace.json<Report>(['drift', 'check'])).toMatchObject({ verdict: 'equal' });
}

/** Transactions over both tables that touch no key but these. */
async function trade(rounds: number, ids: readonly number[]): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    await source.query(`BEGIN;
      UPDATE parts SET qty = (qty + 1) % 50 WHERE id = ANY ('{${ids.join(',')}}');
      INSERT INTO notes SELECT coalesce(max(id), 0) + 1, 'round' FROM notes;
      COMMIT`);
  }
}

beforeAll(async () => {
  shadow = await startPostgres();
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  brokers = [kafka.broker];
  connectUrl = connect.url;
  source = await connectTo(production.url);
  await source.query(`CREATE TYPE grade AS ENUM ('a', 'b', 'c');
    CREATE TABLE parts (id int PRIMARY KEY, grade grade NOT NULL, qty int NOT NULL);
    CREATE TABLE notes (id int PRIMARY KEY, body text);
    INSERT INTO parts SELECT i, 'a', i FROM generate_series(1, 30) i;
    INSERT INTO notes SELECT i, 'first' FROM generate_series(1, 5) i`);
  const partitions = { 'topic.creation.default.partitions': '3' };
  await connect.createConnector(
    PREFIX,
    await postgresConnector(production.url, PREFIX, partitions),
  );
  workplace = await Workplace.make({});
  await configure(20_000);
});

afterAll(async () => {
  await workplace[Symbol.asyncDispose]();
  await source.end();
  await (await sharedConnect()).deleteConnector(PREFIX);
  await shadow.stop();
});

const CURE = `ALTER TABLE parts DROP CONSTRAINT few; ALTER TYPE grade RENAME VALUE 'lost' TO 'c'`;

it('sets aside what the shadow refuses, and nothing else, whoever is killed', async () => {
  await settleConnector(production.url, await sharedConnect(), PREFIX);
  await workplace.json(['materialize', '--until-caught-up']);
  await expectEqual();
  const trunk = await connectTo(trunkUrl());
  await trunk.query(`ALTER TABLE parts ADD CONSTRAINT few CHECK (qty < 100);
    ALTER TYPE grade RENAME VALUE 'c' TO 'lost'`);
  await trunk.end();

  const first = workplace.start(['run']);
  await source.query(`BEGIN; UPDATE parts SET qty = 500 WHERE id = 7;
    UPDATE parts SET qty = 8 WHERE id = 8; COMMIT`);
  const trading = trade(20, [1, 2, 8, 9]);
  await until('a letter', async () => (await trunkStatus(workplace)).deadLetters > 0);
  await first.die();
  await trading;
  await trade(5, [7, 8]);
  await source.query(`BEGIN; UPDATE parts SET grade = 'c' WHERE id = 12;
    INSERT INTO parts VALUES (100, 'b', 1); COMMIT;
    UPDATE parts SET id = 70 WHERE id = 7`);
  const second = workplace.start(['run']);
  await trade(10, [1, 12, 70]);
  await second.die();

  const third = await follow();
  await expectEqualBut('parts', 7, 70, 12);
  expect(await letters(workplace)).toMatchObject([
    { table: 'public.parts', keys: [['12']], code: 'APPLY_FAILED' },
    { table: 'public.parts', keys: [['7'], ['70']], code: 'APPLY_FAILED' },
  ]);
  expect((await trunkStatus(workplace)).deadLetters).toBe(3);
  expect((await trunkStatus(workplace)).oldestDeadLetterMs).toBeGreaterThan(0);
  const shown = await workplace.run(['status']);
  expect(shown.stdout).toContain('3 keys are set aside');
  await third.die();
});

it('names them in a drift check, which calls their table equal in no case', async () => {
  const report = await workplace.json<Report>(['drift', 'check'], 1);
  expect(report.verdict).toBe('drift');
  const named = report.differences.map(({ key, cause }) => [key['id'], cause]);
  expect(new Set(named)).toEqual(new Set(['12', '7', '70'].map((id) => [id, 'dead-letter'])));
  expect(report.tables.find(({ table }) => table === 'public.notes')?.state).toBe('equal');
  // The row may be as production's by chance: it still waits for what came between.
  await source.query(`DELETE FROM parts WHERE id = 70; UPDATE parts SET grade = 'a' WHERE id = 12;
    INSERT INTO parts SELECT 7, 'a', 7`);
  await source.query(`UPDATE parts SET qty = 12 WHERE id = 12`);
  await settleConnector(production.url, await sharedConnect(), PREFIX);
  const trunk = await connectTo(trunkUrl());
  const kept = await trunk.query(
    'SELECT id, grade, qty FROM parts WHERE id IN (7, 12) ORDER BY id',
  );
  await trunk.end();
  await source.query('UPDATE parts SET grade = $2, qty = $3 WHERE id = $1', [
    12,
    ...Object.values(kept.rows[1] as { id: number }).slice(1),
  ]);
  await source.query('UPDATE parts SET grade = $2, qty = $3 WHERE id = $1', [
    7,
    ...Object.values(kept.rows[0] as { id: number }).slice(1),
  ]);
  const again = await workplace.json<Report>(['drift', 'check'], 2);
  expect(again).toMatchObject({
    ...{ verdict: 'inconclusive', differences: [] },
    reasons: [{ code: 'rows-dead', table: 'public.parts' }],
  });
  expect(again.tables.find(({ table }) => table === 'public.parts')?.state).not.toBe('equal');
});

it('replays them from Kafka once the cause is gone, though its process is killed meanwhile', async () => {
  await source.query(
    `UPDATE parts SET qty = 700 WHERE id = 7; UPDATE parts SET grade = 'c' WHERE id = 12`,
  );
  const first = await follow();
  const refused = await workplace.json<Replayed>(['dead-letters', 'replay'], 2);
  expect(refused.replayed).toEqual([]);
  expect(refused.left).toHaveLength(2);
  const trunk = await connectTo(trunkUrl());
  await trunk.query(CURE);
  await trunk.end();
  const replaying = workplace.start(['dead-letters', 'replay', '--json']);
  await first.die();
  const second = workplace.start(['run']);
  const { status: exit, stdout } = await replaying.ended;
  // Killed after it had replayed, it is asked again and finds none.
  expect(exit, stdout).toBe(0);
  expect(await letters(workplace)).toEqual([]);
  await trade(3, [7, 12]);
  await second.die();
  await (await follow()).die();
  await expectEqual();
});

it('sets aside a record that is too large or damaged, and applies all else', async () => {
  const kafka = (await sharedKafka()).client();
  const run = await follow();
  await source.query(`BEGIN;
    INSERT INTO notes VALUES (900, repeat('x', 30000)), (901, 'small');
    UPDATE parts SET qty = 3 WHERE id = 3; COMMIT`);
  await source.query(`UPDATE notes SET body = 'small again' WHERE id = 900`);
  const topic = `${PREFIX}.public.parts`;
  const all = await readTopics(kafka, [topic], (records) =>
    records.some(({ value }) => {
      const after = payloadOf(value)?.['after'] as { id: number; qty: number } | null | undefined;
      return after?.id === 3 && after.qty === 3;
    }),
  );
  const sent = all.find(({ key }) => payloadOf(key)?.['id'] === 3);
  if (sent?.value === null || sent === undefined) throw new Error('row 3 was never sent');
  const producer = kafka.producer();
  await producer.connect();
  const damaged = Buffer.from(sent.value);
  damaged[damaged.length >>> 1] = 0x07;
  const { key, partition } = sent;
  await producer.send({ topic, messages: [{ partition, key, value: damaged }] });
  await producer.disconnect();
  await until('both are set aside', async () => (await trunkStatus(workplace)).deadLetters === 2);
  await trade(5, [3, 4]);
  await run.die();
  await trade(5, [3, 4]);

  const again = await follow();
  expect(await letters(workplace)).toMatchObject([
    { table: 'public.parts', keys: [['3']], code: 'RECORD_CORRUPT', queued: 11 },
    { table: 'public.notes', keys: [['900']], code: 'RECORD_TOO_LARGE', queued: 2 },
  ]);
  const relation = (schema: string, name: string): string =>
    `(SELECT * FROM ${schema}.${name} WHERE id NOT IN (3, 900)) t`;
  expect(await canonicalState(trunkUrl(), { relation })).toEqual(
    await canonicalState(production.url, { relation }),
  );
  const report = await workplace.json<Report>(['drift', 'check'], 1);
  expect(report.differences.map(({ key, cause }) => [key['id'], cause])).toEqual([
    ['900', 'dead-letter'],
    ['3', 'dead-letter'],
  ]);
  const refused = await workplace.json<Replayed>(['dead-letters', 'replay'], 2);
  expect(new Set(refused.left.map(({ code }) => code))).toEqual(
    new Set(['RECORD_CORRUPT', 'RECORD_TOO_LARGE']),
  );
  await again.die();
});

it('reads what was too large when it may be, and gives up what stays damaged', async () => {
  await configure(1_000_000);
  const run = await follow();
  const [damaged, large] = await letters(workplace);
  expect(await workplace.json<Replayed>(['dead-letters', 'replay'], 2)).toMatchObject({
    replayed: [large?.id],
    left: [{ id: damaged?.id }],
  });
  await expectEqualBut('parts', 3);
  await workplace.json(['dead-letters', 'discard', damaged?.id ?? '']);
  expect((await trunkStatus(workplace)).deadLetters).toBe(0);
  // Production is asked for the row, unless an event brings it first.
  await trade(1, [3]);
  await run.die();
  const again = await follow();
  await until('the row is known again', async () => (await trunkStatus(workplace)).parked === 0);
  await again.die();
  await expectEqual();
});

it('leaves what Kafka no longer holds, and replays the others', async () => {
  await configure(20_000);
  const first = await follow();
  await source.query(
    `INSERT INTO notes SELECT i, repeat('x', 30000) FROM generate_series(2000, 2005) i`,
  );
  await until('all are set aside', async () => (await trunkStatus(workplace)).deadLetters === 6);
  await first.die();
  await configure(1_000_000);
  const found = await letters(workplace);
  const [gone] = found;
  if (gone === undefined) throw new Error('nothing was set aside');
  await deleteTo(gone);
  const { partition, offset } = gone;
  const isGone = (letter: Letter): boolean =>
    letter.partition === partition && BigInt(letter.offset) <= BigInt(offset);
  const idsOf = (some: readonly { readonly id: string }[]): ReadonlySet<string> =>
    new Set(some.map(({ id }) => id));
  const outcome = await workplace.json<Replayed>(['dead-letters', 'replay'], 2);
  expect(new Set(outcome.replayed)).toEqual(idsOf(found.filter((letter) => !isGone(letter))));
  expect(idsOf(outcome.left)).toEqual(idsOf(found.filter(isGone)));
  expect(new Set(outcome.left.map(({ code }) => code))).toEqual(new Set(['LOG_GAP']));
  await workplace.json(['dead-letters', 'discard', ...outcome.left.map(({ id }) => id)]);
  await source.query(`UPDATE notes SET body = 'here again' WHERE id >= 2000`);
  const second = await follow();
  await until('the rows are known again', async () => (await trunkStatus(workplace)).parked === 0);
  await second.die();
  await expectEqual();
});

it('keeps records encrypted where a key is configured, and replays them when Kafka has them no more', async () => {
  const [key, other] = ['a'.repeat(64), 'b'.repeat(64)];
  const alter = async (sql: string): Promise<void> => {
    const trunk = await connectTo(trunkUrl());
    await trunk.query(sql);
    await trunk.end();
  };
  await alter(`ALTER TABLE notes ADD CONSTRAINT plain CHECK (body <> 'secret word')`);
  await configure(1_000_000, key);
  const first = await follow();
  await source.query(`INSERT INTO notes VALUES (3000, 'secret word')`);
  const trunk = await connectTo(trunkUrl());
  await until('it is kept', async () => {
    const { rowCount } = await trunk.query(
      'SELECT FROM understudy.dead_record WHERE key_id <> $1',
      [''],
    );
    return rowCount === 1;
  });
  await trunk.end();
  await first.die();
  const [letter] = await letters(workplace);
  if (letter === undefined) throw new Error('nothing was set aside');
  await deleteTo(letter);
  await alter('ALTER TABLE notes DROP CONSTRAINT plain');
  const dump = JSON.stringify(await workplace.json(['dead-letters', 'show', letter.id]));
  expect(dump).not.toContain('secret word');
  await configure(1_000_000);
  const decrypt = ['dead-letters', 'show', letter.id, '--decrypt'];
  expect(await workplace.json(decrypt, 3)).toMatchObject({ error: { code: 'SEAL_REFUSED' } });
  await configure(1_000_000, other);
  expect(await workplace.json(decrypt, 3)).toMatchObject({ error: { code: 'SEAL_REFUSED' } });
  expect(await workplace.json<Replayed>(['dead-letters', 'replay'], 2)).toMatchObject({
    left: [{ id: letter.id, code: 'SEAL_REFUSED' }],
  });
  await configure(1_000_000, key);
  const { records } = await workplace.json<{ records: { value: { text: string } }[] }>(decrypt);
  expect(payloadOf(Buffer.from(records[0]?.value.text ?? ''))).toMatchObject({
    after: { id: 3000, body: 'secret word' },
  });
  expect(await workplace.json<Replayed>(['dead-letters', 'replay'])).toEqual({
    replayed: [letter.id],
    left: [],
  });
  await expectEqual();
  const after = await connectTo(trunkUrl());
  expect((await after.query('SELECT FROM understudy.dead_record')).rowCount).toBe(0);
  await after.end();
});

it('stops where nothing tells which row a damaged record is of', async () => {
  const kafka = (await sharedKafka()).client();
  const producer = kafka.producer();
  await producer.connect();
  const topic = `${PREFIX}.public.notes`;
  await producer.send({
    topic,
    messages: [{ partition: 1, key: 'no json', value: '{"payload":' }],
  });
  await producer.disconnect();
  const failed = await workplace.json<{ error: { code: string; detail: string } }>(
    ['materialize', '--until-caught-up'],
    6,
  );
  expect(failed.error).toMatchObject({
    ...{ code: 'RECORD_CORRUPT', topic, partition: 1 },
    detail: expect.stringContaining('cannot be set aside') as string,
  });
  expect(await letters(workplace)).toEqual([]);
});
