import { describe, expect, test } from 'vitest';
import { exitCode, judge, severity } from '../../../src/drift/verdict.ts';
import type { Reason, ReasonCode, TableResult } from '../../../src/report/drift-report.ts';

const reason = (code: ReasonCode, table: string | null = 'public.t'): Reason => ({
  code,
  message: 'why',
  table,
});

function table(found: Reason | null): TableResult {
  const state =
    found === null ? 'equal' : severity(found.code) === 'drift' ? 'drift' : 'not-compared';
  const counts = { missing: 0, extra: 0, changed: 0, complete: true };
  return { table: 'public.t', rows: 1, leaves: 1, state, ...counts, reason: found };
}

describe('the verdict', () => {
  test('is equal only where every table was compared and is equal', () => {
    expect(judge([table(null), table(null)], []).verdict).toBe('equal');
    expect(judge([table(null), table(reason('table-unreadable'))], []).verdict).toBe(
      'inconclusive',
    );
  });

  test('is not equal where nothing was compared', () => {
    expect(judge([], [])).toMatchObject({
      verdict: 'inconclusive',
      reasons: [{ code: 'nothing-compared' }],
    });
  });

  test('is drift even where another table could not be compared', () => {
    const tables = [table(reason('table-unreadable')), table(reason('rows-differ'))];
    const { verdict, reasons } = judge(tables, []);
    expect(verdict).toBe('drift');
    expect(reasons).toHaveLength(2);
  });

  test('is inconclusive where the point itself is in doubt: the difference may be timing', () => {
    const doubt = [reason('incremental-snapshot-in-window', null)];
    expect(judge([table(reason('rows-differ'))], doubt).verdict).toBe('inconclusive');
  });
});

test('exit codes', () => {
  expect([exitCode('equal'), exitCode('drift'), exitCode('inconclusive')]).toEqual([0, 1, 2]);
});
