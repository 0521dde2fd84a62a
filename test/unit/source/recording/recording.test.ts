import { readFile, stat, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import type { LogRecord } from '../../../../src/change/record.ts';
import { isUnderstudyError } from '../../../../src/errors/understudy-error.ts';
import { StagedGate } from '../../../../src/source/recording/playback-gate.ts';
import { createRecording } from '../../../../src/source/recording/recording-writer.ts';
import { openRecording } from '../../../../src/source/recording/recording-source.ts';
import { record } from '../../../../src/source/recording/record.ts';
import {
  chunkOf,
  logRecord,
  readSource,
  TEST_HEADER,
  withRecordingPath,
} from '../../../support/recordings.ts';

/** Two topics by turns, some with headers, nulls and long values. */
function shop(count: number): LogRecord[] {
  return Array.from({ length: count }, (_, i) =>
    logRecord(i % 3 === 0 ? 'shop.items' : 'shop.orders', BigInt(Math.floor(i / 3) * 2 + (i % 3)), {
      timestampMs: 1_700_000_000_000 + i,
      ...(i % 7 === 0
        ? { value: null }
        : { value: Buffer.from(`{"n":${i},"t":"${'x'.repeat(i)}"}`) }),
      ...(i % 5 === 0 ? { key: null } : {}),
      ...(i % 4 === 0
        ? { headers: [['a', Buffer.from('1')] as const, ['a', Buffer.alloc(0)]] }
        : {}),
    }),
  );
}

async function write(path: string, records: readonly LogRecord[]): Promise<void> {
  const writer = await createRecording(path, TEST_HEADER);
  for (const each of records) await writer.append(chunkOf([each]));
  await writer.close();
}

async function failure(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
  } catch (error) {
    if (isUnderstudyError(error)) return error.describe();
    throw error;
  }
  return 'no error';
}

