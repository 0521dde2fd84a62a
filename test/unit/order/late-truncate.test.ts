/** A truncate that a producer sent after rows of other partitions that production wrote after it. */
import { expect, it } from 'vitest';
import { partitionKey } from '../../../src/change/position.ts';
import type { ChangeEvent } from '../../../src/change/record.ts';
import { connectorNamed } from '../../../src/decode/connectors/connectors.ts';
import { TransactionAssembler } from '../../../src/order/assembler.ts';
import { changeEvent, image } from '../../support/change-events.ts';

const TOPIC = 'p.public.t';

function assembler(ends: readonly bigint[], goesOn = false): TransactionAssembler {
  const { compare } = connectorNamed('postgresql');
  const told = ends.map((end, i) => [partitionKey(TOPIC, i), end] as const);
  return new TransactionAssembler({
    ...{ mode: 'key', isSubscribed: () => true },
    sourceOrder: {
      isBefore: (a, b) => compare(a, b) === 'before',
      ...{ ends: () => Promise.resolve(new Map(told)), from: new Map(), transactionsToo: false },
      goesOn,
    },
  });
}

const row = (partition: number, offset: number, lsn: bigint): ChangeEvent =>
  changeEvent({
    ...{ op: 'create', topic: TOPIC, partition, offset, lsn },
    ...{ key: image({ id: `${partition}-${offset}` }), after: image({ id: 'x' }) },
  });

const truncate = (partition: number, offset: number, lsn: bigint): ChangeEvent =>
  changeEvent({ op: 'truncate', topic: TOPIC, partition, offset, lsn, key: null });

/** Of the next so many changes that go: is each called late? */
async function gone(from: TransactionAssembler, changes: number): Promise<readonly boolean[]> {
  const late: boolean[] = [];
  const take = (): number => {
    for (let one = from.take(); one !== undefined; one = from.take()) {
      const { isLate = false } = one;
      late.push(...one.changes.map(() => isLate));
    }
    return late.length;
  };
  await expect.poll(take).toBe(changes);
  return late;
}

it('is told, since it would take rows of after it along', async () => {
  const late = assembler([0n, 1n]);
  late.push(row(1, 0, 20n));
  expect(await gone(late, 1)).toEqual([false]);
  late.push(truncate(0, 0, 10n));
  late.push(row(0, 1, 30n));
  // By itself: what comes next goes with what is behind it.
  expect(await gone(late, 2)).toEqual([true, false]);
});

it('is not where it is in its place, or comes a second time', async () => {
  const inTime = assembler([1n, 1n]);
  inTime.push(row(1, 0, 5n));
  inTime.push(truncate(0, 0, 10n));
  inTime.push(row(1, 1, 20n));
  expect(await gone(inTime, 3)).toEqual([false, false, false]);
  inTime.push(truncate(0, 1, 10n));
  expect(await gone(inTime, 0)).toEqual([]);
});

it('is told where rows may have gone before a restart, for nobody knows which', async () => {
  for (const goesOn of [true, false]) {
    const restarted = assembler([0n, 0n], goesOn);
    restarted.push(truncate(0, 0, 10n));
    expect(await gone(restarted, 1)).toEqual([goesOn]);
  }
});

it('goes when it has waited for long, though others go before it all the time', async () => {
  let now = 0;
  const { compare } = connectorNamed('postgresql');
  const stalled = new TransactionAssembler({
    ...{ mode: 'key', isSubscribed: () => true, stallLimitMs: 60_000, now: () => now },
    sourceOrder: {
      isBefore: (a, b) => compare(a, b) === 'before',
      // Of another partition something is still to come, and does not.
      ends: () => Promise.resolve(new Map([0, 1].map((i) => [partitionKey(TOPIC, i), 9n]))),
      ...{ from: new Map(), transactionsToo: false, goesOn: true },
    },
  });
  stalled.push(truncate(0, 0, 10n));
  const went: string[] = [];
  for (; now < 120_000 && !went.includes('truncate'); now += 1_000) {
    const other = { op: 'create', table: 'other', topic: 'p.public.other' } as const;
    const id = { key: image({ id: String(now) }), after: image({ id: String(now) }) };
    stalled.push(changeEvent({ ...other, offset: now / 1_000, lsn: BigInt(now), ...id }));
    for (let one = stalled.take(); one !== undefined; one = stalled.take()) {
      went.push(...one.changes.map(({ op }) => op));
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(went).toContain('truncate');
});
