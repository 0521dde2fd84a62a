import { expect, test } from 'vitest';
import { diagnoseKeys } from '../../../src/doctor/foreign-keys.ts';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { assertKeysAlike } from '../../../src/runtime/foreign-keys.ts';
import type { ForeignKey, SchemaCatalogue } from '../../../src/schema/table-schema.ts';
import { textTable } from '../../support/change-events.ts';

type Context = Parameters<typeof assertKeysAlike>[0];
type Production = NonNullable<Awaited<ReturnType<Context['production']>>>;

/** `line` refers to `order`, whose deletes take its rows along, seen in the log or not. */
function shop(isLogged: boolean, key = 'line_order'): SchemaCatalogue {
  const keys: ForeignKey[] = [
    {
      ...{ name: key, columns: ['order'], referencedColumns: ['id'] },
      references: { schema: 'public', name: 'order' },
      ...(!isLogged && { unlogged: { onDelete: true, onUpdate: false } }),
    },
  ];
  return new Map([
    ['public.line', { ...textTable('line', ['id', 'order']), foreignKeys: keys }],
    ['public.order', textTable('order', ['id'])],
  ]);
}

function check(
  ours: SchemaCatalogue,
  theirs: SchemaCatalogue | UnderstudyError,
  consistency: 'transaction' | 'key' = 'transaction',
): Promise<void> {
  const catalogue =
    theirs instanceof UnderstudyError
      ? () => Promise.reject(theirs)
      : () => Promise.resolve(theirs);
  const context = {
    config: { consistency } as Context['config'],
    production: () => Promise.resolve({ catalogue } as Production),
    logger: silentLogger,
  };
  return assertKeysAlike(context, { name: 'copy', catalogue: () => Promise.resolve(ours) });
}

test.each([
  ['logs what line_order', true],
  ['the shadow’s server logs', false],
])('nothing is applied where only one server %s', async (_, isLogged) => {
  await expect(check(shop(!isLogged), shop(isLogged))).rejects.toMatchObject({
    ...{ code: 'FOREIGN_KEYS_UNLIKE', context: { database: 'copy', table: 'public.line' } },
  });
  expect(diagnoseKeys(shop(!isLogged), shop(isLogged))).toMatchObject([
    { id: 'table.cascades-unlike', level: 'error', table: { schema: 'public', name: 'line' } },
  ]);
});

test('keys that act alike, or are on one side only, keep nobody from following', async () => {
  for (const isLogged of [true, false]) {
    await check(shop(isLogged), shop(isLogged));
    await check(shop(isLogged), shop(!isLogged, 'another'));
    expect(diagnoseKeys(shop(isLogged), shop(isLogged))).toEqual([]);
  }
});

test('it matters only where keys are carried out, and production can be asked', async () => {
  await expect(check(shop(true), shop(false), 'key')).resolves.toBeUndefined();
  const away = new UnderstudyError('PRODUCTION_UNREACHABLE', 'it is away');
  await expect(check(shop(true), away)).resolves.toBeUndefined();
});
