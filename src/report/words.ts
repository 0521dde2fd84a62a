/** How reports put numbers and verdicts into words. The same on every machine. */
import { unreachable } from '../util/assert.ts';
import type { DriftReport, TableResult, Verdict } from './drift-report.ts';

const NUMBERS = new Intl.NumberFormat('en-US');

export function countText(count: number): string {
  return NUMBERS.format(count);
}

/** `1 row`, `2 rows`. */
export function countOf(count: number, one: string, many = `${one}s`): string {
  return `${countText(count)} ${count === 1 ? one : many}`;
}

/** `0.4 s`, `12 s`, `3 min 20 s`. */
export function durationText(ms: number): string {
  if (ms < 1_000) return `${ms} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** A share for people: never rounded to 0 or to 100 % where it is neither. */
export function percentText(ratio: number): string {
  if (ratio <= 0) return '0%';
  if (ratio >= 1) return '100%';
  const percent = ratio * 100;
  if (percent < 0.01) return '<0.01%';
  if (percent > 99.99) return '>99.99%';
  return `${percent < 10 ? percent.toFixed(2) : percent.toFixed(1)}%`;
}

/** `2026-11-24 09:42:38 UTC` */
export function timeText(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

/** `id=17`, or `order=5, line=2`. */
export function keyText(key: Readonly<Record<string, string>>): string {
  const parts = Object.entries(key).map(([column, value]) => `${column}=${value}`);
  return parts.length === 0 ? '(no key)' : parts.join(', ');
}

export interface ReplicationTotals {
  readonly tables: number;
  readonly compared: number;
  readonly notCompared: number;
  readonly rows: number;
  readonly leaves: number;
  readonly differences: number;
  /** False: there are more differences than were counted. */
  readonly complete: boolean;
}

export function replicationTotals(report: DriftReport): ReplicationTotals {
  const { tables } = report;
  const compared = tables.filter((table) => table.rows !== null);
  const sum = (of: (table: TableResult) => number): number =>
    tables.reduce((total, table) => total + of(table), 0);
  return {
    tables: tables.length,
    compared: compared.length,
    notCompared: tables.length - compared.length,
    rows: sum((table) => table.rows ?? 0),
    leaves: sum((table) => table.leaves),
    differences: sum((table) => table.missing + table.extra + table.changed),
    complete: compared.every((table) => table.complete),
  };
}

export function verdictWord(verdict: Verdict): string {
  switch (verdict) {
    case 'equal':
      return 'Equal';
    case 'drift':
      return 'Drift';
    case 'inconclusive':
      return 'Inconclusive';
    default:
      return unreachable(verdict);
  }
}

/** The verdict as one sentence. */
export function verdictSentence(report: DriftReport): string {
  const { compared, rows, differences, complete } = replicationTotals(report);
  const other = report.pin?.against === 'manifest' ? 'the manifest' : 'production';
  const extent = `${countOf(rows, 'row')} in ${countOf(compared, 'table')}`;
  switch (report.verdict) {
    case 'equal':
      return `At one position, the shadow’s image held the same ${extent} as ${other}.`;
    case 'drift': {
      if (differences === 0) return `The shadow’s image of production differs from ${other}.`;
      const least = complete ? '' : 'at least ';
      const verb = differences === 1 ? 'differs' : 'differ';
      return `At one position, ${least}${countOf(differences, 'row')} of the shadow’s image ${verb} from ${other}.`;
    }
    case 'inconclusive':
      return report.pin === null
        ? 'No point was reached at which the two could be compared.'
        : 'Not everything could be compared, so equality is not proven.';
    default:
      return unreachable(report.verdict);
  }
}
