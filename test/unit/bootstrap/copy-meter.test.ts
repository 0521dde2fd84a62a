import { expect, onTestFinished, test, vi } from 'vitest';
import { CopyMeter, type BootstrapProgress } from '../../../src/bootstrap/copy-meter.ts';

function meter(): { readonly meter: CopyMeter; readonly told: BootstrapProgress[] } {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const told: BootstrapProgress[] = [];
  const made = new CopyMeter((progress) => told.push(progress));
  made.enter('copying');
  const table = { table: { schema: 'public', name: 't' }, snapshot: '1:1:', marker: 1n };
  made.start(
    {
      ...{ startedAt: new Date(), mark: '1', only: null, ends: null },
      tables: [
        { ...table, done: true, ranges: 1, rangesDone: 1, rows: 10, bytes: 100, bytesDone: 100 },
        { ...table, done: false, ranges: 2, rangesDone: 0, rows: 0, bytes: 900, bytesDone: 0 },
      ],
    },
    2,
  );
  return { meter: made, told };
}

test('rate and remaining time are of what was copied since the copy began', () => {
  const { meter: counted, told } = meter();
  expect(told.at(-1)).toMatchObject({ tablesDone: 1, bytesDone: 100, remainingMs: null });
  vi.advanceTimersByTime(1_000);
  counted.range(450).passed(300);
  expect(told.at(-1)).toMatchObject({
    ...{ bytes: 1_000, bytesDone: 400, bytesPerSecond: 300, remainingMs: 2_000 },
  });
});

test('a range counts as its size in the end, and not at all if it failed', () => {
  const { meter: counted, told } = meter();
  const failed = counted.range(450);
  failed.passed(10_000);
  failed.ended(null);
  const good = counted.range(450);
  good.passed(20);
  good.ended(7);
  counted.tableDone();
  expect(told.at(-1)).toMatchObject({ rows: 17, bytesDone: 550, tablesDone: 2 });
});
