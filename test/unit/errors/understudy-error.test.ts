import { expect, it } from 'vitest';
import { CODES } from '../../../src/errors/codes.ts';
import { isUnderstudyError, UnderstudyError } from '../../../src/errors/understudy-error.ts';

const PLACED = new UnderstudyError('RECORD_CORRUPT', 'the record is not JSON', {
  ...{ topic: 'p.public.orders', partition: 2, offset: 2n ** 60n, table: 'public.orders' },
  ...{ column: 'note', key: '7', database: 'shop', detail: 'at byte 3' },
});

it('says what happened, where, and what to do, in one line', () => {
  expect(PLACED.describe()).toBe(
    'RECORD_CORRUPT: the record is not JSON (database shop, topic p.public.orders, partition 2, ' +
      'offset 1152921504606846976, table public.orders, column note, key 7): at byte 3. ' +
      'Look at the record in Kafka; its position was not passed.',
  );
  expect(new UnderstudyError('USAGE', 'what?').describe()).toBe(
    'USAGE: what?. Run the command with --help for its arguments.',
  );
});

it('says the same as JSON, with exact offsets and without its cause', () => {
  const cause = new Error('hunter2');
  const error = new UnderstudyError('APPLY_FAILED', 'refused', { offset: 2n ** 60n }, cause);
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    code: 'APPLY_FAILED',
    message: 'refused',
    offset: '1152921504606846976',
    cure: CODES.APPLY_FAILED.cure,
  });
  expect(error.cause).toBe(cause);
});

it('is told by its code', () => {
  expect(isUnderstudyError(PLACED)).toBe(true);
  expect(isUnderstudyError(PLACED, 'USAGE', 'RECORD_CORRUPT')).toBe(true);
  expect(isUnderstudyError(PLACED, 'USAGE')).toBe(false);
  expect(isUnderstudyError(new Error('RECORD_CORRUPT'))).toBe(false);
  expect(PLACED).toMatchObject({ exit: 6, retry: 'never' });
});

it.each(Object.entries(CODES))('%s has a cure of one sentence', (_, { cure }) => {
  expect(cure).toMatch(/^[A-Z].*\.$/);
});
