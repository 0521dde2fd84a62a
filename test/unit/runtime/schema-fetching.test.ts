import { expect, test } from 'vitest';
import type { LogRecord } from '../../../src/change/record.ts';
import type { SchemaRef } from '../../../src/decode/envelope/schema-store.ts';
import { fetching } from '../../../src/runtime/schema-registry.ts';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';

const RECORD: LogRecord = {
  ...{ topic: 'p.public.t', partition: 1, offset: 7n, timestampMs: 0 },
  ...{ key: null, value: Buffer.from([0]), headers: [] },
};
const OPTIONS = { signal: new AbortController().signal, onState: () => undefined };
const id = (n: number): SchemaRef => ({ kind: 'id', id: String(n) });

/** Knows of one more schema with every one that it has, up to `depth`. */
function nested(depth: number): {
  readonly loaded: string[];
  readonly fetch: ReturnType<typeof fetching>;
} {
  const loaded: string[] = [];
  const fetch = fetching(
    { missing: () => (loaded.length < depth ? [id(loaded.length)] : []) },
    {
      load: (refs) => {
        loaded.push(...refs.map((ref) => ref.id));
        return Promise.resolve();
      },
    },
  );
  return { loaded, fetch };
}

test('nothing is asked for where nothing is lacking', () => {
  expect(nested(0).fetch(RECORD, OPTIONS)).toBeNull();
});

test('the schema of what lies in a record is fetched once the record’s own is here', async () => {
  const { loaded, fetch } = nested(2);
  await fetch(RECORD, OPTIONS);
  expect(loaded).toEqual(['0', '1']);
});

test('it ends, also where something is always lacking', async () => {
  const { loaded, fetch } = nested(Infinity);
  await fetch(RECORD, OPTIONS);
  expect(loaded).toHaveLength(4);
});

test('a schema that the registry does not know is told with the record’s place', async () => {
  const fetch = fetching(
    { missing: () => [id(1)] },
    { load: () => Promise.reject(new UnderstudyError('SCHEMA_UNKNOWN', 'id 1 is not known')) },
  );
  await expect(fetch(RECORD, OPTIONS)).rejects.toMatchObject({
    code: 'SCHEMA_UNKNOWN',
    context: { topic: 'p.public.t', partition: 1, offset: 7n },
  });
});
