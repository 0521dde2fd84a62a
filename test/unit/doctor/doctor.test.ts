import { expect, it } from 'vitest';
import { examine, type ConnectorParts, type DoctorParts } from '../../../src/doctor/doctor.ts';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';
import { OriginReader } from '../../../src/decode/origin.ts';
import type { ValueSource } from '../../../src/decode/column.ts';
import { publishedConnector } from '../../support/connectors.ts';
import type { ConnectorState } from '../../../src/source/connect/connect-client.ts';
import type { Diagnosis, ProductionDatabase } from '../../../src/dialect/dialect.ts';
import type { ColumnType, TableSchema } from '../../../src/schema/table-schema.ts';
import { MemoryLog } from '../../support/memory-log.ts';

const settings = new Map(Object.entries(await publishedConnector('postgres')));

const refuse =
  (code: 'SHADOW_UNREACHABLE' | 'PRODUCTION_UNREACHABLE' | 'KAFKA_UNREACHABLE') =>
  (): Promise<never> =>
    Promise.reject(new UnderstudyError(code, 'no answer', { detail: 'ECONNREFUSED' }));

/** A log with these partitions. */
function logOf(...partitions: readonly (readonly [string, number])[]): DoctorParts['source'] {
  const log = new MemoryLog();
  for (const [topic, partition] of partitions) log.append(topic, partition);
  return () => Promise.resolve(log);
}

const ORDERS = ['p.public.orders', 0] as const;

const DECLARED: DoctorParts['declared'] = {
  connector: 'postgresql' satisfies ValueSource['connector'],
  modes: {},
  topicPrefix: 'p',
  trunk: 'shop',
  consistency: 'transaction',
  registry: false,
  contradictions: () => [],
};

/** A connector with these settings, in this state. */
function connectorOf(
  config: ReadonlyMap<string, string> = settings,
  state: ConnectorState = { connector: 'RUNNING', tasks: [{ id: 0, state: 'RUNNING' }] },
  flushMs: number | null | 'not-configured' = 5_000,
): ConnectorParts {
  return {
    name: 'prod',
    config: () => Promise.resolve(config),
    running: {
      state: () => Promise.resolve(state),
      all: () => Promise.resolve(new Map([['prod', config]])),
      flushIntervalMs: flushMs === 'not-configured' ? null : () => Promise.resolve(flushMs),
    },
  };
}

function parts(changes: Partial<DoctorParts>): DoctorParts {
  return {
    shadow: refuse('SHADOW_UNREACHABLE'),
    isolation: () => Promise.resolve('production'),
    production: null,
    source: logOf(ORDERS, ['p.transaction', 0]),
    connector: null,
    topics: null,
    origins: new OriginReader('postgresql', null),
    prepare: () => null,
    trunk: () => Promise.resolve(null),
    declared: DECLARED,
    includes: () => true,
    isolates: () => false,
    rollouts: () => Promise.resolve([]),
    ...changes,
  };
}

async function findings(changes: Partial<DoctorParts>): Promise<readonly string[]> {
  const report = await examine(parts(changes));
  return report.findings.map(({ id, level }) => `${level} ${id}`);
}

it('makes a finding of every part that is away, and looks at the others all the same', async () => {
  const report = await examine(
    parts({
      isolation: refuse('SHADOW_UNREACHABLE'),
      production: refuse('PRODUCTION_UNREACHABLE'),
      source: refuse('KAFKA_UNREACHABLE'),
      connector: connectorOf(),
    }),
  );
  expect(report.findings.map(({ id, level }) => `${level} ${id}`)).toEqual([
    'error shadow.shadow-unreachable',
    'error shadow.isolation.shadow-unreachable',
    'error production.production-unreachable',
    'error log.kafka-unreachable',
    'ok connector.state',
    'ok connector.settings',
    'ok connector.acks-unseen',
  ]);
  expect(report.healthy).toBe(false);
  expect(report.findings[0]).toMatchObject({
    message: 'no answer: ECONNREFUSED',
    cure: 'Check shadow.url, and that the server accepts connections, takes writes and has room.',
  });
});

it.each([
  ['one partition', logOf(ORDERS, ['p.transaction', 0]), 'ok log.transaction-topic'],
  ['none', logOf(ORDERS), 'warning log.transaction-topic-missing'],
  [
    'several',
    logOf(['p.transaction', 0], ['p.transaction', 1]),
    'error log.transaction-topic-partitions',
  ],
])('looks for the transaction topic: %s', async (_, source, finding) => {
  expect(await findings({ source })).toContain(finding);
  const perKey = await findings({
    source,
    declared: { ...DECLARED, consistency: 'key' },
  });
  expect(perKey.join()).not.toContain('transaction-topic');
});

it('tells that no character sets are known where there is no production to ask', async () => {
  const declared = { ...DECLARED, connector: 'mysql' } as const;
  expect(await findings({ declared })).toContain('warning production.charsets-unknown');
  expect((await findings({})).join()).not.toContain('charsets');
});