describe('a recording', () => {
  it('gives back what was written, in the same order', () =>
    withRecordingPath(async (path) => {
      const records = shop(2_000);
      await write(path, records);
      await using source = await openRecording(path);
      expect(source.header).toEqual(TEST_HEADER);
      expect(source.records).toBe(2_000);
      expect((await readSource(source)).records).toEqual(records);
    }));

  it('covers partitions without records, and moves over offsets that hold none', () =>
    withRecordingPath(async (path) => {
      const writer = await createRecording(path, TEST_HEADER);
      writer.cover(
        new Map([
          ['shop.orders/0', 3n],
          ['shop.quiet/1', 7n],
        ]),
      );
      await writer.append(chunkOf([logRecord('shop.orders', 5n)], 9n));
      await writer.append({ topic: 'shop.orders', partition: 0, records: [], next: 12n, end: 12n });
      await writer.close();
      await using source = await openRecording(path);
      expect(await source.starts()).toEqual(
        new Map([
          ['shop.orders/0', 3n],
          ['shop.quiet/1', 7n],
        ]),
      );
      expect(await source.ends()).toEqual(
        new Map([
          ['shop.orders/0', 12n],
          ['shop.quiet/1', 7n],
        ]),
      );
      const { at, records } = await readSource(source);
      expect(records.map(({ offset }) => offset)).toEqual([5n]);
      expect(at).toEqual(new Map([['shop.orders/0', 12n]]));
    }));

  it('goes on from any position', () =>
    withRecordingPath(async (path) => {
      const records = shop(900);
      await write(path, records);
      await using source = await openRecording(path);
      const from = new Map([
        ['shop.items/0', 100n],
        ['shop.orders/0', 301n],
      ]);
      const expected = records.filter(
        ({ topic, offset }) => offset >= (from.get(`${topic}/0`) ?? 0n),
      );
      expect((await readSource(source, { from })).records).toEqual(expected);
      expect((await readSource(source, { from: await source.ends() })).records).toEqual([]);
    }));

  it('refuses a position that it does not hold', () =>
    withRecordingPath(async (path) => {
      const writer = await createRecording(path, TEST_HEADER);
      await writer.append(chunkOf([logRecord('shop.orders', 5n)]));
      await writer.close();
      await using source = await openRecording(path);
      for (const from of [
        ['shop.orders/0', 4n],
        ['shop.orders/0', 7n],
        ['shop.new/0', 1n],
      ] as const) {
        expect(await failure(() => readSource(source, { from: new Map([from]) }))).toMatch(
          /^LOG_GAP/,
        );
      }
    }));

  it(
    'is refused when it was cut off anywhere',
    () =>
      withRecordingPath(async (path) => {
        await write(path, shop(50));
        const whole = await readFile(path);
        for (let length = 0; length < whole.length; length += 1) {
          await writeFile(path, whole.subarray(0, length));
          expect(await failure(() => openRecording(path))).toMatch(/^RECORDING_INVALID/);
        }
        await writeFile(path, whole.subarray(0, whole.length - 20));
        expect(await failure(() => openRecording(path))).toContain('without its end');
      }),
    60_000,
  );

  it(
    'is refused when any bit of it changed, before a damaged record is handed out',
    () =>
      withRecordingPath(async (path) => {
        const records = shop(60);
        await write(path, records);
        const whole = await readFile(path);
        for (let at = 0; at < whole.length; at += 1) {
          const damaged = Buffer.from(whole);
          damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
          await writeFile(path, damaged);
          const seen: LogRecord[] = [];
          const error = await failure(async () => {
            await using source = await openRecording(path);
            await readSource(source, { onChunk: (chunk) => seen.push(...chunk.records) });
          });
          expect(error, `bit ${at % 8} of byte ${at}`).toMatch(/^RECORDING_INVALID/);
          expect(seen).toEqual(records.slice(0, seen.length));
        }
      }),
    60_000,
  );

  it('does not appear before it is closed, and not at all when it is given up', () =>
    withRecordingPath(async (path) => {
      {
        await using writer = await createRecording(path, TEST_HEADER);
        await writer.append(chunkOf([logRecord('shop.orders', 0n)]));
        expect(await failure(() => openRecording(path))).toMatch(/^RECORDING_INVALID/);
      }
      await expect(stat(`${path}.part`)).rejects.toThrow('ENOENT');
    }));

  it('stops reading while more than the budget is outstanding', () =>
    withRecordingPath(async (path) => {
      await write(path, shop(600));
      await using source = await openRecording(path);
      const states: string[] = [];
      const stream = await source.open(new Map(), {
        budgetBytes: 2_000,
        group: 'understudy.test',
        signal: new AbortController().signal,
        onState: ({ state }) => states.push(state),
      });
      const reading = (async () => {
        let read = 0;
        for await (const chunk of stream.chunks) read += chunk.records.length;
        return read;
      })();
      await expect.poll(() => states.at(-1)).toBe('paused');
      stream.released(1_000_000);
      expect(await reading).toBe(600);
      await stream[Symbol.asyncDispose]();
      expect(states.at(-1)).toBe('ended');
    }));

  it('keeps the pauses of its records, by a factor', () =>
    withRecordingPath(async (path) => {
      const start = 1_700_000_000_000;
      await write(
        path,
        [0, 100, 400].map((ms, i) =>
          logRecord('shop.orders', BigInt(i), { timestampMs: start + ms }),
        ),
      );
      await using source = await openRecording(path, { pace: 2 });
      const began = performance.now();
      expect((await readSource(source)).records).toHaveLength(3);
      expect(performance.now() - began).toBeGreaterThan(190);
    }));

  it('is held at a mark until it is told to go on', () =>
    withRecordingPath(async (path) => {
      const records = shop(100);
      await write(path, records);
      const gate = new StagedGate();
      gate.holdAt(40);
      await using source = await openRecording(path, { gate });
      const seen: LogRecord[] = [];
      const reading = readSource(source, { onChunk: (chunk) => seen.push(...chunk.records) });
      await gate.untilHeld();
      expect(seen).toEqual(records.slice(0, 40));
      gate.holdAt(70);
      await gate.untilHeld();
      expect(seen).toEqual(records.slice(0, 70));
      gate.release();
      expect((await reading).records).toEqual(records);
    }));

  it('ends at once when it is aborted at a mark', () =>
    withRecordingPath(async (path) => {
      await write(path, shop(10));
      const gate = new StagedGate();
      gate.holdAt(3);
      const stop = new AbortController();
      await using source = await openRecording(path, { gate });
      const reading = readSource(source, { signal: stop.signal });
      await gate.untilHeld();
      stop.abort();
      expect((await reading).records).toHaveLength(3);
    }));

  it('of another source is equal to it', () =>
    withRecordingPath(async (path) => {
      const records = shop(300);
      await write(path, records);
      await using source = await openRecording(path);
      const copy = `${path}.copy`;
      const progress: bigint[] = [];
      {
        await using writer = await createRecording(copy, TEST_HEADER);
        await record(source, writer, {
          until: 'ends',
          signal: new AbortController().signal,
          onProgress: ({ remaining }) => progress.push(remaining ?? -1n),
        });
        await writer.close();
      }
      await using again = await openRecording(copy);
      expect((await readSource(again)).records).toEqual(records);
      expect(await again.ends()).toEqual(await source.ends());
      expect(progress.at(-1)).toBe(0n);
    }));
});
