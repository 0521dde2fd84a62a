import { describe, expect, test } from 'vitest';
import { parseSnapshot, widen } from '../../../../src/dialect/postgres/production/snapshot.ts';

const WRAP = 1n << 32n;

describe('widen', () => {
  test('keeps an id of the same epoch', () => {
    expect(widen(100, 105n)).toBe(100n);
    expect(widen(110, 105n)).toBe(110n);
    expect(widen(7, 3n * WRAP + 9n)).toBe(3n * WRAP + 7n);
  });

  test('takes the epoch before for an id that was given out before the wrap', () => {
    expect(widen(4_294_966_000, 3n * WRAP + 50n)).toBe(3n * WRAP - 1_296n);
  });

  test('takes the epoch after for an id that is given out after the wrap', () => {
    expect(widen(12, 4n * WRAP - 5n)).toBe(4n * WRAP + 12n);
  });

  test('at the edges of half a circle stays within it', () => {
    expect(widen(0, 1n << 31n)).toBe(0n);
    expect(widen((1 << 30) * 2, WRAP)).toBe(WRAP - (1n << 31n));
  });
});

describe('a snapshot', () => {
  test('sees what ended before it and nothing that ran or came later', () => {
    const view = parseSnapshot('100:104:100,102');
    expect([99, 100, 101, 102, 103, 104, 105].map((xid) => view.visible(xid))).toEqual([
      ...[true, false, true, false, true, false, false],
    ]);
  });

  test('is complete up to just before its oldest running transaction', () => {
    const view = parseSnapshot('100:104:101,102');
    expect([99, 100, 101, 102, 103, 104].map((xid) => view.complete(xid))).toEqual([
      ...[true, true, false, false, false, false],
    ]);
    expect(parseSnapshot('104:104:').complete(103)).toBe(true);
    expect(parseSnapshot('104:104:').complete(104)).toBe(false);
  });

  test('across the wrap of 32-bit ids sees the old epoch as past, the new one as it is', () => {
    const wrapped = 4n * WRAP;
    const view = parseSnapshot(`${wrapped - 2n}:${wrapped + 3n}:${wrapped - 2n},${wrapped + 1n}`);
    expect(view.visible(4_294_967_293)).toBe(true);
    expect(view.visible(4_294_967_294)).toBe(false);
    expect(view.visible(4_294_967_295)).toBe(true);
    expect(view.visible(0)).toBe(true);
    expect(view.visible(1)).toBe(false);
    expect(view.visible(2)).toBe(true);
    expect(view.visible(3)).toBe(false);
  });

  test.each(['', '1:2', '1:2:3,', 'a:b:c', '1:2:-3', '1:2:3;4'])(
    'is never guessed from %j',
    (text) => {
      expect(() => parseSnapshot(text)).toThrow(
        expect.objectContaining({ code: 'MANIFEST_INVALID' }),
      );
    },
  );
});
