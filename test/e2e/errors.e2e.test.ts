/**
 * What goes wrong, as a user meets it: every failure ends quickly with its code, its place and its
 * exit status, shows no password and no row, and loses nothing.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { freePort } from '../support/process/ports.ts';
import { readTopics, type TopicRecord } from '../support/read-topics.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { postgresUrl, testDatabase } from '../support/test-database.ts';
import { Workplace, type CliResult } from '../support/understudy.ts';
import { pollUntil } from '../../src/util/wait.ts';

const PREFIX = `errors${process.pid}`;
/** In every address, and in every row: neither may ever be printed. */
const PASSWORD = 'planted-password';
const ROW = 'planted-row-value';
const production = await testDatabase('errors');

interface Failure {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly cure: string;
    readonly detail?: string;
  };
}

type Tree = Readonly<Record<string, unknown>>;

let shadow: PostgresServer;
let broker: string;
let connectUrl: string;
let workplace: Workplace;

/** The same server with a password in its address, which it does not ask for. */
function withPassword(url: string): string {
  const secret = new URL(url);
  secret.password = PASSWORD;
  return secret.href;
}

function configFor(
  changes: { readonly source?: Tree; readonly [key: string]: unknown } = {},
): Tree {
  const { source, ...rest } = changes;
  return {
    source: {
      connector: 'postgresql',
      topicPrefix: PREFIX,
      kafka: { brokers: [broker] },
      connect: { url: connectUrl, name: PREFIX },
      ...source,
    },
    production: { url: withPassword(production.url) },
    shadow: { url: withPassword(shadow.url) },
    trunk: { name: 'errors' },
    ...rest,
  };
}

