/**
 * What a MySQL shadow refuses or cannot read, on real parts: its key waits, all else goes on and equals
 * production, whoever is killed on the way, and once the cause is gone a replay reads Kafka again. Each
 * test starts where the one before ended.
 */
import type { Connection, RowDataPacket } from 'mysql2/promise';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { pollUntil } from '../../src/util/wait.ts';
import { binlogConnector } from '../support/connectors.ts';
import type { MySqlServer } from '../support/mysql-server.ts';
import { startMySQL } from '../support/mysql.ts';
import { payloadOf, readTopics } from '../support/read-topics.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectBinlog } from '../support/types/binlog.ts';
import { Workplace, type RunningCli } from '../support/understudy.ts';

const PREFIX = `deadbin${String(process.pid)}`;
const TOPIC = `${PREFIX}.shop.parts`;
const TOLD = `${PREFIX}-letters`;
const WITHIN_MS = 90_000;

interface Letter {
  readonly id: string;
  readonly keys: readonly (readonly string[])[];
  readonly code: string;
  readonly message: string;
  readonly queued: number;
}
interface Replayed {
  readonly replayed: readonly string[];
  readonly left: readonly { readonly id: string; readonly code: string }[];
}
interface Status {
  readonly databases: readonly {
    readonly state: string;
    readonly deadLetters: number;
    readonly oldestDeadLetterMs: number | null;
    readonly parked: number;
    readonly lag: { readonly offsets: number | null };
  }[];
}

let production: MySqlServer;
let shadow: MySqlServer;
let source: Connection;
let trunk: Connection;
let workplace: Workplace;
let notes = 0;

const letters = async (): Promise<readonly Letter[]> => {
  const found = await workplace.json<Letter[]>(['dead-letters', 'list']);
  return found.toSorted((a, b) => String(a.keys).localeCompare(String(b.keys)));
};

const status = async (): Promise<Status['databases'][number]> => {
  const [found] = (await workplace.json<Status>(['status'])).databases;
  if (found === undefined) throw new Error('there is no trunk');
  return found;
};

function until(what: string, condition: () => Promise<boolean>): Promise<true> {
  return pollUntil({
    probe: async () => ((await condition()) ? true : undefined),
    everyMs: 100,
    timeoutMs: WITHIN_MS,
    timeout: () => new Error(`waited in vain: ${what}`),
  });
}

async function rowsOf(client: Connection, sql: string): Promise<readonly RowDataPacket[]> {
  const [rows] = await client.query<RowDataPacket[]>(sql);
  return rows;
}

/** A transaction over both tables that touches no part but these. */
async function trade(...ids: readonly number[]): Promise<void> {
  notes += 1;
  await source.beginTransaction();
  await source.query('UPDATE parts SET qty = (qty + 1) % 50 WHERE id IN (?)', [ids]);
  await source.query('INSERT INTO notes VALUES (?)', [notes]);
  await source.commit();
}

/** Waits until the shadow has all that production has done; a process follows. */
async function caughtUp(): Promise<void> {
  notes += 1;
  await source.query('INSERT INTO notes VALUES (?)', [notes]);
  const last = `SELECT id FROM notes WHERE id = ${String(notes)}`;
  await until('the last note', async () => (await rowsOf(trunk, last)).length > 0);
  await until('nothing is left', async () => (await status()).lag.offsets === 0);
}

async function kill(run: RunningCli): Promise<void> {
  run.kill('SIGKILL');
  await run.ended;
}

/** Both are equal but for these parts. */
async function expectEqualBut(...ids: readonly number[]): Promise<void> {
  const parts = `SELECT * FROM parts WHERE id NOT IN (${[0, ...ids].join(', ')}) ORDER BY id`;
  for (const sql of [parts, 'SELECT * FROM notes ORDER BY id']) {
    expect(await rowsOf(trunk, sql)).toEqual(await rowsOf(source, sql));
  }
}

beforeAll(async () => {
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  [production, shadow] = await Promise.all([startMySQL(), startMySQL()]);
  await production.execute([
    'CREATE DATABASE shop CHARACTER SET utf8mb4',
    `CREATE TABLE shop.parts (id INT PRIMARY KEY, code VARCHAR(10) UNIQUE, qty INT NOT NULL,
      body MEDIUMTEXT)`,
    'CREATE TABLE shop.notes (id INT PRIMARY KEY)',
    ...Array.from(
      { length: 20 },
      (_, i) => `INSERT INTO shop.parts VALUES (${String(i)}, 'c${String(i)}', ${String(i)}, NULL)`,
    ),
  ]);
  source = await connectBinlog(`${production.url}shop`);
  const from = { server: production, database: 'shop', broker: kafka.broker };
  await connect.createConnector(PREFIX, await binlogConnector('mysql', from, PREFIX));
  workplace = await Workplace.make({
    source: {
      connector: 'mysql',
      topicPrefix: PREFIX,
      kafka: { brokers: [kafka.broker] },
      connect: { url: connect.url, name: PREFIX },
    },
    production: { url: `${production.url}shop` },
    shadow: { url: shadow.url },
    trunk: { name: 'copy' },
    apply: { leaseSeconds: 2, maxRecordBytes: 20_000 },
    deadLetters: { topic: TOLD },
  });
});

afterAll(async () => {
  await workplace[Symbol.asyncDispose]();
  await Promise.all([source.end(), trunk.end()]);
  await (await sharedConnect()).deleteConnector(PREFIX);
  await Promise.all([production.stop(), shadow.stop()]);
});

