import type { Reason, ReasonCode, TableResult, Verdict } from '../report/drift-report.ts';
import { unreachable } from '../util/assert.ts';

/** What a reason makes of the check that has it. */
export function severity(code: ReasonCode): Exclude<Verdict, 'equal'> {
  switch (code) {
    case 'rows-differ':
    case 'table-missing':
    case 'table-extra':
    case 'column-missing':
    case 'column-extra':
      return 'drift';
    case 'types-differ':
    case 'key-differs':
    case 'table-rewritten':
    case 'table-unreadable':
    case 'values-unknown':
    case 'rows-parked':
    case 'rows-dead':
    case 'rows-not-captured':
    case 'no-committed-offsets':
    case 'barrier-timeout':
    case 'unproven-transactions':
    case 'incremental-snapshot-in-window':
    case 'initial-snapshot-in-window':
    case 'change-without-transaction':
    case 'incomplete-transaction':
    case 'position-passed':
    case 'hash-differs-between-servers':
    case 'nothing-compared':
      return 'inconclusive';
    default:
      return unreachable(code);
  }
}

export interface Judgement {
  readonly verdict: Verdict;
  readonly reasons: readonly Reason[];
}

/**
 * The verdict over everything found. `equal` only if no reason speaks against it and at least one
 * table was compared: silence is not a proof.
 *
 * Doubts about the point of comparison itself (a snapshot read in the window, say) come as
 * `general`: what differs is then reported, but as inconclusive, since it may be timing.
 */
export function judge(tables: readonly TableResult[], general: readonly Reason[]): Judgement {
  const ofTables = tables.map((table) => table.reason).filter((reason) => reason !== null);
  const reasons = [...general, ...ofTables];
  if (reasons.length === 0 && !tables.some((table) => table.state === 'equal')) {
    const message = 'no table was compared';
    return {
      verdict: 'inconclusive',
      reasons: [{ code: 'nothing-compared', message, table: null }],
    };
  }
  if (reasons.length === 0) return { verdict: 'equal', reasons };
  const pointInDoubt = general.some((reason) => severity(reason.code) === 'inconclusive');
  const drift = reasons.some((reason) => severity(reason.code) === 'drift');
  return { verdict: drift && !pointInDoubt ? 'drift' : 'inconclusive', reasons };
}

/** Process exit status of a verdict. */
export function exitCode(verdict: Verdict): 0 | 1 | 2 {
  switch (verdict) {
    case 'equal':
      return 0;
    case 'drift':
      return 1;
    case 'inconclusive':
      return 2;
    default:
      return unreachable(verdict);
  }
}
