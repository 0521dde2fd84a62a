import { describe, expect, it } from 'vitest';
import {
  inspectSettings,
  type ConnectorFacts,
} from '../../../../src/decode/connectors/settings.ts';
import { publishedConnector } from '../../../support/connectors.ts';

const SLOT = 'io.debezium.connector.postgresql.PostgresConnector';
const BINLOG = 'io.debezium.connector.mysql.MySqlConnector';
const JSON_CONVERTER = 'org.apache.kafka.connect.json.JsonConverter';

const inspect = (settings: Readonly<Record<string, string>>): ConnectorFacts =>
  inspectSettings(new Map(Object.entries(settings)));

describe('the modes of a connector', () => {
  it.each([
    [
      SLOT,
      {
        time: 'adaptive',
        decimal: 'precise',
        binary: 'bytes',
        hstore: 'json',
        interval: 'numeric',
        names: 'none',
      },
    ],
    [
      BINLOG,
      {
        time: 'adaptive_time_microseconds',
        decimal: 'precise',
        bigintUnsigned: 'long',
        binary: 'bytes',
        names: 'none',
      },
    ],
    [
      'io.debezium.connector.mariadb.MariaDbConnector',
      {
        time: 'adaptive_time_microseconds',
        decimal: 'precise',
        bigintUnsigned: 'long',
        binary: 'bytes',
        names: 'none',
      },
    ],
  ])('are its defaults where it says nothing: %s', (connector, modes) => {
    const facts = inspect({ 'connector.class': connector });
    expect(facts.modes).toEqual(modes);
    expect(facts.unreadable).toEqual([]);
  });

  it.each([
    ['time.precision.mode', 'ISOSTRING ', { time: 'isostring' }],
    ['time.precision.mode', 'connect', { time: 'connect' }],
    ['decimal.handling.mode', 'double', { decimal: 'double' }],
    ['binary.handling.mode', 'base64-url-safe', { binary: 'base64-url-safe' }],
    ['hstore.handling.mode', 'map', { hstore: 'map' }],
    ['interval.handling.mode', 'string', { interval: 'string' }],
    ['field.name.adjustment.mode', 'avro_unicode', { names: 'avro_unicode' }],
  ])('are what it sets: %s=%s', (setting, value, modes) => {
    expect(inspect({ 'connector.class': SLOT, [setting]: value }).modes).toMatchObject(modes);
  });

  it('hold the unsigned mode of those connectors only that have one', () => {
    const settings = { 'bigint.unsigned.handling.mode': 'precise' };
    expect(inspect({ 'connector.class': BINLOG, ...settings }).modes.bigintUnsigned).toBe(
      'precise',
    );
    expect(inspect({ 'connector.class': SLOT, ...settings }).modes.bigintUnsigned).toBeUndefined();
  });

  it.each(['structured', '${env:MODE}'])('are not guessed where they are %s', (value) => {
    const facts = inspect({ 'connector.class': SLOT, 'time.precision.mode': value });
    expect(facts.modes.time).toBeUndefined();
    expect(facts.unreadable).toEqual(['time.precision.mode']);
  });

  it('are only what is set, where the connector is a foreign one', () => {
    const facts = inspect({
      'connector.class': 'org.example.X',
      'decimal.handling.mode': 'string',
    });
    expect(facts).toMatchObject({ connector: null, log: null, modes: { decimal: 'string' } });
    expect(facts.modes.time).toBeUndefined();
  });
});

describe('encoding and form of the records', () => {
  it.each([
    [{}, 'unset'],
    [{ 'value.converter': JSON_CONVERTER }, 'json'],
    [{ 'value.converter': JSON_CONVERTER, 'value.converter.schemas.enable': 'true' }, 'json'],
    [
      { 'value.converter': JSON_CONVERTER, 'value.converter.schemas.enable': 'false' },
      'json-without-schema',
    ],
    [{ 'value.converter': 'io.confluent.connect.avro.AvroConverter' }, 'avro'],
    [{ 'value.converter': 'io.apicurio.registry.utils.converter.AvroConverter' }, 'avro'],
    [{ 'value.converter': 'io.debezium.converters.CloudEventsConverter' }, 'cloudevents'],
    [{ 'value.converter': 'org.apache.kafka.connect.storage.StringConverter' }, 'other'],
  ])('%j is %s', (settings, encoding) => {
    const facts = inspect(settings);
    expect(facts.value).toBe(encoding);
    expect(facts.key).toBe('unset');
    expect(facts.form).toBe(encoding === 'cloudevents' ? 'cloudevents' : 'debezium');
  });

  it('is flat where a transform takes the row out of the envelope', () => {
    const facts = inspect({
      transforms: 'route, unwrap',
      'transforms.route.type': 'io.debezium.transforms.ByLogicalTableRouter',
      'transforms.unwrap.type': 'io.debezium.transforms.ExtractNewRecordState',
    });
    expect(facts.form).toBe('flat');
    expect(facts.transforms).toEqual([
      { name: 'route', type: 'ByLogicalTableRouter' },
      { name: 'unwrap', type: 'ExtractNewRecordState' },
    ]);
  });
});

it('tells where a published connector reads and what it writes', async () => {
  const facts = inspect(await publishedConnector('postgres'));
  expect(facts).toMatchObject({
    connector: 'postgresql',
    log: 'slot',
    topicPrefix: 'prod',
    form: 'debezium',
    key: 'json',
    value: 'json',
    unknownDatatypes: true,
    slot: 'debezium_prod',
    publication: { name: 'debezium_prod', madeByConnector: true },
  });
  expect(inspect({ 'connector.class': SLOT })).toMatchObject({
    slot: 'debezium',
    publication: { name: 'dbz_publication', madeByConnector: true },
  });
  expect(inspect(await publishedConnector('mysql'))).toMatchObject({
    log: 'binlog',
    slot: null,
    publication: null,
  });
});