it('does not miss the transaction topic where the connector’s settings can be asked', async () => {
  const connector = connectorOf(new Map());
  const found = (await findings({ source: logOf(ORDERS), connector })).join();
  expect(found).not.toContain('transaction-topic');
  expect(found).toContain('connector.transaction-metadata');
});

it.each([
  ['production', 'ok shadow.isolation'],
  ['connector', 'ok shadow.isolation'],
  ['none', 'warning shadow.isolation-unproven'],
] as const)('tells by what isolation was shown: %s', async (evidence, finding) => {
  expect(await findings({ isolation: () => Promise.resolve(evidence) })).toContain(finding);
});

it.each([
  ['RUNNING', ['RUNNING'], 'ok connector.state'],
  ['RUNNING', [], 'error connector.not-running'],
  ['RUNNING', ['RUNNING', 'FAILED'], 'error connector.not-running'],
  ['PAUSED', ['PAUSED'], 'error connector.not-running'],
])('judges a connector that is %s with tasks %j', async (connector, tasks, finding) => {
  const state = { connector, tasks: tasks.map((task, id) => ({ id, state: task })) };
  expect(
    await findings({
      connector: connectorOf(settings, state),
    }),
  ).toContain(finding);
});

it('warns of a transaction topic that will be made with several partitions', async () => {
  const several = new Map([...settings, ['topic.creation.transaction.partitions', '3']]);
  const found = await findings({ source: logOf(ORDERS), connector: connectorOf(several) });
  expect(found).toContain('warning log.transaction-topic-to-come');
});

it('misses a registry where the connector writes Avro', async () => {
  const avro = new Map([
    ...settings,
    ['value.converter', 'io.confluent.connect.avro.AvroConverter'],
  ]);
  const connector = connectorOf(avro);
  expect(await findings({ connector })).toContain('error connector.registry-missing');
  const declared = { ...DECLARED, registry: true };
  expect((await findings({ connector, declared })).join()).not.toContain('registry-missing');
});

it('tells that the settings of the topics may not be read', async () => {
  const topics = {
    read: () => Promise.resolve({ topics: [], denied: 'not authorized' }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  expect(await findings({ topics })).toContain('warning log.settings-denied');
});

const EXACTLY_ONCE = new Map([...settings, ['exactly.once.support', 'REQUIRED']]);

it.each([
  ['long', 60_000, settings, ['warning connector.offset-flush']],
  ['short', 30_000, settings, []],
  ['long, with exactly-once', 60_000, EXACTLY_ONCE, []],
  ['not seen', null, settings, ['ok connector.offset-flush']],
  ['not looked at', 'not-configured', settings, ['ok connector.offset-flush']],
] as const)('judges how often offsets are committed: %s', async (_, flushMs, config, expected) => {
  const found = await findings({ connector: connectorOf(config, undefined, flushMs) });
  expect(found.filter((one) => one.includes('offset-flush'))).toEqual(expected);
});

it('says that the acks of the worker are not seen, where the connector has none of its own', async () => {
  const own = new Map([...settings, ['producer.override.acks', 'all']]);
  const of = async (config: ReadonlyMap<string, string>): Promise<string> =>
    (await findings({ connector: connectorOf(config) })).join();
  expect(await of(settings)).toContain('ok connector.acks-unseen');
  expect(await of(own)).not.toContain('acks-unseen');
});

it('counts no table as ready that has a finding, or a column that stops the follower', async () => {
  const table = (name: string, type: ColumnType): readonly [string, TableSchema] => [
    `public.${name}`,
    {
      ...{ id: { schema: 'public', name }, key: ['c'], uniques: [], foreignKeys: [] },
      partitioned: false,
      columns: [
        {
          ...{ name: 'c', type, nullable: true, generated: 'no', identity: 'no' },
          toastable: false,
        },
      ],
    },
  ];
  const text: ColumnType = { sql: 'text', kind: 'text' };
  const bits: ColumnType = { sql: 'bit varying', kind: 'bits' };
  const catalogue = new Map([table('fine', text), table('bits', bits), table('bare', text)]);
  const bare: Diagnosis = {
    ...{ id: 'table.key', level: 'error', message: 'has no key', cure: 'one' },
    table: { schema: 'public', name: 'bare' },
  };
  const production = {
    catalogue: () => Promise.resolve(catalogue),
    diagnose: () => Promise.resolve([bare]),
  } as unknown as ProductionDatabase;
  const report = await examine(parts({ production: () => Promise.resolve(production) }));
  const ready = report.findings.find(({ id }) => id === 'table.ready');
  expect(ready?.message).toBe('1 of 3 tables are ready');
});

it('passes on what is no error of ours: a bug must not look like a finding', async () => {
  await expect(
    examine(parts({ source: () => Promise.reject(new TypeError('a bug')) })),
  ).rejects.toThrow('a bug');
});
