import { expect, test } from 'vitest';
import { parseSnapshot } from '../../../src/dialect/postgres/production/snapshot.ts';
import { DeferralFilter } from '../../../src/drift/deferral.ts';
import { unread } from '../../support/change-events.ts';
import { sampleChange } from '../../support/change-samples.ts';

const filter = (): DeferralFilter => new DeferralFilter(parseSnapshot('100:104:100'), 1_000n);

test('what the snapshot saw is applied, what it did not see waits', () => {
  const deferral = filter();
  const decide = (txId: number): string => deferral.decide(sampleChange({ txId }));
  expect([99, 100, 101, 103, 104, 200].map(decide)).toEqual([
    ...['apply', 'defer', 'apply', 'apply', 'defer', 'defer'],
  ]);
  expect(deferral.doubts()).toEqual([]);
});

test('a truncate of an unseen transaction waits like any change', () => {
  const change = sampleChange({ op: 'truncate', key: null, after: null, txId: 100 });
  expect(filter().decide(change)).toBe('defer');
});

test('incremental snapshot reads are applied, but leave the comparison in doubt', () => {
  const deferral = filter();
  const read = sampleChange({ op: 'read', snapshot: 'incremental', txId: null, lsn: null });
  expect(deferral.decide(read)).toBe('apply');
  deferral.decide(read);
  expect(deferral.doubts()).toMatchObject([
    { code: 'incremental-snapshot-in-window', table: null },
  ]);
  expect(deferral.doubts()[0]?.message).toMatch(/^2 /);
});

test('a connector snapshot read before the pin is no doubt, one read after it is', () => {
  const earlier = filter();
  earlier.decide(sampleChange({ op: 'read', snapshot: 'initial', txId: 50, lsn: 999n }));
  expect(earlier.doubts()).toEqual([]);
  for (const lsn of [1_000n, null]) {
    const later = filter();
    expect(later.decide(sampleChange({ op: 'read', snapshot: 'initial', lsn }))).toBe('apply');
    expect(later.doubts()).toMatchObject([{ code: 'initial-snapshot-in-window' }]);
  }
});

test('a change without transaction id is never taken for a visible one in silence', () => {
  const deferral = filter();
  deferral.decide(sampleChange({ txId: null }));
  expect(deferral.doubts()).toMatchObject([{ code: 'change-without-transaction' }]);
});

test('what could not be read is applied, which sets it aside, and casts no doubt on other tables', () => {
  const deferral = filter();
  expect(deferral.decide(unread(sampleChange({ txId: 100 })))).toBe('apply');
  expect(deferral.doubts()).toEqual([]);
});
