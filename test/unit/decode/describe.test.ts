/** What records tell of their tables: the same, whichever form and encoding they have. */
import { expect, test } from 'vitest';
import type { LogRecord } from '../../../src/change/record.ts';
import { tableName } from '../../../src/change/table-id.ts';
import { createDecoder } from '../../../src/decode/decoder.ts';
import type { RecordForm } from '../../../src/decode/forms/form.ts';
import type { NameMode } from '../../../src/decode/names.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import { eventTableSchema, type EventTableSchema } from '../../../src/schema/event-schema.ts';
import {
  capturedCatalogue,
  capturedRecords,
  capturedRegistry,
  DEFAULT_MODES,
} from '../../support/debezium-records.ts';
import { FORMS_CATALOGUE } from '../../support/form-captures.ts';

interface Options {
  readonly form?: RecordForm;
  readonly names?: NameMode;
}

/** By table, without any catalogue; errors by code and topic. */
function described(
  records: Iterable<LogRecord>,
  topicPrefix: string,
  { form = 'debezium', names = 'none' }: Options = {},
): { readonly tables: Record<string, EventTableSchema>; readonly errors: readonly string[] } {
  const decoder = createDecoder({
    ...{ connector: 'postgresql', topicPrefix, form, registry: capturedRegistry() },
    modes: { ...DEFAULT_MODES, names },
    catalogue: () => new Map(),
  });
  const tables: Record<string, EventTableSchema> = {};
  const errors = new Set<string>();
  for (const record of records) {
    try {
      const told = decoder.describe(record);
      if (told === null) continue;
      tables[tableName(told.table)] = eventTableSchema({ ...told, sourceName: null });
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      errors.add(`${error.code} ${String(error.context.topic)}`);
    }
  }
  return { tables, errors: [...errors] };
}

const routed = described(capturedRecords('pg.forms.router'), 'cap_router');

test('Debezium’s own form tells columns, keys and what may be null', () => {
  expect(routed.errors).toEqual([]);
  const found = Object.values(routed.tables).map(({ table, key, columns }) => ({
    name: tableName(table),
    key,
    columns: columns.map(({ name, optional }) => (optional ? `${name}?` : name)),
  }));
  const expected = [...FORMS_CATALOGUE].map(([name, { key, columns }]) => ({
    name,
    key: [...key].toSorted(),
    columns: columns.map((column) => column.name),
  }));
  const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
  expect(
    found
      .map((told) => ({
        ...told,
        key: [...told.key].toSorted(),
        columns: told.columns.map((name) => name.replace('?', '')),
      }))
      .toSorted(byName),
  ).toEqual(expected.toSorted(byName));
  expect(found.find(({ name }) => name === 'public.item')?.columns).toEqual([
    ...['id', 'v?', 'n?', 'big', 'b?'],
  ]);
});

test.each([
  ['pg.forms.cloudevents', 'cap_ceplain', 'cloudevents'],
  ['pg.forms.flat-added', 'cap_flatall', 'flat'],
] as const)('%s tells the same', (capture, prefix, form) => {
  const { tables, errors } = described(capturedRecords(capture), prefix, { form });
  expect(errors).toEqual([]);
  const keyed = Object.keys(routed.tables).filter((name) => tables[name] !== undefined);
  expect(keyed.length).toBeGreaterThanOrEqual(4);
  for (const name of keyed) expect(tables[name]).toEqual(routed.tables[name]);
});

test('records without schemas tell nothing', () => {
  const records = [...capturedRecords('pg.forms.cloudevents-noschema')];
  const told = described(records, 'cap_cenoschema', { form: 'cloudevents' });
  expect(told).toEqual({ tables: {}, errors: [] });
});

test('Avro tells what JSON does: types, parameters, what may be null', () => {
  const json = described(capturedRecords('pg.types.default'), 'obs_pg').tables;
  const avro = described(capturedRecords('pg.types.avro_unicode', 'avro'), 'obs_pgavrou', {
    names: 'avro_unicode',
  });
  expect(avro.errors).toEqual([]);
  const both = Object.keys(avro.tables).filter((name) => json[name] !== undefined);
  expect(both).toContain('public.Weird Näme-1');
  for (const name of both) expect(avro.tables[name]).toEqual(json[name]);
  const replaced = described(capturedRecords('pg.types.default', 'avro'), 'obs_pgavro', {
    names: 'avro',
  });
  expect(replaced.errors).toEqual([]);
  const plain = Object.keys(replaced.tables).filter((name) => name !== 'public.Weird Näme-1');
  expect(plain.length).toBeGreaterThan(5);
  for (const name of plain) expect(replaced.tables[name]).toEqual(json[name]);
  const columns = capturedCatalogue('types').get('public.Weird Näme-1')?.columns;
  expect(avro.tables['public.Weird Näme-1']?.columns.map(({ name }) => name)).toEqual(
    columns?.map(({ name }) => name),
  );
});

/** A flattened row, as the transform makes it where it adds nothing. */
function bare(topic: string, schemaName: string): LogRecord {
  const fields = [
    { type: 'int32', optional: false, field: 'id' },
    { type: 'string', optional: true, field: '__deleted' },
  ];
  const schema = { type: 'struct', name: schemaName, optional: false, fields };
  const value = { schema, payload: { id: 1, __deleted: 'false' } };
  return {
    ...{ topic, partition: 0, offset: 3n, timestampMs: 0, headers: [] },
    key: Buffer.from(JSON.stringify({ schema: { ...schema, name: 'k' }, payload: { id: 1 } })),
    value: Buffer.from(JSON.stringify(value)),
  };
}

test.each([
  ['none', 'p.public.Od d.Value', 'p.public.Od_d', 'public.Od d'],
  ['none', 'p.public.order_items.Value', 'p.public.order_items', 'public.order_items'],
  ['avro_unicode', 'p.public.Od_u0020d.Value', 'p.public.Od_d', 'public.Od d'],
  ['avro', 'p.public.items.Value', 'p.public.items', 'public.items'],
] as const)('a flattened row with names %s: %s on %s is of %s', (names, schema, topic, table) => {
  const { tables, errors } = described([bare(topic, schema)], 'p', { form: 'flat', names });
  expect(errors).toEqual([]);
  expect(Object.keys(tables)).toEqual([table]);
  expect(tables[table]).toMatchObject({ key: ['id'], columns: [{ name: 'id' }] });
});

test.each([
  ['none', 'q.public.t.Value', 'q.public.t', 'another connector'],
  ['none', 'p.public.t.Value', 'all_rows', 'a routed topic'],
  ['avro', 'p.public.order_items.Value', 'p.public.order_items', 'a name that is not reversible'],
] as const)('a flattened row with names %s: %s on %s is refused: %s', (...row) => {
  const [names, schema, topic] = row;
  const { tables, errors } = described([bare(topic, schema)], 'p', { form: 'flat', names });
  expect(tables).toEqual({});
  expect(errors).toEqual([`TABLE_UNKNOWN ${topic}`]);
});
