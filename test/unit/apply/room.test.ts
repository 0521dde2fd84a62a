import { expect, test } from 'vitest';
import { MemoryCredit } from '../../../src/apply/memory-credit.ts';
import { Room } from '../../../src/apply/room.ts';

const BUDGET = 1000;

/** What was paused last, and what is handed back. */
function stage(goesInParts: boolean) {
  const seen: { paused: readonly string[] | null; released: number; least: number; now: number } = {
    ...{ paused: null, released: 0, least: 0, now: 0 },
  };
  const credit = new MemoryCredit((bytes) => {
    seen.released += bytes;
  });
  const room = new Room({
    ...{ credit, budgetBytes: BUDGET, apart: new Set(), now: () => seen.now },
    stream: {
      pause: (partitions: ReadonlySet<string>) => {
        seen.paused = [...partitions];
      },
    },
    assembler: {
      ...{ goesInParts, ahead: (which) => new Set(which === 'of all' ? ['x/0'] : []) },
      stream: (_, least) => {
        seen.least = least;
        return true;
      },
      degrade: () => undefined,
    },
  });
  return { seen, credit, room };
}

test('what is ahead is paused while much is held, and read on when it is not', () => {
  const { seen, credit, room } = stage(false);
  credit.hold(BUDGET);
  expect(room.make(false)).toBe(false);
  expect(seen).toMatchObject({ paused: ['x/0'], released: BUDGET });
  credit.free(BUDGET / 2);
  room.applied(1);
  expect(seen.paused).toEqual([]);
  // Also where nothing was applied, but let go.
  credit.hold(BUDGET / 2);
  room.make(false);
  expect(seen.paused).toEqual(['x/0']);
  credit.free(BUDGET);
  expect(room.make(false)).toBe(false);
  expect(seen.paused).toEqual([]);
});

test('nothing is paused for a writer that is only busy', () => {
  const { seen, credit, room } = stage(false);
  credit.hold(BUDGET);
  room.applied(1);
  expect(seen.paused).toBeNull();
});

test('nothing is paused while a transaction goes in parts, which its own partitions bring', () => {
  const { seen, credit, room } = stage(true);
  credit.hold(BUDGET * 2);
  expect(room.make(true)).toBe(true);
  expect(seen).toMatchObject({ paused: [], least: BUDGET / 2 });
});

test('what was paused for long in vain is read on, until little is held', () => {
  const { seen, credit, room } = stage(false);
  credit.hold(BUDGET);
  room.make(false);
  seen.now = 15_001;
  room.make(false);
  expect(seen.paused).toEqual([]);
  room.applied(1);
  room.make(false);
  expect(seen.paused).toEqual([]);
  credit.free(BUDGET / 2);
  room.applied(1);
  credit.hold(BUDGET / 2);
  room.make(false);
  expect(seen.paused).toEqual(['x/0']);
});

test('a mere move is none of what is waited for', () => {
  const { seen, credit, room } = stage(false);
  credit.hold(BUDGET);
  room.make(false);
  seen.now = 15_001;
  room.applied(0);
  room.make(false);
  expect(seen.paused).toEqual([]);
});
