import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { SchemaRef } from '../../../src/decode/envelope/schema-store.ts';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import type { SourceState } from '../../../src/source/change-source.ts';
import { RegistrySchemas } from '../../../src/source/registry/registry-schemas.ts';
import { SchemaFiles } from '../../../src/source/registry/schema-files.ts';

const SEVEN: SchemaRef = { kind: 'id', id: '7' };
const ADDRESS = 'http://registry.test';

async function temporary(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'understudy-schemas-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Schemas of a registry that gives these answers, one after another. */
function schemasOf(
  folder: string,
  answers: readonly (string | UnderstudyError)[],
  address = ADDRESS,
): RegistrySchemas {
  const left = [...answers];
  const fetchSchema = (): Promise<string> => {
    const answer = left.shift() ?? new UnderstudyError('INTERNAL', 'asked too often');
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };
  return new RegistrySchemas({
    client: { address, fetchSchema },
    files: new SchemaFiles(folder, address),
    logger: silentLogger,
  });
}

const signal = new AbortController().signal;
const quiet = { signal, onState: () => undefined };
const down = new UnderstudyError('REGISTRY_UNREACHABLE', 'no');

test('a schema is fetched once, by this process and by later ones', async () => {
  const folder = await temporary();
  const first = schemasOf(folder, ['"long"']);
  expect(first.schema(SEVEN)).toBeUndefined();
  await first.load([SEVEN, SEVEN], quiet);
  await first.load([SEVEN], quiet);
  expect(first.schema(SEVEN)).toBe('long');
  const later = schemasOf(folder, []);
  await later.load([SEVEN], quiet);
  expect(later.schema(SEVEN)).toBe('long');
});

test('ids of another kind or registry are others', async () => {
  const folder = await temporary();
  await schemasOf(folder, ['"long"']).load([SEVEN], quiet);
  const other = schemasOf(folder, ['"int"', '"bytes"']);
  await other.load([{ kind: 'globalId', id: '7' }], quiet);
  expect(other.schema({ kind: 'globalId', id: '7' })).toBe('int');
  const elsewhere = schemasOf(folder, ['"string"'], 'http://other.test');
  await elsewhere.load([SEVEN], quiet);
  expect(elsewhere.schema(SEVEN)).toBe('string');
});

test('a registry that is down is asked until it answers, and that is told', async () => {
  const schemas = schemasOf(await temporary(), [down, down, '"long"']);
  const states: (SourceState['state'] | null)[] = [];
  await schemas.load([SEVEN], { signal, onState: (state) => states.push(state?.state ?? null) });
  expect(states).toEqual(['reconnecting', 'reconnecting', null]);
  expect(schemas.schema(SEVEN)).toBe('long');
});

test('whoever stops does not wait for it', async () => {
  const stop = new AbortController();
  const schemas = schemasOf(await temporary(), [down, down, down, down]);
  const why = new Error('stopped');
  const loading = schemas.load([SEVEN], { signal: stop.signal, onState: () => stop.abort(why) });
  await expect(loading).rejects.toBe(why);
});

test('what will not change is told at once', async () => {
  const schemas = schemasOf(await temporary(), [
    new UnderstudyError('SCHEMA_UNKNOWN', 'no such id'),
    'no JSON',
  ]);
  await expect(schemas.load([SEVEN], quiet)).rejects.toMatchObject({ code: 'SCHEMA_UNKNOWN' });
  await expect(schemas.load([SEVEN], quiet)).rejects.toMatchObject({ code: 'SCHEMA_UNKNOWN' });
  expect(schemas.schema(SEVEN)).toBeUndefined();
});

test('a broken file is replaced, and none is left half written', async () => {
  const folder = await temporary();
  await schemasOf(folder, ['"long"']).load([SEVEN], quiet);
  const [registry = ''] = await readdir(folder);
  expect(await readdir(path.join(folder, registry))).toEqual(['id-7.json']);
  await writeFile(path.join(folder, registry, 'id-7.json'), '"lo');
  await schemasOf(folder, ['"int"']).load([SEVEN], quiet);
  const later = schemasOf(folder, []);
  await later.load([SEVEN], quiet);
  expect(later.schema(SEVEN)).toBe('int');
});