async function query(url: string, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

async function databases(url: string): Promise<readonly unknown[]> {
  return (await query(url, 'SELECT datname FROM pg_database ORDER BY 1')).rows as unknown[];
}

function expectNoSecrets(result: CliResult): void {
  for (const text of [result.stdout, result.stderr]) {
    expect(text).not.toContain(PASSWORD);
    expect(text).not.toContain(ROW);
  }
}

/** Runs a command that must fail: as JSON, with one line for people, and with no secret. */
async function fails(
  args: readonly string[],
  status: number,
  env: Readonly<Record<string, string>> = {},
): Promise<Failure['error']> {
  const started = performance.now();
  const result = await workplace.run([...args, '--json'], env);
  expect.soft(performance.now() - started).toBeLessThan(20_000);
  expect.soft(result.status, result.stderr).toBe(status);
  expectNoSecrets(result);
  const { error } = JSON.parse(result.stdout) as Failure;
  expect(error.cure).not.toBe('');
  expect(result.stderr).toContain(`understudy: ${error.code}: `);
  expect(result.stderr).not.toMatch(/^ +at /m);
  return error;
}

const MATERIALIZE = ['materialize', '--until-caught-up'];

beforeAll(async () => {
  shadow = await startPostgres();
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  broker = kafka.broker;
  connectUrl = connect.url;
  await query(
    production.url,
    `CREATE TABLE bread (id integer PRIMARY KEY, note text NOT NULL);
     CREATE TABLE milk (id integer PRIMARY KEY, note text NOT NULL);
     INSERT INTO bread SELECT n, '${ROW}' FROM generate_series(1, 40) n;
     INSERT INTO milk SELECT n, '${ROW}' FROM generate_series(1, 40) n;`,
  );
  await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
  await captured('bread', 40);
  await captured('milk', 40);
  workplace = await Workplace.make(configFor());
});

afterAll(async () => {
  await workplace[Symbol.asyncDispose]();
  await (await sharedConnect()).deleteConnector(PREFIX);
  await shadow.stop();
});

/** The records of a table's topic, when there are as many. */
async function captured(table: string, count: number): Promise<readonly TopicRecord[]> {
  const kafka = (await sharedKafka()).client();
  return readTopics(kafka, [`${PREFIX}.public.${table}`], (records) => records.length >= count);
}

describe('a wrong command line or configuration', () => {
  it('names the words it does not know', async () => {
    const wrong: readonly (readonly [readonly string[], string])[] = [
      [['frobnicate'], "unknown command 'frobnicate'"],
      [['status', '--frobnicate'], "unknown option '--frobnicate'"],
      [['rollout', 'create'], "missing required argument 'name'"],
      [['materialize'], '`materialize` needs --until-caught-up'],
    ];
    for (const [args, message] of wrong) {
      expect(await fails(args, 3), args.join(' ')).toMatchObject({ code: 'USAGE', message });
    }
    const group = await workplace.run(['rollout']);
    expect(group).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('USAGE: a command') as string,
    });
    const plain = await workplace.run(['frobnicate']);
    expect(plain).toMatchObject({ status: 3, stdout: '' });
    expect(plain.stderr).toMatch(
      /^understudy: USAGE: unknown command 'frobnicate'\. .*--help.*\n$/,
    );
  });

  it('names the file, the key or the variable', async () => {
    expect(await fails(['status', '--config', 'elsewhere.yaml'], 3)).toMatchObject({
      code: 'CONFIG_NOT_FOUND',
      message: 'cannot read elsewhere.yaml',
    });
    const written = async (text: string): Promise<Failure['error']> => {
      await writeFile(path.join(workplace.directory, 'broken.yaml'), text);
      return fails(['status', '--config', 'broken.yaml'], 3);
    };
    expect(await written(`shadow: { url: "${PASSWORD}"\nsource: [`)).toMatchObject({
      code: 'CONFIG_INVALID',
      message: 'broken.yaml is not YAML',
    });
    const source = `source: { topicPrefix: p, kafka: { brokers: ["${broker}"] } }`;
    const unknown = await written(`${source}\nshadow: embedded\nshaddow: x`);
    expect(unknown).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(unknown.detail).toContain('shaddow');
    const nested = await written(`${source}\nshadow: { urll: "postgres://u:${PASSWORD}@h/d" }`);
    expect(nested.detail).toContain('urll');
    const type = await written(`${source}\nshadow: embedded\napply: { batchEvents: ${PASSWORD} }`);
    expect(type.detail).toContain('apply.batchEvents');
    const secret = await written(`${source}\nshadow: { url: [${PASSWORD}] }`);
    expect(secret.detail).toContain('shadow.url');
    const missing = await written(`${source}\nshadow: { url: "postgres://\${NOT_SET_AT_ALL}@h" }`);
    expect(missing.message).toBe('shadow.url: the variable NOT_SET_AT_ALL is not set');
    const kafka = await written(
      `source: { topicPrefix: p, kafka: { brokers: ["${broker}"], sals: ${PASSWORD} } }\n` +
        `shadow: { url: "${withPassword(shadow.url)}" }\nproduction: { url: "${production.url}" }`,
    );
    expect(kafka.code).toBe('CONFIG_INVALID');
    expect(`${kafka.message} ${kafka.detail ?? ''}`).toContain('source.kafka.sals');
  });
});

