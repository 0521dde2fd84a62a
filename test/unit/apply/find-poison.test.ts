import { expect, test } from 'vitest';
import { findPoison, type Unit } from '../../../src/apply/find-poison.ts';

const units = (n: number): readonly Unit<number>[] =>
  Array.from({ length: n }, (_, i) => ({
    changes: [i * 10, i * 10 + 1, i * 10 + 2],
    single: true,
  }));

/** Refused while one of `bad` is in, or only one of a pair that needs each other. */
function refusedBy(bad: readonly number[], pair: readonly number[] = []) {
  const asked = { times: 0 };
  const refused = (without: ReadonlySet<number>): Promise<string | null> => {
    asked.times += 1;
    const found = bad.find((change) => !without.has(change));
    const half = pair.some((change) => without.has(change)) && pair.some((c) => !without.has(c));
    return Promise.resolve(found === undefined ? (half ? 'half' : null) : `refused ${found}`);
  };
  return { asked, refused };
}

test('names the first change that is refused, in few attempts', async () => {
  const { asked, refused } = refusedBy([421]);
  expect(await findPoison(units(1_000), refused)).toEqual([
    { change: 421, refusal: 'refused 421' },
  ]);
  expect(asked.times).toBeLessThan(40);
});

test('finds several, and leaves two that need each other in', async () => {
  const { refused } = refusedBy([30, 71], [0, 92]);
  const found = await findPoison(units(10), refused);
  expect(found?.map(({ change }) => change)).toEqual([30, 71]);
});

test('takes a unit whose keys change as a whole', async () => {
  const { refused } = refusedBy([12]);
  const found = await findPoison([...units(1), { changes: [10, 11, 12], single: false }], refused);
  expect(found).toEqual([{ change: 10, refusal: 'refused 12' }]);
});

test('knows nothing where all is refused without any unit', async () => {
  expect(await findPoison(units(3), () => Promise.resolve('no'))).toBeNull();
});
