import { describe, expect, it } from 'vitest';
import { CONNECTOR_RULES, diagnoseConnector } from '../../../src/doctor/connector-settings.ts';
import { MODE_RULES } from '../../../src/doctor/connector/values.ts';
import { publishedConnector, type ConnectorName } from '../../support/connectors.ts';

type Changes = Readonly<Record<string, string | null>>;

const FIT = {
  postgres: await publishedConnector('postgres'),
  mysql: await publishedConnector('mysql'),
  mariadb: await publishedConnector('mariadb'),
};

function findings(
  changes: Changes,
  { of = 'postgres', byColumn = false }: { of?: ConnectorName; byColumn?: boolean } = {},
): readonly string[] {
  const settings = Object.entries({ ...FIT[of], ...changes }).filter(
    (entry): entry is [string, string] => entry[1] !== null,
  );
  return diagnoseConnector('prod', new Map(settings), { byColumn }).map(
    ({ id, level }) => `${level} ${id}`,
  );
}

const AVRO = {
  'key.converter': 'io.confluent.connect.avro.AvroConverter',
  'value.converter': 'io.confluent.connect.avro.AvroConverter',
  'value.converter.ignore.default.for.nullables': 'true',
  'field.name.adjustment.mode': 'avro_unicode',
};
const APICURIO = 'io.apicurio.registry.utils.converter.AvroConverter';
const JSON_CONVERTER = 'org.apache.kafka.connect.json.JsonConverter';
const NO_SCHEMAS = {
  'key.converter.schemas.enable': 'false',
  'value.converter.schemas.enable': 'false',
};
const FLAT = {
  transforms: 'unwrap',
  'transforms.unwrap.type': 'io.debezium.transforms.ExtractNewRecordState',
  'transforms.unwrap.replace.null.with.default': 'false',
  'transforms.unwrap.add.headers': 'op',
};
const CLOUD_EVENTS = 'io.debezium.converters.CloudEventsConverter';
const HISTORY = 'schema.history.internal';