describe('parts that cannot be reached', () => {
  it('names the address, without credentials, and ends at once', async () => {
    const port = await freePort();
    const nowhere = `127.0.0.1:${port}`;
    const url = `postgres://someone:${PASSWORD}@${nowhere}/shop`;
    await workplace.configure(configFor({ shadow: { url } }));
    const noShadow = await fails(['status'], 4);
    expect(noShadow).toMatchObject({ code: 'SHADOW_UNREACHABLE' });
    expect(noShadow.message).toContain(nowhere);

    await workplace.configure(configFor({ production: { url }, trunk: { name: 'none' } }));
    const noProduction = await fails(MATERIALIZE, 4);
    expect(noProduction).toMatchObject({ code: 'PRODUCTION_UNREACHABLE' });
    expect(noProduction.message).toContain(nowhere);

    const sasl = { mechanism: 'plain', username: 'someone', password: PASSWORD };
    await workplace.configure(
      configFor({
        source: { kafka: { brokers: [nowhere], sasl } },
        trunk: { name: 'none' },
      }),
    );
    const noKafka = await fails(MATERIALIZE, 4);
    expect(noKafka).toMatchObject({ code: 'KAFKA_UNREACHABLE' });
    expect(noKafka.message).toContain(nowhere);

    const nobody = { topicPrefix: 'nobody' };
    await workplace.configure(configFor({ source: nobody, trunk: { name: 'nobody' } }));
    const otherPrefix = await fails(MATERIALIZE, 3);
    expect(otherPrefix).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(otherPrefix.detail).toContain(
      `'nobody', but the connector’s topic.prefix is '${PREFIX}'`,
    );

    await workplace.configure(
      configFor({ source: { ...nobody, connect: undefined }, trunk: { name: 'nobody' } }),
    );
    const noTopics = await fails(MATERIALIZE, 4);
    expect(noTopics, JSON.stringify(noTopics)).toMatchObject({ code: 'KAFKA_TOPICS_MISSING' });
    expect(noTopics.message).toContain('nobody');
  });

  it('follows without Connect, and a drift check says that it needs it', async () => {
    await workplace.configure(configFor());
    await workplace.json(MATERIALIZE);
    const nowhere = `127.0.0.1:${await freePort()}`;
    const connect = { url: `http://someone:${PASSWORD}@${nowhere}`, name: PREFIX };
    await workplace.configure(configFor({ source: { connect } }));
    const noConnect = await fails(['drift', 'check'], 4);
    expect(noConnect).toMatchObject({ code: 'CONNECT_UNREACHABLE' });
    expect(noConnect.message).toContain(nowhere);
  });
});

describe('a target that must not be written to', () => {
  it('refuses production itself, under any name, and leaves nothing there', async () => {
    const before = await databases(postgresUrl());
    const alias = new URL(withPassword(postgresUrl()));
    alias.hostname = 'localhost';
    for (const url of [withPassword(production.url), alias.href]) {
      await workplace.configure(configFor({ shadow: { url }, trunk: { name: 'trunk' } }));
      for (const args of [MATERIALIZE, ['run'], ['rollout', 'create', 'next']]) {
        expect(await fails(args, 3), args.join(' ')).toMatchObject({
          code: 'TARGET_IS_PRODUCTION',
        });
      }
    }
    // Each source of the knowledge by itself: production's own word, and the connector's.
    const unknown = { source: { connect: undefined }, production: undefined };
    for (const known of ['source', 'production'] as const) {
      const url = withPassword(production.url);
      const trunk = { name: 'trunk', schema: 'events' };
      const { [known]: _, ...without } = unknown;
      await workplace.configure(configFor({ ...without, shadow: { url }, trunk }));
      expect(await fails(MATERIALIZE, 3), known).toMatchObject({ code: 'TARGET_IS_PRODUCTION' });
    }
    expect(await databases(postgresUrl())).toEqual(before);
  });

  it('refuses a database that is not ours', async () => {
    await query(shadow.url, 'CREATE DATABASE foreigner');
    await query(databaseUrl(shadow.url, 'foreigner'), `CREATE TABLE kept AS SELECT '${ROW}' AS c`);
    const before = await canonicalState(databaseUrl(shadow.url, 'foreigner'));
    await workplace.configure(configFor({ trunk: { name: 'foreigner' } }));
    expect(await fails(MATERIALIZE, 3)).toMatchObject({
      code: 'TARGET_NOT_OURS',
      database: 'foreigner',
    });
    expect(await canonicalState(databaseUrl(shadow.url, 'foreigner'))).toEqual(before);
  });
});

/** Where a trunk stands in a partition. */
async function storedOffset(trunk: string, topic: string, partition: number): Promise<bigint> {
  const { rows } = await query(
    databaseUrl(shadow.url, trunk),
    `SELECT next_offset::text AS next FROM understudy.position
      WHERE topic = '${topic}' AND partition = ${partition}`,
  );
  return BigInt((rows[0] as { next: string } | undefined)?.next ?? 0);
}

async function rowCount(trunk: string, table: string): Promise<number> {
  const { rows } = await query(
    databaseUrl(shadow.url, trunk),
    `SELECT count(*)::int AS n FROM ${table}`,
  );
  return (rows[0] as { n: number }).n;
}

