/** Which transactions a backup holds that was recovered to an LSN, by what the log tells of them. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { DecodedRecord, RowChange } from '../../src/change/record.ts';
import { readBackup } from '../../src/dialect/postgres/production/backup-reading.ts';
import { parseSnapshot } from '../../src/dialect/postgres/production/snapshot.ts';
import { boundary, changeEvent } from '../support/change-events.ts';

interface Transaction {
  readonly xid: number;
  readonly commit: bigint;
  readonly rows: readonly RowChange[];
}

/** In the order of commits. Ids are in the order in which they began, near the end of an epoch. */
const streams = fc
  .array(
    fc.record({
      began: fc.integer({ min: 0, max: 200 }),
      rows: fc.array(fc.record({ part: fc.nat(2), back: fc.nat(60) }), {
        minLength: 1,
        maxLength: 4,
      }),
      gap: fc.integer({ min: 1, max: 30 }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((drawn): readonly Transaction[] => {
    const ids = drawn
      .map(({ began }, i) => ({ began, i }))
      .toSorted((a, b) => a.began - b.began || a.i - b.i);
    const xids = new Map(ids.map(({ i }, nth) => [i, (2 ** 32 - 6 + nth * 3) % 2 ** 32]));
    let commit = 1_000n;
    let last: bigint | null = null;
    return drawn.map(({ rows, gap }, i) => {
      const [xid, before] = [xids.get(i) ?? 0, last];
      commit += 100n + BigInt(gap);
      last = commit;
      const changes = rows.map(({ part, back }) => {
        const lsn = commit - 10n - BigInt(back) * 5n;
        const table = `t${part}`;
        const tx = { id: String(xid), totalOrder: 1 };
        const made = changeEvent({ op: 'create', table, topic: `p.public.${table}`, lsn, tx });
        return { ...made, source: { ...made.source, lastCommitLsn: before } } as RowChange;
      });
      return { xid, commit, rows: changes };
    });
  });

const lsnText = (lsn: bigint): string => `0/${lsn.toString(16)}`;

/** Partition by partition, as they may well be read. */
function recordsOf(all: readonly Transaction[], ends: boolean): readonly DecodedRecord[] {
  const rows = all.flatMap((transaction) => transaction.rows);
  const parts = ['t0', 't1', 't2'].map((name) => rows.filter(({ table }) => table.name === name));
  const told = all.map(({ xid, commit }, i) => ({
    ...boundary('end', String(xid), i),
    committedAt: commit,
  }));
  return [...parts.flat(), ...(ends ? told : [])];
}

test('a backup holds what had committed by its LSN, and nothing else', () => {
  fc.assert(
    fc.property(streams, fc.integer({ min: 900, max: 3_500 }), fc.boolean(), (all, at, ends) => {
      const commits = all.map(({ commit }) => commit);
      // A backup ends behind a record: mostly at a commit.
      const place = [...commits, BigInt(at)][at % (commits.length + 1)] ?? 0n;
      const reading = readBackup(lsnText(place));
      for (const record of recordsOf(all, ends)) reading.take(record);
      const seen = parseSnapshot(reading.view().snapshot);
      for (const [i, { xid, commit, rows }] of all.entries()) {
        const held = commit <= place;
        // Without ENDs the next one tells its commit; of the last one nothing does.
        if (held && !ends && i === all.length - 1) continue;
        expect(seen.seesTransaction(String(xid))).toBe(held);
        for (const { source } of rows) expect(seen.sees(source)).toBe(held);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('nothing is taken for held that had not committed, though messages lie between', () => {
  fc.assert(
    fc.property(streams, fc.nat(60), fc.boolean(), (all, shift, ends) => {
      // A message between two commits becomes the last commit of what follows.
      const moved = all.map(({ rows, ...rest }) => ({
        ...rest,
        rows: rows.map((row) => {
          const { lastCommitLsn = null, ...source } = row.source as {
            lastCommitLsn?: bigint | null;
          };
          const last = lastCommitLsn === null ? null : lastCommitLsn + BigInt(shift);
          return { ...row, source: { ...source, lastCommitLsn: last } } as RowChange;
        }),
      }));
      for (const { commit } of all) {
        for (const place of [commit - 1n, commit, commit + BigInt(shift)]) {
          const reading = readBackup(lsnText(place));
          for (const record of recordsOf(moved, ends)) reading.take(record);
          const seen = parseSnapshot(reading.view().snapshot);
          const beyond = all.filter((one) => one.commit > place);
          const held = beyond.filter(({ xid }) => seen.seesTransaction(String(xid)) !== false);
          expect(held).toEqual([]);
        }
      }
    }),
    { numRuns: 500 },
  );
});
