import { expect, it } from 'vitest';
import { diagnoseConnector } from '../../../src/doctor/connector-settings.ts';
import { publishedConnector } from '../../support/connectors.ts';

const fit = await publishedConnector('postgres');

function findings(changes: Readonly<Record<string, string | null>>): readonly string[] {
  const settings = Object.entries({ ...fit, ...changes }).filter(
    (entry): entry is [string, string] => entry[1] !== null,
  );
  return diagnoseConnector('prod', new Map(settings)).map(({ id, level }) => `${level} ${id}`);
}

it('finds no trap in the settings that we publish', () => {
  expect(findings({})).toEqual(['ok connector.settings']);
});

it.each([
  ['provide.transaction.metadata', 'false', 'warning connector.transaction-metadata'],
  ['provide.transaction.metadata', null, 'warning connector.transaction-metadata'],
  ['skipped.operations', null, 'error connector.truncates-skipped'],
  ['skipped.operations', 't', 'error connector.truncates-skipped'],
  ['skipped.operations', 'u , d', 'error connector.operations-skipped'],
  ['value.converter.replace.null.with.default', null, 'error connector.null-becomes-default'],
  ['value.converter.schemas.enable', 'false', 'warning connector.json-without-schema'],
  [
    'event.converting.failure.handling.mode',
    'skip',
    'warning connector.conversion-failures-hidden',
  ],
  ['event.converting.failure.handling.mode', null, 'warning connector.conversion-failures-hidden'],
  ['errors.tolerance', 'all', 'error connector.errors-tolerated'],
  ['time.precision.mode', 'connect', 'warning connector.lossy-time'],
  ['decimal.handling.mode', 'double', 'warning connector.lossy-decimal'],
  ['interval.handling.mode', null, 'warning connector.lossy-interval'],
  ['heartbeat.interval.ms', '0', 'warning connector.no-heartbeat'],
  ['heartbeat.interval.ms', null, 'warning connector.no-heartbeat'],
])('finds %s=%s', (key, value, finding) => {
  expect(findings({ [key]: value })).toEqual([finding]);
});

it('asks a converter that is not JSON nothing about JSON', () => {
  expect(
    findings({
      'value.converter': 'io.example.AvroConverter',
      'value.converter.ignore.default.for.nullables': 'true',
      'value.converter.schemas.enable': 'false',
      'value.converter.replace.null.with.default': null,
    }),
  ).toEqual(['ok connector.settings']);
});

it.each([
  ['io.confluent.connect.avro.AvroConverter', null],
  ['io.confluent.connect.avro.AvroConverter', 'false'],
  ['io.apicurio.registry.utils.converter.AvroConverter', 'true'],
])('finds that %s makes defaults of NULLs where ignoring them is %s', (converter, ignore) => {
  expect(
    findings({
      'value.converter': converter,
      'value.converter.ignore.default.for.nullables': ignore,
    }),
  ).toEqual(['error connector.null-becomes-default-in-avro']);
});

it('names the connector and a cure, and no setting’s value', () => {
  const found = diagnoseConnector('prod', new Map([['database.password', 'hunter2']]));
  for (const { message, cure } of found) {
    expect(message).toContain('connector prod: ');
    expect(cure).toMatch(/^set /);
  }
  expect(JSON.stringify(found)).not.toContain('hunter2');
});
