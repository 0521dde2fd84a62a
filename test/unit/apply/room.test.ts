import { expect, test } from 'vitest';
import { MemoryCredit } from '../../../src/apply/memory-credit.ts';
import { makeRoom, readNeeded, type RoomOptions } from '../../../src/apply/room.ts';

const BUDGET = 1000;

/** What was paused last, and what is handed back. */
function stage(goesInParts: boolean) {
  const seen: { paused: readonly string[] | null; released: number } = {
    ...{ paused: null, released: 0 },
  };
  const credit = new MemoryCredit((bytes) => {
    seen.released += bytes;
  });
  const stream = {
    pause: (partitions: ReadonlySet<string>) => {
      seen.paused = [...partitions];
    },
    commit: () => Promise.resolve(),
  };
  const options: RoomOptions = {
    ...{ budgetBytes: BUDGET, mayStream: false, apart: new Set() },
    assembler: {
      ...{ goesInParts, ahead: () => new Set(['x/0']), stream: () => true },
      degrade: () => undefined,
    },
  };
  return { seen, credit, log: { credit, stream }, options };
}

test('what is ahead is paused while much is held, and read on when it is not', () => {
  const { seen, credit, log, options } = stage(false);
  credit.hold(BUDGET);
  expect(makeRoom(log, options)).toBe(false);
  expect(seen).toEqual({ paused: ['x/0'], released: BUDGET });
  credit.free(BUDGET / 2);
  readNeeded(log, options);
  expect(seen.paused).toEqual([]);
  // Also where nothing was applied, but let go.
  credit.hold(BUDGET / 2);
  makeRoom(log, options);
  expect(seen.paused).toEqual(['x/0']);
  credit.free(BUDGET);
  expect(makeRoom(log, options)).toBe(false);
  expect(seen.paused).toEqual([]);
});

test('nothing is paused while a transaction goes in parts, which its own partitions bring', () => {
  const { seen, credit, log, options } = stage(true);
  credit.hold(BUDGET * 2);
  expect(makeRoom(log, { ...options, mayStream: true })).toBe(true);
  expect(seen.paused).toEqual([]);
});
