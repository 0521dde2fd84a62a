/** What records tell of their origin, whatever form a transform or converter gave them. */
import { expect, test } from 'vitest';
import { OriginReader } from '../../../src/decode/origin.ts';
import { capturedRecords } from '../../support/debezium-records.ts';

function origins(capture: string) {
  const reader = new OriginReader('postgresql', null);
  return [...capturedRecords(capture)].flatMap((record) => reader.read(record) ?? []);
}

test.each([
  ['pg.forms.cloudevents', true],
  ['pg.forms.cloudevents-noschema', false],
  ['pg.forms.router', true],
])('%s tells table and position, and the schema of rows where it has one', (capture, schemas) => {
  const read = origins(capture);
  expect(read.length).toBeGreaterThan(5);
  expect(new Set(read.map(({ connector }) => connector))).toEqual(new Set(['postgresql']));
  for (const { own } of read) {
    expect(own?.table.schema).toBe('public');
    expect(own?.position.connector).toBe('postgresql');
  }
  const rows = read.flatMap(({ own }) => own?.row ?? []);
  expect(rows.length > 0).toBe(schemas);
  expect(rows.every(({ fields = [] }) => fields.length > 0)).toBe(true);
});
