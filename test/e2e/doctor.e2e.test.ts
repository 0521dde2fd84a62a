/** `understudy doctor` on real parts: a connector as we publish it, a bad one, and none yet. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DoctorReport } from '../../src/doctor/doctor.ts';
import { postgresConnector } from '../support/connectors.ts';
import { startPostgres, type PostgresServer } from '../support/postgres.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { Workplace } from '../support/understudy.ts';

const GOOD = `good${process.pid}`;
const BAD = `bad${process.pid}`;
const BAD_SETTINGS = {
  'skipped.operations': 't',
  'provide.transaction.metadata': 'false',
  'tombstones.on.delete': 'false',
  'value.converter.replace.null.with.default': 'true',
  'event.converting.failure.handling.mode': 'warn',
  'time.precision.mode': 'connect',
  'decimal.handling.mode': 'double',
  'interval.handling.mode': 'numeric',
  'include.unknown.datatypes': 'false',
  'errors.tolerance': 'all',
  'heartbeat.interval.ms': '0',
  'message.prefix.exclude.list': '.*',
  'topic.creation.default.cleanup.policy': 'compact',
};

const production = await testDatabase('doctor');
let shadow: PostgresServer;
let connect: Awaited<ReturnType<typeof sharedConnect>>;
let broker: string;
let workplace: Workplace;

const configFor = (name: string): object => ({
  source: {
    topicPrefix: name,
    kafka: { brokers: [broker] },
    connect: { url: connect.url, name },
    offsetsTopic: connect.offsetsTopic,
  },
  production: { url: production.url },
  shadow: { url: shadow.url },
  trunk: { name: 'doctor' },
});

async function findings(args: readonly string[], status: number): Promise<readonly string[]> {
  const report = await workplace.json<DoctorReport>(['doctor', ...args], status);
  expect(report.healthy).toBe(status === 0);
  return report.findings.map(({ id, level }) => `${level} ${id}`);
}

beforeAll(async () => {
  const [kafka, worker, server] = await Promise.all([
    sharedKafka(),
    sharedConnect(),
    startPostgres(),
  ]);
  [broker, connect, shadow] = [kafka.broker, worker, server];
  const client = await connectTo(production.url);
  await client.query(`CREATE TABLE t (id int PRIMARY KEY, n numeric(10,2), at timestamp, span interval);
    INSERT INTO t VALUES (1, 1.10, now(), '1 month')`);
  workplace = await Workplace.make({});
  for (const [name, settings] of [
    [GOOD, {}],
    [BAD, BAD_SETTINGS],
  ] as const) {
    await connect.createConnector(name, await postgresConnector(production.url, name, settings));
    await workplace.configure(configFor(name));
  }
  await client.query(`INSERT INTO t VALUES (2, 2.20, now(), '1 day')`);
  await client.end();
});

afterAll(async () => {
  for (const name of [GOOD, BAD]) await connect.deleteConnector(name);
  await workplace[Symbol.asyncDispose]();
  await shadow.stop();
});

/** Connector and topics come up in their own time. */
async function untilHealthy(): Promise<string> {
  let last = '';
  for (const deadline = Date.now() + 60_000; Date.now() < deadline;) {
    const result = await workplace.run(['doctor']);
    if (result.status === 0) return result.stdout;
    last = result.stdout + result.stderr;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error(`doctor went on finding:\n${last}`);
}

it('finds nothing in a stream as we publish it', async () => {
  await workplace.configure(configFor(GOOD));
  expect(await untilHealthy()).toMatch(/Nothing stands in the way\.\n$/);
});

it('names every trap of a bad connector, with the columns that suffer', async () => {
  await workplace.configure(configFor(BAD));
  const found = await findings([], 1);
  for (const finding of [
    'warning connector.transaction-metadata',
    'error connector.truncates-skipped',
    'warning connector.no-tombstones',
    'warning connector.messages-excluded',
    'warning connector.no-heartbeat',
    'error connector.null-becomes-default',
    'warning connector.conversion-failures-hidden',
    'error connector.errors-tolerated',
    'error connector.topics-compacted',
    'error log.compacted',
    'warning column.decimal-double',
    'warning column.time-connect',
    'warning column.interval-numeric',
  ]) {
    expect(found).toContain(finding);
  }
  expect(found).toContain('ok connector.state');
  const { stdout } = await workplace.run(['doctor']);
  for (const title of ['Shadow server', 'Production', 'Event log', 'Connector']) {
    expect(stdout).toContain(`${title}\n`);
  }
  expect(stdout).toMatch(/! .*public\.t\.n\n +cure: .*\(column\.decimal-double\)/);
});

it('is of use before there is a connector', async () => {
  const client = await connectTo(production.url);
  await client.query(`CREATE TYPE mood AS ENUM ('a'); CREATE DOMAIN feeling AS mood`);
  await client.end();
  await workplace.configure(configFor('nobody'));
  const missing = await findings([], 1);
  expect(missing).toContain('error connector.connector-missing');
  expect(missing).toContain('error production.enum-domain');
  await workplace.configure(configFor(GOOD));
  const file = path.join(workplace.directory, 'connector.json');
  const config = await postgresConnector(production.url, GOOD, BAD_SETTINGS);
  await writeFile(file, JSON.stringify({ name: 'planned', config }));
  const planned = await findings(['--connector-file', file], 1);
  expect(planned).toContain('error connector.truncates-skipped');
  expect(planned).not.toContain('ok connector.state');
});

it('agrees with materialize on a configuration that contradicts the connector', async () => {
  const config = configFor(GOOD) as { source: object };
  await workplace.configure({
    ...config,
    source: { ...config.source, modes: { time: 'connect' } },
  });
  expect(await findings([], 1)).toContain('error connector.contradiction');
  const refused = await workplace.run(['materialize', '--until-caught-up']);
  expect(refused.status).toBe(3);
  expect(refused.stderr).toContain(
    "source.modes.time is 'connect', but the connector’s time.precision.mode is 'adaptive'",
  );
});
