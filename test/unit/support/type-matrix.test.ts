import { describe, expect, it } from 'vitest';
import { BINLOG_MODES, BINLOG_RUNS } from '../../support/types/binlog.ts';
import { MARIADB_TABLES, MYSQL_TABLES } from '../../support/types/binlog-tables.ts';
import {
  compareRows,
  judge,
  type Cell,
  type Exception,
  type Rows,
} from '../../support/types/exceptions.ts';
import { POSTGRESQL_MODES, POSTGRESQL_RUNS } from '../../support/types/postgresql.ts';
import { POSTGRESQL_REFUSALS } from '../../support/types/postgresql-exceptions.ts';
import { POSTGRESQL_TABLES } from '../../support/types/postgresql-tables.ts';
import { assertComplete, ENCODINGS, playedRuns, type Run } from '../../support/types/runs.ts';
import { MOVED_BY, rowCount } from '../../support/types/type-table.ts';

const run: Run = { name: 'schema1', encoding: 'schema', modes: { time: 'connect' } };

/** Rows of one column `c`, by id. */
function rows(cells: Readonly<Record<number, string | null>>): Rows {
  return new Map(
    Object.entries(cells).map(([id, text]) => {
      const cell: Cell = { text, exact: text };
      return [Number(id), new Map([['c', cell]])];
    }),
  );
}

describe('a type matrix', () => {
  it('has every value of every mode in every encoding', () => {
    expect(() => {
      assertComplete(POSTGRESQL_MODES, POSTGRESQL_RUNS);
      assertComplete(BINLOG_MODES, BINLOG_RUNS);
    }).not.toThrow();
    expect(() => {
      const some = POSTGRESQL_RUNS.filter(
        ({ encoding, modes }) => encoding !== 'schema' || modes['time'] !== 'adaptive',
      );
      assertComplete(POSTGRESQL_MODES, some);
    }).toThrow('no run of schema has time adaptive');
  });

  it('has a run of every encoding for each refusal of PostgreSQL', () => {
    const missing = POSTGRESQL_REFUSALS.flatMap((refusal) =>
      ENCODINGS.filter(
        (encoding) => !POSTGRESQL_RUNS.some((r) => r.encoding === encoding && refusal.when(r)),
      ).map((encoding) => `${refusal.column} in ${encoding}`),
    );
    expect(missing).toEqual([]);
  });

  it('plays all, those named, or one of each encoding and the published settings', () => {
    expect(playedRuns(BINLOG_RUNS, 'all')).toBe(BINLOG_RUNS);
    expect(playedRuns(BINLOG_RUNS, 'bare2,avro1').map(({ name }) => name)).toEqual([
      'bare2',
      'avro1',
    ]);
    expect(() => playedRuns(BINLOG_RUNS, 'bare77')).toThrow('no such runs');
    const some = playedRuns(BINLOG_RUNS, '');
    expect(some.map(({ encoding }) => encoding)).toEqual([...ENCODINGS, 'schema']);
    expect(some.at(-1)?.name).toBe('published');
  });

  it('gives the rows of different forms different ids', () => {
    const tables = [...POSTGRESQL_TABLES, ...MYSQL_TABLES, ...MARIADB_TABLES];
    expect(Math.max(...tables.map(rowCount))).toBeLessThan(MOVED_BY);
  });

  it('finds a value that differs, a row that is missing, and one too many', () => {
    const production = rows({ 1: 'a', 2: null, 3: 'b' });
    const shadow = rows({ 1: 'a', 2: 'x', 101: 'c' });
    expect(compareRows('t', production, shadow)).toEqual([
      { table: 't', column: 'c', id: 2, production: null, shadow: 'x' },
      { table: 't', column: 'c', id: 3, production: 'b', shadow: undefined },
      { table: 't', column: 'c', id: 101, production: undefined, shadow: 'c' },
    ]);
  });

  const exception: Exception<Run> = {
    loss: 'time-connect',
    table: 't',
    column: 'c',
    values: [0, 1],
    from: 'stream',
    when: ({ modes }) => modes['time'] === 'connect',
  };
  const differing = (...ids: readonly number[]): Parameters<typeof judge>[1] =>
    ids.map((id) => ({ table: 't', column: 'c', id, production: 'a', shadow: 'b' }));

  it('accepts what is declared, where it is declared', () => {
    expect(judge(run, differing(101, 102, 202), [exception])).toEqual([]);
  });

  it('rejects a difference that nobody declared', () => {
    const [first, ...rest] = judge(run, differing(101, 102, 103), [exception]);
    expect(first).toBe('schema1: t.c [2] differs in inserted: "a" became "b"');
    expect(rest).toEqual([]);
    expect(judge(run, differing(1, 101, 102), [exception])[0]).toContain('differs in snapshot');
    const other: Run = { ...run, modes: { time: 'adaptive' } };
    expect(judge(other, differing(101), [exception])[0]).toContain('t.c [0] differs');
  });

  it('excuses no row that is lost or should be gone, and no other value than the declared one', () => {
    const any: Exception<Run> = { loss: 'time-connect', table: 't', column: 'c' };
    const lostRow = { table: 't', column: 'c', id: 101, production: 'a', shadow: undefined };
    expect(judge(run, [lostRow], [any])[0]).toContain('"a" became no row');
    const leftRow = { ...lostRow, production: undefined, shadow: 'a' };
    expect(judge(run, [leftRow], [any])[0]).toContain('no row became "a"');
    const nulls: Exception<Run> = { ...any, only: { production: null, shadow: 'not null' } };
    const wrong = { ...lostRow, shadow: 'b' };
    expect(judge(run, [wrong], [nulls])[0]).toContain('"a" became "b"');
    expect(judge(run, [{ ...wrong, production: null }], [nulls])).toEqual([]);
    const toNull: Exception<Run> = { ...any, only: { shadow: null } };
    expect(judge(run, [wrong], [toNull])[0]).toContain('"a" became "b"');
    expect(judge(run, [{ ...wrong, shadow: null }], [toNull])).toEqual([]);
  });

  it('rejects a declared difference that is not there any more, value by value', () => {
    expect(judge(run, differing(101), [exception])).toEqual([
      'schema1: t.c [1] has no time-connect any more',
    ]);
  });
});
