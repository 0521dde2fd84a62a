import { expect, test } from 'vitest';
import type { RowChange } from '../../../../src/change/record.ts';
import { readBackup } from '../../../../src/dialect/mysql/production/backup-reading.ts';
import { parseSnapshot } from '../../../../src/dialect/mysql/production/binlog-view.ts';
import { changeEvent } from '../../../support/change-events.ts';

const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';

function change(pos: number, gtid: string | null, more: Partial<RowChange> = {}): RowChange {
  const source = {
    connector: 'mysql',
    file: 'binlog.000002',
    pos: BigInt(pos),
    row: 0,
    gtid,
  } as const;
  return { ...changeEvent({ op: 'create' }), source, eventTimeMs: pos, ...more };
}

test('by a place of the binlog it holds what lies before that', () => {
  const reading = readBackup('binlog.000002:500');
  for (const pos of [100, 499, 500, 700]) reading.take(change(pos, `${UUID}:${pos}`));
  const { snapshot, marker, reaches, latestMs } = reading.view();
  const seen = parseSnapshot(snapshot);
  expect([499, 500].map((pos) => seen.sees(change(pos, null).source))).toEqual([true, false]);
  expect({ marker, reaches, latestMs }).toEqual({
    marker: (2n << 40n) + 500n,
    reaches: true,
    latestMs: 499,
  });
});

test('by a place alone it knows which GTIDs it holds, since boundaries tell nothing else', () => {
  const reading = readBackup('binlog.000002:500');
  // Numbers need not grow along the binlog.
  for (const [pos, number] of [
    [100, 3],
    [200, 7],
    [400, 5],
    [500, 6],
    [700, 4],
    [900, 9],
  ] as const) {
    reading.take(change(pos, `${UUID}:${number}`));
    reading.take(change(pos, `${UUID}:tag:${number + 10}`));
  }
  const seen = parseSnapshot(reading.view().snapshot);
  const held = (prefix: string, ...numbers: readonly number[]): readonly unknown[] =>
    numbers.map((number) => seen.seesTransaction(`${prefix}:${number}`));
  expect(held(UUID, 3, 7, 5, 6, 4, 9)).toEqual([true, true, true, false, false, false]);
  expect(held(`${UUID}:tag`, 13, 17, 15, 16, 14, 19)).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
  ]);
  const maria = readBackup('binlog.000002:500');
  for (const pos of [100, 400, 500]) maria.take(change(pos, `0-1-${pos}`));
  const view = parseSnapshot(maria.view().snapshot);
  expect(['0-1-400', '0-1-500'].map((gtid) => view.seesTransaction(gtid))).toEqual([true, false]);
});

test('by GTIDs it holds exactly those, and the place follows from them', () => {
  const reading = readBackup(`${UUID}:1-5:7`);
  reading.take(change(100, `${UUID}:5`));
  reading.take(change(200, `${UUID}:6`));
  reading.take(change(300, `${UUID}:7`));
  const { snapshot, marker, reaches } = reading.view();
  const seen = parseSnapshot(snapshot);
  const held = [5, 6, 7, 8].map((n) => seen.seesTransaction(`${UUID}:${n}`));
  expect(held).toEqual([true, false, true, false]);
  expect({ marker, reaches }).toEqual({ marker: (2n << 40n) + 301n, reaches: true });
  expect(readBackup('0-1-12,1-1-3').view().snapshot).toBe('binlog.0:0 0-1-12,1-1-3');
  expect(readBackup(`binlog.000002:500\n${UUID}:1-5,\n${UUID}:7`).view().snapshot).toBe(
    `binlog.000002:500 ${UUID}:1-5,${UUID}:7`,
  );
});

test('a log that has only what is beyond the backup does not reach back to it', () => {
  const reading = readBackup('binlog.000002:500');
  reading.take(change(500, null));
  reading.take(change(600, null, { snapshot: 'initial' }));
  expect(reading.view()).toMatchObject({ reaches: false, latestMs: null });
  reading.take(change(499, null, { snapshot: 'initial' }));
  expect(reading.view()).toMatchObject({ reaches: true, latestMs: null });
});

test('refuses what is no place of a binlog', () => {
  for (const text of ['0/16B3740', 'binlog.000002', 'binlog.000002:x', 'nonsense', '   ']) {
    expect(() => readBackup(text)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID' }) as Error,
    );
  }
});
