import { describe, expect, test } from 'vitest';
import type { ChangeEvent } from '../../src/change/record.ts';
import { connectorNamed } from '../../src/decode/connectors/connectors.ts';
import { Lane } from '../../src/order/lane.ts';
import { REMEMBERED_IDS } from '../../src/order/recent-ids.ts';
import { SecondDeliveries } from '../../src/order/second-deliveries.ts';
import { changeEvent, image } from '../support/change-events.ts';

type Spread = 'spelled' | 'keyless' | null;

const lane = (partition: number): Lane<ChangeEvent> => new Lane(`p.public.t/${String(partition)}`);

const open = (
  connector: 'postgresql' | 'mysql',
  spread: Spread,
  stored: readonly string[] = [],
): SecondDeliveries =>
  new SecondDeliveries(
    { compareInLog: connectorNamed(connector).compareInLog, spreadOf: () => spread },
    stored,
  );

interface Said {
  readonly op?: 'create' | 'update' | 'delete' | 'truncate';
  readonly pos: number;
  readonly row?: number;
  readonly number?: number;
  readonly v?: string;
  readonly timeMs?: number;
}

/** A change of a binlog, with its place. */
function binlog({ op = 'create', pos, row = 0, number = 1, v = 'v', timeMs = 1_000 }: Said) {
  const said = image({ v });
  const tx = { id: 'g:1', totalOrder: number };
  return {
    ...changeEvent({ op, tx, key: said, before: said, after: op === 'delete' ? null : said }),
    eventTimeMs: timeMs,
    source: {
      ...{ connector: 'mysql' as const, file: 'b.000001', pos: BigInt(pos), row },
      gtid: null,
    },
  };
}

/** A change of PostgreSQL, with its LSN. */
function lsn(at: number, said: Omit<Said, 'pos'>): ChangeEvent {
  const event = binlog({ pos: at, ...said });
  const source = { connector: 'postgresql' as const, lsn: BigInt(at), lastCommitLsn: 1n, txId: 1 };
  return { ...event, source };
}

/** Which are taken for second deliveries, all of one partition. */
const seconds = (of: SecondDeliveries, ...events: readonly ChangeEvent[]): readonly boolean[] =>
  events.map((event) => of.came(lane(0), event) === true);

describe('a transaction that the server compressed, so that all of it has one place', () => {
  test('is not passed over: a row that is inserted, deleted and inserted again', () => {
    const places = open('mysql', 'spelled');
    const [put, gone] = [binlog({ pos: 9 }), binlog({ pos: 9, op: 'delete' })];
    expect(seconds(places, put, gone, put, gone, put)).toEqual([
      ...[false, false, false, false, false],
    ]);
  });

  test('is not passed over: rows of two statements', () => {
    const of = (row: number, v: string) => binlog({ pos: 9, row, v });
    const rows = [of(0, 'a'), of(1, 'b'), of(2, 'c'), of(0, 'd'), of(1, 'e')];
    expect(seconds(open('mysql', 'spelled'), ...rows)).not.toContain(true);
  });

  test('is not passed over: rows without key that are alike', () => {
    const of = (row: number, number: number) => binlog({ pos: 9, row, number, op: 'delete' });
    const rows = [of(0, 1), of(0, 2), of(1, 3), of(0, 4)];
    expect(seconds(open('mysql', 'keyless'), ...rows)).not.toContain(true);
    expect(seconds(open('mysql', 'keyless'), ...rows, ...rows)).toEqual([
      ...rows.map(() => false),
      ...rows.map(() => true),
    ]);
  });
});

test('a transaction that is larger than an offset is not passed over', () => {
  const rows = [binlog({ pos: 2 ** 32 - 5 }), binlog({ pos: 100 }), binlog({ pos: 200 })];
  expect(seconds(open('mysql', 'spelled'), ...rows)).not.toContain(true);
});

test('rows of one place come again, with keys and without, whatever was the last of it', () => {
  for (const spread of ['spelled', 'keyless'] as const) {
    const rows = ['a', 'b', 'c'].map((v, i) => lsn(5, { v, number: i + 1 }));
    const places = open('postgresql', spread);
    expect(seconds(places, ...rows)).not.toContain(true);
    expect(seconds(places, ...rows, lsn(5, { v: 'd', number: 4 }))).toEqual([
      ...[true, true, true, false],
    ]);
  }
});

test('rows without key are known though their transaction is numbered anew', () => {
  const rows = [0, 1, 2].map((row) => binlog({ pos: 9, row, number: row + 1 }));
  const again = [1, 2].map((row) => binlog({ pos: 9, row, number: row }));
  const places = open('mysql', 'keyless');
  expect(seconds(places, ...rows, ...again)).toEqual([false, false, false, true, true]);
});

test('rows without key that a copy had are known when they come again', () => {
  const before = open('mysql', 'keyless');
  before.skipped(binlog({ pos: 4 }));
  const { notes } = before.stored();
  expect(notes).toHaveLength(1);
  expect(seconds(open('mysql', 'keyless', notes), binlog({ pos: 4 }))).toEqual([true]);
});

test('what a truncate of before a restart removed does not come again, in no partition', () => {
  const before = open('postgresql', null);
  const truncate = lsn(7, { op: 'truncate' });
  const item = lane(0).push(truncate, 0);
  before.came(lane(0), truncate);
  before.went(lane(0), item);
  const stored = [...before.stored().places.values()];
  const after = open('postgresql', null, stored);
  const come = (event: ChangeEvent): boolean | null => after.came(lane(1), event);
  expect([lsn(3, {}), truncate, lsn(8, {})].map(come)).toEqual([true, true, null]);
  // A log that began anew.
  expect(come(lsn(3, { timeMs: 2_000 }))).toBeNull();
});

test('what stays as it is is stored again before it is forgotten', () => {
  const spread = new Map([['quiet', 'spelled' as const]]);
  const places = new SecondDeliveries(
    {
      compareInLog: connectorNamed('mysql').compareInLog,
      spreadOf: ({ table }) => spread.get(table.name) ?? 'keyless',
    },
    [],
  );
  const go = (event: ChangeEvent): void => {
    const item = lane(0).push(event, 0);
    item.isAgain = places.came(lane(0), event);
    places.went(lane(0), item);
  };
  const quiet = { ...binlog({ pos: 1 }), table: { schema: 'public', name: 'quiet' } };
  go(quiet);
  const notes: string[] = [];
  for (let pos = 2; notes.length < 1.2 * REMEMBERED_IDS; pos += 1) {
    for (let row = 0; row < 1_000; row += 1) go(binlog({ pos, row, number: row + 1 }));
    const stored = places.stored();
    notes.push(...stored.notes, ...stored.places.values());
  }
  const next = open('mysql', 'spelled', notes.slice(-REMEMBERED_IDS));
  expect(next.came(lane(0), quiet)).toBe(true);
});
