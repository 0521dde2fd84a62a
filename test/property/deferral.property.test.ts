import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseSnapshot } from '../../src/dialect/postgres/production/snapshot.ts';
import { DeferralFilter } from '../../src/drift/deferral.ts';
import { sampleChange } from '../support/change-samples.ts';
import { RowShape } from '../../src/change/value.ts';
import type { ChangeEvent } from '../../src/change/record.ts';

/**
 * A model of a database with row locks in which a transaction is in the log (committed) some time
 * before snapshots see it, and keeps its locks until then. The snapshot is taken in between.
 */
interface Step {
  readonly row: number;
  /** How many steps later the transaction leaves the list of running ones. */
  readonly lingers: number;
}

const KEY = new RowShape(['id']);
const ROW = new RowShape(['id', 'value']);

interface History {
  readonly log: readonly ChangeEvent[];
  readonly snapshot: string;
  /** What the snapshot really sees. */
  readonly seen: ReadonlyMap<string, string>;
}

function play(steps: readonly Step[], snapshotAt: number, firstXid: number): History {
  const running = new Map<number, { readonly row: number; readonly until: number }>();
  const log: ChangeEvent[] = [];
  const values = new Map<string, { readonly value: string; readonly xid: number }[]>();
  let history: History | null = null;
  let xid = firstXid;
  const take = (): History => {
    const xips = [...running.keys()].sort((a, b) => a - b);
    const seen = new Map<string, string>();
    for (const [row, versions] of values) {
      const visible = versions.findLast((version) => !running.has(version.xid));
      if (visible !== undefined) seen.set(row, visible.value);
    }
    return { log, snapshot: `${xips[0] ?? xid}:${xid}:${xips.join(',')}`, seen };
  };
  for (const [i, step] of steps.entries()) {
    for (const [id, { until }] of running) if (until <= i) running.delete(id);
    if (i === snapshotAt) history = take();
    // A row locked by a transaction that still counts as running makes the next writer wait.
    for (const [id, { row }] of running) if (row === step.row) running.delete(id);
    const row = String(step.row);
    const value = `${xid}`;
    values.set(row, [...(values.get(row) ?? []), { value, xid }]);
    log.push(
      sampleChange({
        txId: xid % 2 ** 32,
        lsn: BigInt(i),
        key: { shape: KEY, values: [row] },
        after: { shape: ROW, values: [row, value] },
      }),
    );
    if (step.lingers > 0) running.set(xid, { row: step.row, until: i + step.lingers });
    xid += 1;
  }
  return history ?? take();
}

function sorted(state: ReadonlyMap<string, string>): readonly string[] {
  return [...state].map(([row, value]) => `${row} ${value}`).sort();
}

function apply(state: Map<string, string>, change: ChangeEvent): void {
  state.set(String(change.key?.values[0]), String(change.after?.values[1]));
}

test('visible first equals the snapshot; then the deferred in log order equals the log', () => {
  const steps = fc.array(
    fc.record({ row: fc.nat(4), lingers: fc.oneof(fc.constant(0), fc.nat(6)) }),
    { minLength: 1, maxLength: 60 },
  );
  // Also across the wrap of 32-bit ids.
  const first = fc.constantFrom(1_000, 2 ** 32 - 20, 3 * 2 ** 32 - 5);
  fc.assert(
    fc.property(steps, fc.nat(60), first, (all, at, firstXid) => {
      const history = play(all, Math.min(at, all.length), firstXid);
      const filter = new DeferralFilter(parseSnapshot(history.snapshot), 0n);
      const state = new Map<string, string>();
      const deferred: ChangeEvent[] = [];
      for (const change of history.log) {
        if (filter.decide(change) === 'apply') apply(state, change);
        else deferred.push(change);
      }
      expect(sorted(state)).toEqual(sorted(history.seen));
      for (const change of deferred) apply(state, change);
      const inOrder = new Map<string, string>();
      for (const change of history.log) apply(inOrder, change);
      expect(sorted(state)).toEqual(sorted(inOrder));
      expect(filter.doubts()).toEqual([]);
    }),
    { numRuns: 500 },
  );
});