/** Each trap by itself: what of a fit configuration is changed, and all that is then found. */
const PLANTED: readonly (readonly [finding: string, changes: Changes, of?: ConnectorName])[] = [
  ['warning connector.transaction-metadata', { 'provide.transaction.metadata': 'false' }],
  ['warning connector.transaction-metadata', { 'provide.transaction.metadata': null }],
  ['error connector.truncates-skipped', { 'skipped.operations': null }],
  ['error connector.truncates-skipped', { 'skipped.operations': 't' }],
  ['error connector.truncates-skipped', { 'skipped.operations': 'T' }],
  ['error connector.operations-skipped', { 'skipped.operations': 'u , d' }],
  ['warning connector.no-tombstones', { 'tombstones.on.delete': 'false' }],
  ['warning connector.messages-excluded', { 'message.prefix.include.list': 'audit,app.*' }],
  ['warning connector.messages-excluded', { 'message.prefix.exclude.list': 'under.*' }],
  ['warning connector.no-heartbeat', { 'heartbeat.interval.ms': '0' }],
  ['warning connector.no-heartbeat', { 'heartbeat.interval.ms': null }],
  ['warning connector.schema-changes-hidden', { 'include.schema.changes': 'false' }, 'mysql'],
  ['warning connector.schema-changes-hidden', { 'include.schema.changes': 'FALSE' }, 'mysql'],
  ['warning connector.key-columns', { 'message.key.columns': 'public.t:a' }],
  ['error connector.columns-left-out', { 'column.exclude.list': 'public.t.secret' }],
  ['error connector.columns-altered', { 'column.mask.with.12.chars': 'public.t.secret' }],
  ['error connector.columns-altered', { 'column.truncate.to.20.chars': 'public.t.text' }],
  ['error connector.slot-dropped', { 'slot.drop.on.stop': 'true' }],
  ['error connector.slot-dropped', { 'slot.drop.on.stop': 'True' }],
  ['error connector.types-left-out', { ...AVRO, 'value.converter.connect.meta.data': 'false' }],
  ['error connector.names-scrubbed', { ...AVRO, 'value.converter.scrub.invalid.names': 'true' }],
  ['warning connector.post-processors', { 'post.processors': 'reselect' }],
  ['warning connector.plugin', { 'plugin.name': null }],
  ['error connector.no-snapshot', { 'snapshot.mode': 'no_data' }],
  ['error connector.no-snapshot', { 'snapshot.mode': 'schema_only' }, 'mysql'],
  ['error connector.snapshot-only', { 'snapshot.mode': 'initial_only' }],
  ['warning connector.snapshot-repeated', { 'snapshot.mode': 'always' }],
  ['error connector.snapshot-partial', { 'snapshot.select.statement.overrides': 'public.t' }],
  ['error connector.snapshot-isolation', { 'snapshot.isolation.mode': 'read_committed' }],
  ['error connector.snapshot-unlocked', { 'snapshot.locking.mode': 'none' }, 'mysql'],
  ['warning connector.snapshot-alters', { 'snapshot.locking.mode': 'none' }, 'mariadb'],
  ['warning connector.snapshot-parallel', { 'snapshot.max.threads': '4' }],
  ['error connector.history-missing', { [`${HISTORY}.kafka.topic`]: null }, 'mysql'],
  [
    'error connector.history-in-memory',
    { [HISTORY]: 'io.debezium.relational.history.MemorySchemaHistory' },
    'mysql',
  ],
  [
    'error connector.history-incomplete',
    { [`${HISTORY}.skip.unparseable.ddl`]: 'true' },
    'mariadb',
  ],
  ['error connector.null-becomes-default', { 'value.converter.replace.null.with.default': null }],
  [
    'error connector.null-becomes-default-in-avro',
    { ...AVRO, 'value.converter.ignore.default.for.nullables': null },
  ],
  [
    'error connector.null-becomes-default-in-avro',
    { ...AVRO, 'key.converter': APICURIO, 'value.converter': APICURIO },
  ],
  [
    'warning connector.conversion-failures-hidden',
    { 'event.converting.failure.handling.mode': 'skip' },
  ],
  [
    'warning connector.conversion-failures-hidden',
    { 'event.converting.failure.handling.mode': null },
  ],
  ['error connector.events-skipped', { 'event.processing.failure.handling.mode': 'warn' }],
  ['error connector.events-skipped', { 'inconsistent.schema.handling.mode': 'skip' }, 'mysql'],
  ['error connector.mode-unknown', { 'time.precision.mode': 'structured' }],
  ['warning connector.time-adjuster', { 'enable.time.adjuster': null }, 'mysql'],
  ['error connector.money-digits', { 'money.fraction.digits': '0' }],
  ['error connector.money-digits', { 'money.fraction.digits': '3' }],
  ['error connector.placeholder', { 'unavailable.value.placeholder': 'hex:00' }],
  ['warning connector.custom-converters', { converters: 'bool' }, 'mysql'],
  ['warning connector.unknown-types-omitted', { 'include.unknown.datatypes': null }],
  ['warning connector.lossy-time', { 'time.precision.mode': 'connect' }],
  ['warning connector.lossy-decimal', { 'decimal.handling.mode': 'double' }],
  ['warning connector.lossy-interval', { 'interval.handling.mode': null }],
  ['error connector.errors-tolerated', { 'errors.tolerance': 'all' }],
  ['warning connector.dead-letter-queue', { 'errors.deadletterqueue.topic.name': 'dlq' }],
  ['error connector.acks', { 'producer.override.acks': '1' }],
  [
    'error connector.reordering',
    { 'producer.override.max.in.flight.requests.per.connection': '5' },
  ],
  [
    'error connector.encoding',
    { 'value.converter': 'org.apache.kafka.connect.storage.StringConverter' },
  ],
  ['warning connector.encoding-unset', { 'key.converter': null }],
  ['warning connector.encodings-differ', { ...AVRO, 'key.converter': JSON_CONVERTER }],
  ['warning connector.json-without-schema', NO_SCHEMAS],
  [
    'warning connector.json-without-schema',
    { 'value.converter.schemas.enable': 'False', 'key.converter.schemas.enable': 'False' },
  ],
  ['warning connector.names-not-adjusted', { ...AVRO, 'field.name.adjustment.mode': null }],
  ['warning connector.names-collide', { ...AVRO, 'field.name.adjustment.mode': 'avro' }],
  ['warning connector.flat-form', FLAT],
  ['warning connector.cloudevents-form', { 'value.converter': CLOUD_EVENTS }],
  [
    'warning connector.transforms',
    { transforms: 'f', 'transforms.f.type': 'io.debezium.transforms.Filter' },
  ],
  ['error connector.topic-names', { 'topic.delimiter': '_' }],
  ['error connector.topic-names', { 'topic.transaction': 'tx' }],
  [
    'error connector.topics-compacted',
    { 'topic.creation.default.cleanup.policy': 'compact,delete' },
  ],
];

const TRAPS = PLANTED.map(([finding, changes, of]) => ({ finding, changes, of: of ?? 'postgres' }));

