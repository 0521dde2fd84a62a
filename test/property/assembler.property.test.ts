import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { DecodedRecord } from '../../src/change/record.ts';
import { partitionKey } from '../../src/change/position.ts';
import { TransactionAssembler } from '../../src/order/assembler.ts';
import type { Release } from '../../src/order/release.ts';
import { boundary, changeEvent, image } from '../support/change-events.ts';

/** Per transaction the partition of each of its events; `null` stands for a lone event. */
const transactions = fc.array(
  fc.record({
    partitions: fc.array(fc.nat(3), { maxLength: 5 }),
    loose: fc.option(fc.nat(3), { nil: null }),
    /** The connector goes back and delivers this and the transaction before it once more. */
    again: fc.boolean(),
  }),
  { maxLength: 12 },
);

interface World {
  /** The log: partition key → records in offset order. */
  readonly log: ReadonlyMap<string, readonly DecodedRecord[]>;
  /** `id/totalOrder` of every event in commit order; loose ones apart. */
  readonly committed: readonly string[];
  readonly loose: number;
}

type Plan = readonly {
  readonly partitions: readonly number[];
  readonly loose: number | null;
  readonly again: boolean;
}[];

function worldOf(plan: Plan): World {
  const log = new Map<string, DecodedRecord[]>();
  const append = (partition: number): { offset: number; lane: DecodedRecord[] } => {
    const key = partition < 0 ? 'p.transaction/0' : partitionKey('p.public.t', partition);
    const lane = log.get(key) ?? [];
    log.set(key, lane);
    return { offset: lane.length, lane };
  };
  const deliver = (index: number): void => {
    const { partitions } = plan[index] ?? { partitions: [] };
    const id = String(index + 1);
    const begin = append(-1);
    begin.lane.push(boundary('begin', id, begin.offset));
    partitions.forEach((partition, i) => {
      const { offset, lane } = append(partition);
      const key = image({ id: `${id}/${i + 1}` });
      lane.push(
        changeEvent({
          op: 'create',
          partition,
          offset,
          key,
          after: key,
          tx: { id, totalOrder: i + 1 },
        }),
      );
    });
    const end = append(-1);
    // A collection that nobody reads never reaches its count.
    const counts = { 'public.t': partitions.length, 'public.other': 3 };
    end.lane.push(boundary('end', id, end.offset, counts));
  };
  let loose = 0;
  plan.forEach((transaction, index) => {
    deliver(index);
    if (transaction.again) {
      if (index > 0) deliver(index - 1);
      deliver(index);
    }
    if (transaction.loose !== null) {
      const { offset, lane } = append(transaction.loose);
      lane.push(changeEvent({ op: 'read', partition: transaction.loose, offset }));
      loose += 1;
    }
  });
  const committed = plan.flatMap(({ partitions }, index) =>
    partitions.map((_, i) => `${index + 1}/${i + 1}`),
  );
  return { log, committed, loose };
}

/** Feeds the log from a position in an order that keeps each partition's own. */
function play(
  world: World,
  from: ReadonlyMap<string, bigint>,
  picks: readonly number[],
  onRelease: (release: Release) => boolean,
): TransactionAssembler {
  const assembler = new TransactionAssembler({
    mode: 'transaction',
    isSubscribed: (collection) => collection === 'public.t',
    now: () => 0,
  });
  const cursors = [...world.log].map(([key, records]) => ({
    records,
    next: Number(from.get(key) ?? 0n),
  }));
  for (let turn = 0; ; turn += 1) {
    const open = cursors.filter(({ records, next }) => next < records.length);
    const cursor = open[(picks[turn % picks.length] ?? 0) % open.length];
    const record = cursor?.records[cursor.next];
    if (cursor === undefined || record === undefined) return assembler;
    cursor.next += 1;
    assembler.push(record);
    for (let release = assembler.take(); release !== undefined; release = assembler.take()) {
      if (!onRelease(release)) return assembler;
    }
  }
}

const picking = fc.array(fc.nat(7), { minLength: 1, maxLength: 40 });

test('releases are whole transactions, in commit order, each event once, at prefix cuts', () => {
  fc.assert(
    fc.property(transactions, picking, (plan, picks) => {
      const world = worldOf(plan);
      const order: string[] = [];
      let loose = 0;
      const offsets = new Map<string, bigint>();
      const assembler = play(world, new Map(), picks, (release) => {
        expect(release.complete).toBe(true);
        for (const [key, next] of release.offsets) {
          expect(next).toBeGreaterThan(offsets.get(key) ?? 0n);
          offsets.set(key, next);
        }
        if (release.transactionId === null) {
          loose += release.changes.length;
          return true;
        }
        const size = plan[Number(release.transactionId) - 1]?.partitions.length;
        // All of it, or nothing of a second delivery.
        expect([0, size]).toContain(release.changes.length);
        for (const { transaction } of release.changes) {
          order.push(`${transaction?.id}/${transaction?.totalOrder}`);
        }
        return true;
      });
      expect(order).toEqual(world.committed);
      expect(loose).toBe(world.loose);
      for (const [key, records] of world.log) {
        expect(offsets.get(key)).toBe(BigInt(records.length));
      }
      expect(assembler.held()).toMatchObject({ transactions: 0, events: 0, bytes: 0 });
    }),
    { numRuns: 400 },
  );
});

test('from the position of any release, a new assembler goes on with nothing lost', () => {
  fc.assert(
    fc.property(transactions, picking, picking, fc.nat(20), (plan, picks, again, stopAfter) => {
      // Second deliveries are known by what was released before, which a restart forgets.
      const world = worldOf(plan.map((transaction) => ({ ...transaction, again: false })));
      const order: string[] = [];
      const offsets = new Map<string, bigint>();
      const note = (release: Release): void => {
        for (const [key, next] of release.offsets) offsets.set(key, next);
        if (release.transactionId === null) return;
        for (const { transaction } of release.changes) {
          order.push(`${transaction?.id}/${transaction?.totalOrder}`);
        }
      };
      let releases = 0;
      play(world, new Map(), picks, (release) => {
        note(release);
        releases += 1;
        return releases <= stopAfter;
      });
      play(world, new Map(offsets), again, (release) => {
        expect(release.complete).toBe(true);
        note(release);
        return true;
      });
      expect(order).toEqual(world.committed);
      for (const [key, records] of world.log) {
        expect(offsets.get(key)).toBe(BigInt(records.length));
      }
    }),
    { numRuns: 400 },
  );
});