/** Materializes until a table has so many rows: the end of a transaction may come a moment late. */
async function materializeTo(trunk: string, table: string, rows: number): Promise<void> {
  await pollUntil({
    probe: async () => {
      await workplace.json(MATERIALIZE);
      return (await rowCount(trunk, table)) === rows ? true : undefined;
    },
    everyMs: 100,
    timeoutMs: 30_000,
    timeout: () => new Error(`${table} did not come to have ${rows} rows`),
  });
}

/** Appends a record to a table's topic. */
async function produce(
  table: string,
  partition: number,
  record: { readonly key: Buffer | null; readonly value: string | Buffer },
): Promise<{ readonly topic: string; readonly partition: number; readonly offset: string }> {
  const topic = `${PREFIX}.public.${table}`;
  const producer = (await sharedKafka()).client().producer();
  await producer.connect();
  try {
    const [sent] = await producer.send({ topic, messages: [{ partition, ...record }] });
    return { topic, partition, offset: sent?.baseOffset ?? 'none' };
  } finally {
    await producer.disconnect();
  }
}

describe('a record that cannot be read', () => {
  it('keeps its place: what comes before is applied, and nothing is passed', async () => {
    const trunk = 'corrupt';
    await workplace.configure(
      configFor({ trunk: { name: trunk }, tables: { exclude: ['public.milk'] } }),
    );
    await query(production.url, `INSERT INTO bread VALUES (100, '${ROW}')`);
    await captured('bread', 41);
    await materializeTo(trunk, 'bread', 41);
    const bad = await produce('bread', 0, {
      key: null,
      value: `{"schema":null,"payload":{"op":"c","after":{"note":"${ROW}"`,
    });
    // One transaction over all partitions: it cannot be whole, so no part of it may be seen.
    await captured('bread', 42);
    await query(
      production.url,
      `INSERT INTO bread SELECT n, '${ROW}' FROM generate_series(200, 239) n`,
    );
    await captured('bread', 82);
    for (let time = 0; time < 2; time += 1) {
      expect(await fails(MATERIALIZE, 6)).toMatchObject({ code: 'RECORD_CORRUPT', ...bad });
      expect(await storedOffset(trunk, bad.topic, bad.partition)).toBe(BigInt(bad.offset));
      expect(await rowCount(trunk, 'bread')).toBe(41);
    }
    // The same of a process that follows: it must not go round in circles.
    const run = await workplace.run(['run']);
    expect(run.status).toBe(6);
    expect(run.stderr).toContain(`RECORD_CORRUPT`);
    expect(run.stderr).toContain(`offset ${bad.offset}`);
    expectNoSecrets(run);
    expect(await storedOffset(trunk, bad.topic, bad.partition)).toBe(BigInt(bad.offset));
  });

  it('names table and column of a type it does not know', async () => {
    const [known] = await captured('milk', 40);
    if (known === undefined || known.value === null) throw new Error('no record was read');
    await workplace.configure(
      configFor({ trunk: { name: 'unknown' }, tables: { exclude: ['public.bread'] } }),
    );
    const value = JSON.parse(known.value.toString()) as {
      schema: { fields: { field: string; fields: { field: string; name?: string }[] }[] };
    };
    const after = value.schema.fields.find(({ field }) => field === 'after');
    const note = after?.fields.find(({ field }) => field === 'note');
    if (note === undefined) throw new Error('the record has no such column');
    note.name = 'com.example.Unheard';
    const bad = await produce('milk', known.partition, {
      key: known.key,
      value: JSON.stringify(value),
    });
    expect(await fails(MATERIALIZE, 6)).toMatchObject({
      code: 'TYPE_UNKNOWN',
      ...bad,
      table: 'public.milk',
      column: 'note',
    });
    expect(await storedOffset('unknown', bad.topic, bad.partition)).toBe(BigInt(bad.offset));
    expect(await rowCount('unknown', 'milk')).toBe(40);
  });

  it('names the table that the shadow lacks', async () => {
    await writeFile(
      path.join(workplace.directory, 'schema.sql'),
      'CREATE TABLE milk (id integer PRIMARY KEY, note text NOT NULL);',
    );
    await workplace.configure(
      configFor({
        trunk: { name: 'lacking', schema: './schema.sql' },
        tables: { exclude: ['public.milk'] },
      }),
    );
    expect(await fails(MATERIALIZE, 6)).toMatchObject({
      code: 'TABLE_UNKNOWN',
      table: 'public.bread',
      topic: `${PREFIX}.public.bread`,
    });
    expect(await storedOffset('lacking', `${PREFIX}.public.bread`, 0)).toBe(0n);
  });
});

