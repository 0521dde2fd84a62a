/** A truncate that a producer sent after rows of other partitions that production wrote after it. */
import { expect, it } from 'vitest';
import { partitionKey } from '../../../src/change/position.ts';
import type { ChangeEvent } from '../../../src/change/record.ts';
import { connectorNamed } from '../../../src/decode/connectors/connectors.ts';
import { TransactionAssembler } from '../../../src/order/assembler.ts';
import { changeEvent, image } from '../../support/change-events.ts';

const TOPIC = 'p.public.t';

function assembler(ends: readonly bigint[], lsn: bigint | null = null): TransactionAssembler {
  const { compare } = connectorNamed('postgresql');
  const told = ends.map((end, i) => [partitionKey(TOPIC, i), end] as const);
  return new TransactionAssembler({
    ...{ mode: 'key', isSubscribed: () => true },
    sourceOrder: {
      isBefore: (a, b) => compare(a, b) === 'before',
      ...{ ends: () => Promise.resolve(new Map(told)), from: new Map(), transactionsToo: false },
      applied: lsn === null ? null : row(0, 0, lsn).source,
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

it('is told where rows of after it may have gone before a restart', async () => {
  for (const [applied, isLate] of [
    [20n, true],
    [5n, false],
  ] as const) {
    const restarted = assembler([0n, 0n], applied);
    restarted.push(truncate(0, 0, 10n));
    expect(await gone(restarted, 1)).toEqual([isLate]);
  }
});
