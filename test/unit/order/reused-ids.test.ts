/** Ids that production gives a second transaction: after a fail-over, a reset of its log, a restore. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { ChangeEvent, DecodedRecord } from '../../../src/change/record.ts';
import { START } from '../../../src/change/position.ts';
import { TransactionAssembler } from '../../../src/order/assembler.ts';
import { BatchBuilder } from '../../../src/order/batch-builder.ts';
import { boundary, changeEvent, image } from '../../support/change-events.ts';

const FIRST = 1_795_000_000_000;
const LATER = FIRST + 600_000;

let now = 0;
/** What the shadow remembers. */
let told: readonly string[] = [];
let assembler: TransactionAssembler;
const offsets = new Map<string, number>();

beforeEach(() => {
  now = 0;
  told = [];
  offsets.clear();
  start();
});

/** Our process begins, with what the shadow remembers. */
function start(): void {
  assembler = new TransactionAssembler({
    ...{ mode: 'transaction', stallLimitMs: 60_000, delivered: told, now: () => now },
    isSubscribed: (collection) => collection === 'public.t',
  });
}

function next(topic: string): number {
  const offset = offsets.get(topic) ?? 0;
  offsets.set(topic, offset + 1);
  return offset;
}

type Source = ChangeEvent['source'];
const postgres = (lsn: number): Source => ({
  ...{ connector: 'postgresql', lsn: BigInt(lsn), lastCommitLsn: null, txId: 7 },
});
const binlog = (file: string, pos: number): Source => ({
  ...{ connector: 'mariadb', file, pos: BigInt(pos), row: 0, gtid: '0-1-7' },
});

function row(id: string, value: string, timeMs: number, source: Source, order = 1): ChangeEvent {
  const partition = (order - 1) % 2;
  const key = image({ id: String(order) });
  return {
    ...changeEvent({
      ...{ op: 'update', partition, offset: next(`t/${partition}`), key },
      ...{ after: image({ id: String(order), v: value }), tx: { id: '7', totalOrder: order } },
    }),
    ...{ transaction: { id, totalOrder: BigInt(order) }, eventTimeMs: timeMs, source },
  };
}

function begin(id: string, timeMs: number): DecodedRecord {
  return { ...boundary('begin', id, next('tx')), eventTimeMs: timeMs };
}

function end(id: string, timeMs: number, count = 1): DecodedRecord {
  return { ...boundary('end', id, next('tx'), { 'public.t': count }), eventTimeMs: timeMs };
}

/** What goes of these, as its values and whether it is whole. Applied, so that the shadow remembers it. */
function went(...records: readonly DecodedRecord[]): readonly (readonly [string, boolean])[] {
  const all: (readonly [string, boolean])[] = [];
  for (const record of records) assembler.push(record);
  for (let release = assembler.take(); release !== undefined; release = assembler.take()) {
    const values = release.changes.map(({ after }) => String(after?.values[1]));
    if (values.length > 0) all.push([values.join(' '), release.complete]);
    const builder = new BatchBuilder({ catalogue: new Map(), position: START });
    builder.add(release);
    told = [...told, ...(builder.build([]).delivered ?? [])];
  }
  return all;
}

function waited(ms: number): readonly (readonly [string, boolean])[] {
  const all: (readonly [string, boolean])[] = [];
  for (const until = now + ms; now < until; now += 250) all.push(...went());
  return all;
}

function whole(id: string, value: string, timeMs: number, source: Source) {
  return [begin(id, timeMs), row(id, value, timeMs, source), end(id, timeMs)];
}