describe('a process that is stopped', () => {
  const trunk = 'stopped';

  it('ends with 5 in the middle of materialize, and a repetition goes on from there', async () => {
    const prefix = `${PREFIX}x`;
    const connect = await sharedConnect();
    await query(production.url, 'CREATE TABLE oats (id integer PRIMARY KEY, note text NOT NULL)');
    await connect.createConnector(
      prefix,
      await postgresConnector(production.url, prefix, { 'table.include.list': 'public.oats' }),
    );
    const topics = {
      source: { topicPrefix: prefix, connect: undefined },
      trunk: { name: trunk },
      tables: { include: ['public.oats'] },
    };
    try {
      await query(
        production.url,
        `DO $$ BEGIN FOR n IN 1..600 LOOP
           INSERT INTO oats VALUES (n, '${ROW}'); COMMIT; END LOOP; END $$`,
      );
      await readTopics((await sharedKafka()).client(), [`${prefix}.public.oats`], (records) => {
        return records.length >= 600;
      });
      // Each transaction by itself, so that there is time to interrupt.
      await workplace.configure(configFor({ ...topics, apply: { batchEvents: 1 } }));
      const first = workplace.start(MATERIALIZE);
      const counted = await pollUntil({
        probe: async () => {
          const known = await databases(shadow.url);
          if (!known.some((row) => (row as { datname: string }).datname === trunk))
            return undefined;
          const count = await rowCount(trunk, 'oats').catch(() => 0);
          return count > 5 ? count : undefined;
        },
        everyMs: 20,
        timeoutMs: 60_000,
        timeout: () => new Error(`nothing was applied: ${first.stderr}`),
      });
      first.kill('SIGINT');
      const ended = await first.ended;
      expect(counted).toBeLessThan(600);
      expect(ended.status, ended.stderr).toBe(5);
      expect(ended.stderr).toContain('INTERRUPTED');
      expectNoSecrets(ended);
      const reached = await rowCount(trunk, 'oats');
      expect(reached).toBeLessThan(600);
      await workplace.configure(configFor(topics));
      const { applied } = await workplace.json<{ applied: { events: number } }>(MATERIALIZE);
      expect(applied.events).toBe(600 - reached);
      const only = { only: ['public.oats'] };
      expect(await canonicalState(databaseUrl(shadow.url, trunk), only)).toEqual(
        await canonicalState(production.url, only),
      );
      const run = workplace.start(['run']);
      await pollUntil({
        probe: () => Promise.resolve(run.stderr.includes('"following"') ? true : undefined),
        everyMs: 20,
        timeoutMs: 30_000,
        timeout: () => new Error(`it does not follow: ${run.stderr}`),
      });
      run.kill('SIGTERM');
      expect((await run.ended).status).toBe(0);

      // A check that waits for a connector that does not get on.
      await workplace.configure(
        configFor({
          ...topics,
          source: { ...topics.source, connect: { url: connectUrl, name: prefix } },
        }),
      );
      await connect.stopConnector(prefix);
      const check = workplace.start(['drift', 'check'], { UNDERSTUDY_LOG_LEVEL: 'info' });
      await pollUntil({
        probe: () => Promise.resolve(check.stderr.includes('"waiting"') ? true : undefined),
        everyMs: 20,
        timeoutMs: 30_000,
        timeout: () => new Error(`it does not wait: ${check.stderr}`),
      });
      const interrupted = performance.now();
      check.kill('SIGINT');
      expect(await check.ended).toMatchObject({ status: 5, stdout: '' });
      expect(performance.now() - interrupted).toBeLessThan(5_000);
      expectNoSecrets(await check.ended);
    } finally {
      await connect.deleteConnector(prefix);
    }
  });
});
