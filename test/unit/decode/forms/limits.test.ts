import { expect, test } from 'vitest';
import type { FlatDeletes, RecordForm } from '../../../../src/decode/forms/form.ts';
import { formLimits } from '../../../../src/decode/forms/limits.ts';

const codes = (form: RecordForm, deletes: FlatDeletes | null = null): readonly string[] =>
  formLimits(form, deletes).map(({ code }) => code);

test("Debezium's own form has no limits", () => {
  expect(codes('debezium')).toEqual([]);
});

test('CloudEvents lack what has no rows', () => {
  expect(codes('cloudevents')).toEqual(['no-transactions', 'no-messages']);
});

test('flattened rows lack much, and what of deletes depends on the mode', () => {
  const common = ['no-transactions', 'no-old-rows', 'no-operation', 'no-truncates'];
  expect(codes('flat')).toEqual([...common, 'no-keyless-deletes']);
  expect(codes('flat', 'drop')).toEqual([...common, 'no-deletes']);
  expect(codes('flat', 'delete-to-tombstone')).toEqual([...common, 'no-keyless-deletes']);
  expect(codes('flat', 'rewrite')).toEqual([...common, 'nulls-as-defaults']);
});
