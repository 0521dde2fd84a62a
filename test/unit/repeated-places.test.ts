import { describe, expect, test } from 'vitest';
import type { SourcePosition } from '../../src/change/position.ts';
import type { ChangeEvent, RowChange } from '../../src/change/record.ts';
import { connectorNamed } from '../../src/decode/connectors/connectors.ts';
import { isPlaceNote, RepeatedPlaces } from '../../src/order/repeated-places.ts';
import { changeEvent } from '../support/change-events.ts';

const LANE = 'p.public.t/0';

const open = (
  connector: SourcePosition['connector'],
  stored: Iterable<string> = [],
): RepeatedPlaces =>
  new RepeatedPlaces({ compareInLog: connectorNamed(connector).compareInLog }, stored);

/** Which of them come a second time. */
const seconds = (places: RepeatedPlaces, events: readonly ChangeEvent[]): readonly boolean[] =>
  events.map((event) => places.came(LANE, event) !== 'new');

const row = (lsn: number, eventTimeMs: number | null = 1_000, commit: number | null = 1) => {
  const base = changeEvent({ op: 'update', lsn: BigInt(lsn) });
  const lastCommitLsn = commit === null ? null : BigInt(commit);
  return { ...base, eventTimeMs, source: { ...base.source, lastCommitLsn } } as RowChange;
};

const binlogRow = (file: string, pos: number, gtid: string | null, eventTimeMs = 1_000) => ({
  ...changeEvent({ op: 'delete' }),
  eventTimeMs,
  source: { connector: 'mysql' as const, file, pos: BigInt(pos), row: 0, gtid },
});

describe('what comes a second time', () => {
  test('is what lies before the latest that came, in the same partition', () => {
    const places = open('postgresql');
    expect(
      seconds(
        places,
        [1, 2, 3, 2, 3, 4, 1].map((lsn) => row(lsn)),
      ),
    ).toEqual([...[false, false, false, true, true, false, true]]);
    expect(places.came('p.public.t/1', row(1))).toBe('new');
    const other = { ...row(1), table: { schema: 'public', name: 'u' } };
    expect(places.came(LANE, other)).toBe('new');
  });

  test('is not what a log that began anew has at lower places, later', () => {
    expect(seconds(open('postgresql'), [row(9), row(1, 1_001), row(2, 1_001)])).toEqual([
      ...[false, false, false],
    ]);
    const reset = [binlogRow('b.000009', 5, null), binlogRow('b.000001', 4, null, 2_000)];
    expect(seconds(open('mysql'), reset)).toEqual([false, false]);
  });

  test('is not what tells no time, or no place', () => {
    const untold = [row(9), row(1, null), row(2, 1_000, null), row(3)];
    expect(seconds(open('postgresql'), untold)).toEqual([false, false, false, true]);
  });

  test('is not what another server has at other places', () => {
    const uuids = ['aa', 'bb'] as const;
    const taken = [
      binlogRow('b.000002', 90, `${uuids[0]}:7`),
      binlogRow('b.000001', 10, `${uuids[1]}:1`),
      // Its own transaction, at a place that the first server had before.
      binlogRow('b.000001', 20, `${uuids[0]}:8`),
      binlogRow('b.000001', 20, `${uuids[0]}:8`),
      binlogRow('b.000001', 10, `${uuids[0]}:8`),
      // Numbered before and written behind: parallel appliers may do that.
      binlogRow('b.000001', 30, `${uuids[0]}:6`),
      binlogRow('b.000001', 20, `${uuids[0]}:5`),
    ];
    expect(seconds(open('mysql'), taken)).toEqual([
      ...[false, false, false, true, true, false, true],
    ]);
  });

  test('is both halves of a key change, and none of them the first time', () => {
    const halves = [
      { ...row(5), op: 'delete' as const },
      { ...row(5), op: 'create' as const },
    ];
    const places = open('postgresql');
    expect(seconds(places, [...halves, ...halves, row(6), ...halves])).toEqual([
      ...[false, false, true, true, false, true, true],
    ]);
  });

  test('is known to who goes on with what was stored, and only what went is stored', () => {
    const places = open('postgresql');
    for (const lsn of [1, 2, 3]) places.came(LANE, row(lsn));
    places.went(LANE, row(1));
    places.went(LANE, row(2));
    const stored = [...places.notes().values()];
    expect(stored.map(isPlaceNote)).toEqual([true]);
    expect(places.notes().size).toBe(0);
    const next = open('postgresql', ['1234', '{"id":"5"}', ...stored]);
    expect(
      seconds(
        next,
        [1, 2, 3].map((lsn) => row(lsn)),
      ),
    ).toEqual([true, true, false]);
  });
});
