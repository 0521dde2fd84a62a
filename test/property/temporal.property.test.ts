/** Times are the same whether their number is a JavaScript number or a bigint. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dateText, timestampText, timeText } from '../../src/decode/types/temporal.ts';

const number = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer(),
  fc.integer({ min: -200_000, max: 200_000 }).map((days) => days * 86_400_000),
  fc.integer({ min: -100_000, max: 100_000 }).map((days) => days * 86_400_000_000 - 1),
  fc.integer().map((thousands) => thousands * 1000),
);
const unit = fc.constantFrom('ms', 'us', 'ns');

test.each([
  ['a timestamp', timestampText],
  ['a time', timeText],
  ['a date', dateText],
])('%s', (_name, toText) => {
  fc.assert(
    fc.property(number, unit, (value, of) => {
      expect(outcome(() => toText(value, of))).toBe(outcome(() => toText(BigInt(value), of)));
    }),
    { numRuns: 3000 },
  );
});

function outcome(act: () => string): string {
  try {
    return act();
  } catch (error) {
    return (error as Error).message;
  }
}