it('sets aside what the shadow refuses, and nothing else, whoever is killed', async () => {
  await workplace.json(['materialize', '--until-caught-up']);
  trunk = await connectBinlog(`${shadow.url}copy`);
  const first = workplace.start(['run']);
  await caughtUp();
  await expectEqualBut();
  await trunk.query('ALTER TABLE parts ADD CONSTRAINT few CHECK (qty < 100), MODIFY code CHAR(4)');
  await source.beginTransaction();
  await source.query('UPDATE parts SET qty = 500 WHERE id = 7');
  await source.query('UPDATE parts SET qty = 8 WHERE id = 8');
  await source.commit();
  for (let round = 0; round < 10; round += 1) await trade(1, 2, 8, 9);
  await until('a letter', async () => (await status()).deadLetters > 0);
  await kill(first);
  await trade(7, 8);
  await source.query(`UPDATE parts SET code = 'toolong' WHERE id = 12`);
  await source.query('UPDATE parts SET id = 70 WHERE id = 7');
  const second = workplace.start(['run']);
  for (let round = 0; round < 5; round += 1) await trade(1, 12, 70);
  await kill(second);
  const third = workplace.start(['run']);
  await caughtUp();
  await expectEqualBut(7, 70, 12);
  expect(await letters()).toMatchObject([
    { keys: [['12']], code: 'APPLY_FAILED', message: expect.stringContaining('1406') as string },
    { keys: [['7'], ['70']], message: expect.stringContaining(`'few'`) as string },
  ]);
  expect(await status()).toMatchObject({ state: 'following', deadLetters: 3 });
  expect((await status()).oldestDeadLetterMs).toBeGreaterThan(0);
  await kill(third);
});

it('sets aside a record that is too large or damaged, and applies all else', async () => {
  const run = workplace.start(['run']);
  await source.query(`UPDATE parts SET body = REPEAT('x', 30000) WHERE id = 4`);
  await source.query(`UPDATE parts SET body = 'small again' WHERE id = 4`);
  await source.query('UPDATE parts SET qty = 33 WHERE id = 3');
  const kafka = (await sharedKafka()).client();
  const all = await readTopics(kafka, [TOPIC], (records) =>
    records.some(({ value }) => afterOf(value)?.qty === 33),
  );
  const sent = all.find(({ value }) => afterOf(value)?.qty === 33);
  if (sent?.value === null || sent === undefined) throw new Error('row 3 was never sent');
  const damaged = Buffer.from(sent.value);
  damaged[damaged.length >>> 1] = 0x07;
  const producer = kafka.producer();
  await producer.connect();
  const { key, partition } = sent;
  await producer.send({ topic: TOPIC, messages: [{ partition, key, value: damaged }] });
  await producer.disconnect();
  await trade(3, 5);
  await until('both are set aside', async () => (await status()).deadLetters === 5);
  await caughtUp();
  await expectEqualBut(3, 4, 7, 70, 12);
  expect((await letters()).map(({ keys, code }) => [keys[0]?.[0], code])).toEqual([
    ['12', 'APPLY_FAILED'],
    ['3', 'RECORD_CORRUPT'],
    ['4', 'RECORD_TOO_LARGE'],
    ['7', 'APPLY_FAILED'],
  ]);
  const expected = new Map((await letters()).map((letter) => [letter.id, letter.code]));
  const told = await readTopics(kafka, [TOLD], (records) => records.length >= expected.size);
  const parsed = told.map(({ key, value }) => {
    const { code } = JSON.parse(String(value)) as { readonly code: string };
    return [String(key), code] as const;
  });
  expect(new Map(parsed)).toEqual(expected);
  expect(String(told[0]?.value)).not.toContain('toolong');
  await kill(run);
});

it('replays them from Kafka once the cause is gone, though its process is killed meanwhile', async () => {
  const first = workplace.start(['run']);
  await source.query('UPDATE parts SET qty = 700 WHERE id = 70');
  await caughtUp();
  const refused = await workplace.json<Replayed>(['dead-letters', 'replay'], 2);
  expect(refused).toMatchObject({ replayed: [], left: [{}, {}, {}, {}] });
  const found = await letters();
  const idOf = (key: string): string => found.find(({ keys }) => keys[0]?.[0] === key)?.id ?? '';
  await workplace.json(['dead-letters', 'discard', idOf('3'), idOf('4')]);
  expect(await status()).toMatchObject({ deadLetters: 3, parked: 2 });
  await trade(3, 4);
  await caughtUp();
  expect(await status()).toMatchObject({ parked: 0 });
  await trunk.query('ALTER TABLE parts DROP CONSTRAINT few, MODIFY code VARCHAR(10)');
  const replaying = workplace.start(['dead-letters', 'replay', '--json']);
  await kill(first);
  const second = workplace.start(['run']);
  const { status: exit, stdout } = await replaying.ended;
  // Killed after it had replayed, it is asked again and finds none.
  expect(exit, stdout).toBe(0);
  expect(await letters()).toEqual([]);
  await trade(7, 12, 70);
  await caughtUp();
  await expectEqualBut();
  await kill(second);
});

function afterOf(value: Buffer | null): { readonly qty: number } | null {
  return (payloadOf(value)?.['after'] ?? null) as { readonly qty: number } | null;
}