describe('an id that is used again', () => {
  test.each([
    ['PostgreSQL', postgres(100), postgres(90)],
    ['a binlog', binlog('log.000009', 900), binlog('log.000001', 500)],
  ])('is another transaction, which goes whole, of %s', (_, first, second) => {
    expect(went(...whole('7', 'a', FIRST, first))).toEqual([['a', true]]);
    expect(went(...whole('7', 'b', LATER, second))).toEqual([['b', true]]);
    // Both come again, in this process and in the next.
    expect(went(...whole('7', 'a', FIRST, first), ...whole('7', 'b', LATER, second))).toEqual([]);
    start();
    expect(went(...whole('7', 'a', FIRST, first), ...whole('7', 'b', LATER, second))).toEqual([]);
    expect(went(...whole('7', 'c', LATER * 2, second))).toEqual([['c', true]]);
    expect(assembler.held()).toMatchObject({ transactions: 0, events: 0, bytes: 0 });
  });

  test('is one too where a former process applied the first', () => {
    went(...whole('7', 'a', FIRST, postgres(100)));
    start();
    expect(went(...whole('7', 'b', LATER, postgres(100)))).toEqual([['b', true]]);
  });

  test('is one too where the clock of the server that took over is behind', () => {
    went(...whole('7', 'a', LATER, postgres(100)));
    start();
    expect(went(...whole('7', 'b', FIRST, postgres(100)))).toEqual([['b', true]]);
  });

  test('is one too where the first was given up', () => {
    went(begin('7', FIRST), row('7', 'a', FIRST, postgres(100)));
    expect(waited(61_000)).toEqual([['a', false]]);
    start();
    expect(went(...whole('7', 'b', LATER, postgres(90)))).toEqual([['b', true]]);
  });

  test('tells two apart that are both held', () => {
    const [first, second] = [
      row('7', 'a', FIRST, postgres(100)),
      row('7', 'b', LATER, postgres(90)),
    ];
    expect(went(first, second)).toEqual([]);
    expect(went(begin('7', FIRST), end('7', FIRST), begin('7', LATER), end('7', LATER))).toEqual([
      ['a', true],
      ['b', true],
    ]);
  });

  test('of a binlog, whose statements have times of their own, tells two apart after the END', () => {
    went(row('7', 'a1', FIRST, binlog('log.000009', 900), 1));
    went(row('7', 'b1', LATER, binlog('log.000001', 500), 1));
    expect(went(end('7', FIRST + 90_000, 2))).toEqual([]);
    start();
    offsets.clear();
    went(row('7', 'a1', FIRST, binlog('log.000009', 900), 1), end('7', FIRST + 90_000, 2));
    went(row('7', 'b1', LATER, binlog('log.000001', 500), 1));
    // A row of the first that came late.
    expect(went(row('7', 'a2', FIRST + 80_000, binlog('log.000009', 950), 2))).toEqual([
      ['a1 a2', true],
    ]);
    expect(went(begin('7', FIRST), end('7', LATER))).toEqual([['b1', true]]);
  });
});

describe('a second delivery', () => {
  test('is known by its times though another server has it at another place', () => {
    const delivery = (file: string, pos: number) => [
      // After a reconnect a BEGIN has the time of the file.
      begin('7', FIRST - 3_600_000),
      row('7', 'a', FIRST, binlog(file, pos), 1),
      row('7', 'b', FIRST + 50_000, binlog(file, pos + 9), 2),
      end('7', FIRST + 90_000, 2),
    ];
    expect(went(...delivery('log.000009', 900))).toEqual([['a b', true]]);
    expect(went(...delivery('other.000002', 40))).toEqual([]);
    start();
    expect(went(...delivery('other.000002', 40))).toEqual([]);
    expect(went(...delivery('log.000009', 900))).toEqual([]);
  });

  test('is known by its id alone where no time was stored, or none is sent', () => {
    told = ['7'];
    start();
    expect(went(...whole('7', 'a', FIRST, postgres(100)))).toEqual([]);
    expect(went(...whole('8', 'a', FIRST, postgres(100)))).toEqual([['a', true]]);
    const untimed = { ...row('8', 'a', 0, postgres(100)), eventTimeMs: null };
    expect(went({ ...boundary('begin', '8', next('tx')) }, untimed, end('8', FIRST))).toEqual([]);
  });

  test('is remembered once, however often and in however many pieces it comes', () => {
    const parts = [row('7', 'a', FIRST, postgres(100), 1), row('7', 'b', FIRST, postgres(110), 2)];
    expect(went(...parts, end('7', FIRST, 2))).toEqual([['a b', true]]);
    expect(told).toEqual([`7 ${FIRST}`]);
    for (let n = 0; n < 3; n += 1) {
      for (const order of [1, 2]) went(row('7', 'x', FIRST, postgres(100), order));
      went(end('7', FIRST, 2));
    }
    expect(told).toEqual([`7 ${FIRST}`]);
  });
});
