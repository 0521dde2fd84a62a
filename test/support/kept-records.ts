/** What a dead letter box keeps of the records of its letters, whatever the engine. */
import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import type { DeadLetterBox } from '../../src/dialect/dead-letters.ts';
import type { Fence } from '../../src/dialect/dialect.ts';

/**
 * There must be one letter with at least two events. It is discarded. `count`: rows that the database
 * holds of what is kept. Gives how many it holds in the end.
 */
export async function keepAndDiscard(
  { deadLetters: box }: { readonly deadLetters: DeadLetterBox },
  fence: Fence,
  count: () => Promise<number>,
): Promise<number> {
  const [letter] = await box.list();
  const id = letter?.id ?? '';
  const [one, two] = await box.queue([id]);
  if (one === undefined || two === undefined) throw new Error('there are no two events');
  expect(await box.unkept(1)).toEqual([one]);
  expect(await box.unkept(10)).toEqual(await box.queue([id]));
  expect(await box.kept(one)).toBeNull();
  // More than one statement's worth of bytes, none of which may be taken for text.
  const bytes = Buffer.concat([Buffer.from(`'"\\\0?$1`), randomBytes(2_500_000)]);
  const first = { at: one, sealed: { keyId: '0123456789ab', bytes }, why: null };
  const second = { at: two, sealed: null, why: `it's "gone"` };
  const elsewhere = { ...first, at: { ...one, offset: one.offset + 1_000_000n } };
  await box.keep(fence, [first, second, elsewhere]);
  expect(await box.kept(one)).toEqual(first);
  expect(await box.kept(two)).toEqual(second);
  expect(await box.kept(elsewhere.at)).toBeNull();
  expect(await box.unkept(10)).toEqual((await box.queue([id])).slice(2));
  // What is kept stays as it was first.
  await box.keep(fence, [{ ...first, sealed: { keyId: 'ffffffffffff', bytes: randomBytes(3) } }]);
  expect(await box.kept(one)).toEqual(first);
  expect(await count()).toBe(4);
  expect(await box.discard(fence, [id])).toBe(1);
  return await count();
}