describe('a connector’s settings', () => {
  it.each(['postgres', 'mysql', 'mariadb'] as const)('hold no trap as published: %s', (of) => {
    expect(findings({}, { of })).toEqual(['ok connector.settings']);
    expect(findings(AVRO, { of })).toEqual(['ok connector.settings']);
  });

  it.each(TRAPS)('are found to hold $finding by $changes', ({ finding, changes, of }) => {
    expect(findings(changes, { of })).toEqual([finding]);
  });

  const DELETES = 'delete.tombstone.handling.mode';
  const NULLS = 'replace.null.with.default';
  const flattened = (settings: Readonly<Record<string, string>>): Changes => ({
    ...FLAT,
    ...Object.fromEntries(
      Object.entries(settings).map(([name, value]) => [`transforms.unwrap.${name}`, value]),
    ),
  });

  it.each([
    ['error connector.flat-deletes-dropped', { [DELETES]: 'drop' }],
    ['error connector.flat-null-becomes-default', { [NULLS]: 'true', [DELETES]: 'rewrite' }],
    [
      'error connector.flat-null-becomes-default',
      { [NULLS]: '', [DELETES]: 'rewrite-with-tombstone' },
    ],
    ['error connector.flat-null-becomes-default', { [NULLS]: 'true', 'add.fields': 'op,table' }],
  ])('are found to hold %s of a flat form by %j', (finding, settings) => {
    expect(findings(flattened(settings))).toEqual(['warning connector.flat-form', finding]);
  });

  it.each([
    [{ 'add.headers': '' }, true],
    [{ 'add.headers': 'source.op,opened' }, true],
    [{ 'add.headers': '', 'add.fields': 'table, op' }, false],
    [{ 'add.headers': 'op:operation' }, true],
  ])('tell inserts from updates, or do not: %j', (settings, hidden) => {
    const hides = hidden ? ['warning connector.flat-operation-hidden'] : [];
    expect(findings(flattened(settings))).toEqual(['warning connector.flat-form', ...hides]);
  });

  it('keep NULL in rows that the transform passes as they are', () => {
    const settings = { [NULLS]: 'true', [DELETES]: 'tombstone' };
    expect(findings(flattened(settings))).toEqual(['warning connector.flat-form']);
  });

  const KEYED = { 'message.key.columns': 'public.t:a' };
  it.each([
    ['warning connector.transaction-metadata', { 'provide.transaction.metadata': 'false' }],
    ['warning connector.flat-form', FLAT],
    ['warning connector.cloudevents-form', { 'value.converter': CLOUD_EVENTS }],
  ] as const)('may not have other keys where nothing orders partitions: %s', (beside, changes) => {
    expect(findings({ ...changes, ...KEYED }).toSorted()).toEqual([
      'error connector.key-columns-unordered',
      beside,
    ]);
  });

  it('have a test for every trap there is a rule for', () => {
    const planted = new Set(TRAPS.map(({ finding }) => finding.replace(/^\w+ connector\./, '')));
    planted.add('flat-deletes-dropped').add('flat-null-becomes-default');
    planted.add('flat-operation-hidden');
    planted.add('key-columns-unordered');
    const rules = [...CONNECTOR_RULES, ...MODE_RULES].map(({ id }) => id);
    expect([...planted].toSorted()).toEqual(rules.toSorted());
  });

  it('leave modes to the columns where these are known', () => {
    const lossy = {
      'decimal.handling.mode': 'double',
      'interval.handling.mode': null,
      'time.precision.mode': 'connect',
      'include.unknown.datatypes': null,
    };
    expect(findings(lossy, { byColumn: true })).toEqual(['ok connector.settings']);
  });

  it.each([
    ['producer.override.acks', '-1'],
    ['producer.override.acks', 'all'],
    ['errors.tolerance', 'none'],
    ['plugin.name', 'PGOUTPUT'],
    ['include.unknown.datatypes', 'TRUE'],
    ['message.prefix.include.list', 'app,understudy'],
    ['topic.creation.default.cleanup.policy', 'delete'],
  ])('may say %s=%s', (setting, value) => {
    expect(findings({ [setting]: value })).toEqual(['ok connector.settings']);
  });

  it('may have several requests in flight if these are idempotent', () => {
    const producer = {
      'producer.override.max.in.flight.requests.per.connection': '5',
      'producer.override.enable.idempotence': 'true',
    };
    expect(findings(producer)).toEqual(['ok connector.settings']);
  });

  it('are named with connector and cure, and never by a value', () => {
    const secret = [
      ['database.password', 'hunter2'],
      ['column.mask.hash.v2.SHA-256.with.salt.hunter2', 'public.t.a'],
    ] as const;
    const found = diagnoseConnector('prod', new Map(secret.slice(0, 1)), { byColumn: false });
    expect(found.length).toBeGreaterThan(3);
    for (const { message, cure } of found) {
      expect(message).toContain('connector prod: ');
      expect(cure).toMatch(/^(set|take) /);
    }
    const masked = diagnoseConnector('prod', new Map(secret), { byColumn: false });
    expect(JSON.stringify(masked)).not.toContain('hunter2');
  });
});
