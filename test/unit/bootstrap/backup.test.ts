import { expect, test } from 'vitest';
import { adoptBackup, type BackupParts } from '../../../src/bootstrap/backup.ts';
import type { DecodedRecord, RowChange } from '../../../src/change/record.ts';
import type { AdoptedBackup } from '../../../src/dialect/copying.ts';
import { readBackup } from '../../../src/dialect/postgres/production/backup-reading.ts';
import { parseSnapshot } from '../../../src/dialect/postgres/production/snapshot.ts';
import { boundary, changeEvent } from '../../support/change-events.ts';

const NOW = 1_000_000_000;
/** Of transaction n: its row at n * 100, its commit ends at n * 100 + 50, all at NOW - 1000 s + n s. */
function row(n: number, table = 'a', offset = n): RowChange {
  const tx = { id: String(n), totalOrder: 1 };
  const made = changeEvent({ op: 'create', table, offset, lsn: BigInt(n * 100), tx });
  const source = { ...made.source, lastCommitLsn: n === 1 ? null : BigInt(n * 100 - 50) };
  return { ...made, source, eventTimeMs: NOW - 1_000_000 + n * 1_000 };
}
const begin = (n: number): DecodedRecord => boundary('begin', String(n), n);

/** The backup is recovered to behind transaction 5. */
async function adopt(
  records: readonly DecodedRecord[],
  parts: Partial<Pick<BackupParts, 'starts' | 'settings'>> = {},
): Promise<AdoptedBackup> {
  const adopted: AdoptedBackup[] = [];
  const target = {
    adopt: (_: unknown, backup: AdoptedBackup) => {
      adopted.push(backup);
      return Promise.resolve();
    },
  } as unknown as BackupParts['target'];
  await adoptBackup({
    ...{ target, fence: {} as BackupParts['fence'], tables: [], snapshotView: parseSnapshot },
    ...{ reading: readBackup('0/226'), starts: new Map(), ends: new Map(), settings: [] },
    records: (async function* () {
      for (const record of records) yield await Promise.resolve(record);
    })(),
    now: () => NOW,
    ...parts,
  });
  const [backup] = adopted;
  if (backup === undefined) throw new Error('nothing was taken over');
  return backup;
}

const starts = (topic: string): OffsetStarts => new Map([[`${topic}/0`, 3n]]);
type OffsetStarts = ReadonlyMap<string, bigint>;
const unreached = { code: 'BACKUP_UNREACHED' };
const retention = (topic: string, retentionMs: number | null, retentionBytes: number | null) => [
  { topic, compacted: false, retentionMs, retentionBytes, uncleanElection: false },
];

test('takes over what had committed by the position', async () => {
  const { snapshot, marker } = await adopt([row(4), row(5), row(6), row(7)]);
  const seen = parseSnapshot(snapshot);
  expect([4, 5, 6, 7].map((n) => seen.visible(n))).toEqual([true, true, false, false]);
  expect(marker).toBe(0x226n);
});

test('refuses a log that begins behind the backup', async () => {
  await expect(adopt([row(6), row(7)])).rejects.toMatchObject(unreached);
  await expect(adopt([])).rejects.toMatchObject(unreached);
});

test('refuses a partition that lost records which the backup may lack', async () => {
  const a = [row(4), row(5), row(6), row(7)];
  await adopt([...a, row(4, 'b', 3)], { starts: starts('p.public.b') });
  await expect(
    adopt([...a, row(6, 'b', 3)], { starts: starts('p.public.b') }),
  ).rejects.toMatchObject({
    ...unreached,
    context: { topic: 'p.public.b', partition: 0, offset: 3n },
  });
  // Not the first one that tells decides, but the first of all.
  await expect(
    adopt([...a, row(6, 'b', 3), row(4, 'b', 4)], { starts: starts('p.public.b') }),
  ).rejects.toMatchObject(unreached);
  await expect(adopt(a, { starts: starts('p.public.b') })).rejects.toMatchObject(unreached);
});

test('boundaries tell as rows do, and topics of neither do not matter', async () => {
  const a = [row(4), row(5), row(6), row(7)];
  await adopt([...a, begin(5)], { starts: starts('p.transaction') });
  await expect(adopt([...a, begin(6)], { starts: starts('p.transaction') })).rejects.toMatchObject(
    unreached,
  );
  const at = { topic: 'beat', partition: 0, offset: 9n };
  await adopt([...a, { kind: 'heartbeat', at, eventTimeMs: 1 }], { starts: starts('beat') });
  await expect(
    adopt([...a, { kind: 'tombstone', at, eventTimeMs: 1 }], { starts: starts('beat') }),
  ).rejects.toMatchObject(unreached);
});

test('what retention takes is older than what the backup holds: then nothing is lost', async () => {
  const a = [row(4), row(5), row(6), row(7)];
  const of = (ms: number | null, bytes: number | null): ReturnType<typeof adopt> =>
    adopt(a, { starts: starts('p.public.b'), settings: retention('p.public.b', ms, bytes) });
  // Transaction 5, the last that the backup holds, is 995 s old; clocks may differ by a minute.
  await expect(of(1_100_000, null)).resolves.toMatchObject({ marker: 0x226n });
  await expect(of(1_000_000, null)).rejects.toMatchObject(unreached);
  await expect(of(1_100_000, 1_000)).rejects.toMatchObject(unreached);
  await expect(of(null, null)).rejects.toMatchObject(unreached);
});
