import { expect, it } from 'vitest';
import { restored, rowsAfter } from '../../../src/apply/late-truncate.ts';
import type { ChangeEvent, LogRecord } from '../../../src/change/record.ts';
import { connectorNamed } from '../../../src/decode/connectors/connectors.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { changeEvent, image } from '../../support/change-events.ts';

const { compare } = connectorNamed('postgresql');

/** An event that was sent so many seconds after the truncate, or before. */
type Sent = readonly [partition: number, lsn: bigint, seconds: number, op?: 'truncate' | 'create'];

const event = ([partition, lsn, , op = 'create']: Sent, offset: number): ChangeEvent =>
  changeEvent({
    ...{ op, partition, offset, lsn },
    ...(op === 'create' && { key: image({ id: 'x' }), after: image({ id: 'x' }) }),
  });

const TRUNCATE = event([0, 100n, 0, 'truncate'], 0);

/** The LSNs of what is found, and how far back it was looked for, in seconds. */
async function found(...sent: readonly Sent[]): Promise<[readonly (bigint | null)[], unknown[]]> {
  const looked: unknown[] = [];
  const rows = await rowsAfter(TRUNCATE, {
    isBefore: (a, b) => compare(a, b) === 'before',
    partitions: new Set(sent.map(([partition]) => partition)),
    read: async function* (sinceMs) {
      const since = sinceMs === null ? null : (sinceMs - 1_000) / 1_000;
      looked.push(since);
      for (const [offset, [partition, , seconds]] of sent.entries()) {
        if (since !== null && seconds < since) continue;
        yield await Promise.resolve({ partition, offset: BigInt(offset) } as LogRecord);
      }
    },
    decode: ({ offset }) =>
      Promise.resolve(event(sent[Number(offset)] ?? [0, 0n, 0], Number(offset))),
  });
  return [rows.map(({ source }) => ('lsn' in source ? source.lsn : null)), looked];
}

it('brings what production wrote after it, from a look that is far enough back', async () => {
  expect(await found([1, 90n, -5], [1, 110n, 1], [2, 95n, -2], [2, 120n, 2])).toEqual([
    [110n, 120n],
    [-10],
  ]);
  // The clock of who sent it is behind: the first record that is looked at is later already.
  expect(await found([1, 90n, -60], [1, 110n, -50], [1, 120n, -5])).toEqual([
    [110n, 120n],
    [-10, -100],
  ]);
  expect(await found([1, 110n, 1])).toEqual([[110n], [-10, -100, -1000, null]]);
  expect(await found()).toEqual([[], [-10]]);
});

it('leaves out what a later truncate took along', async () => {
  expect(
    (
      await found([1, 90n, -5], [1, 110n, 1], [2, 99n, -1], [2, 115n, 2, 'truncate'], [1, 120n, 3])
    )[0],
  ).toEqual([120n]);
});

it('looks for what a partition brought that brings nothing at first', async () => {
  expect(await found([1, 90n, -600], [1, 110n, -50])).toEqual([[110n], [-10, -100, -1000]]);
  // Nothing came of it for long before.
  expect(await found([1, 90n, -2000])).toEqual([[], [-10, -100, -1000]]);
});

it('brings them in their order, each once', async () => {
  const sent = [event([2, 130n, 3], 0), event([1, 110n, 1], 1), event([1, 110n, 1], 2)];
  const [late, first, again] = sent.map((one, i) =>
    i === 0 ? one : { ...one, transaction: { id: '7', totalOrder: 1n } },
  );
  const records = [late, first, again].flatMap((one) => (one === undefined ? [] : [one]));
  const rows = await rowsAfter(TRUNCATE, {
    isBefore: (a, b) => compare(a, b) === 'before',
    partitions: new Set(),
    read: async function* () {
      for (const { at } of records) yield await Promise.resolve(at as unknown as LogRecord);
    },
    decode: ({ offset }) => Promise.resolve(records[Number(offset)] ?? TRUNCATE),
  });
  expect(rows.map(({ at }) => at.offset)).toEqual([1n, 0n]);
});

it('goes with them, or incomplete where they cannot be told', async () => {
  const offsets = new Map([['p.public.t/0', 1n]]);
  const late = { changes: [TRUNCATE], offsets, transactionId: null, complete: true, bytes: 1 };
  const row = event([1, 110n, 1], 7);
  const signal = new AbortController().signal;
  const parts = { rowsAfter: () => Promise.resolve([row]), logger: silentLogger };
  const is = (
    release: object,
    at: typeof offsets,
    by: Parameters<typeof restored>[2] = parts,
  ): Promise<unknown> => restored({ ...late, ...release }, at, by, signal);
  expect(await is({}, offsets)).toEqual(late);
  expect(await is({ isLate: true }, offsets)).toMatchObject({ changes: [TRUNCATE, row] });
  const untold = { ...parts, rowsAfter: () => Promise.resolve(null) };
  expect(await is({ isLate: true }, offsets, untold)).toMatchObject({
    ...{ complete: false, changes: [TRUNCATE] },
  });
});
