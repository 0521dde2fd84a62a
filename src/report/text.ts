/** The report for a terminal: the verdict first, then what it rests on, then the findings. */
import { unreachable } from '../util/assert.ts';
import type { Divergence, DivergenceGroup } from './divergence.ts';
import type { DriftReport, RowDifference, TableResult, Verdict } from './drift-report.ts';
import {
  countOf,
  countText,
  durationText,
  keyText,
  percentText,
  replicationTotals,
  verdictSentence,
  verdictWord,
} from './words.ts';

export interface TextOptions {
  /** ANSI colours. */
  readonly colour: boolean;
  /** Lines of each list; what is left out is counted. */
  readonly maxLines?: number;
}

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';
type Paint = (style: Style, text: string) => string;

const SGR: Readonly<Record<Style, number>> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 };

export function renderText(report: DriftReport, options: TextOptions): string {
  const paint = painter(options);
  const max = options.maxLines ?? 20;
  return join([
    headline(report, paint),
    point(report, paint),
    reasons(report, paint),
    tables(report.tables, paint, max),
    differences(report.differences, paint, max),
    report.divergence === null ? [] : divergence(report.divergence, paint, max),
  ]);
}

/** What a rollout's candidate changed, without a check of the copy. */
export function renderDivergenceText(
  rollout: string,
  found: Divergence,
  options: TextOptions,
): string {
  const paint = painter(options);
  const lines = divergence(found, paint, options.maxLines ?? 20);
  return join([[paint('bold', `rollout ${rollout}`)], lines]);
}

function painter(options: TextOptions): Paint {
  return (style, text) => (options.colour ? `\u001b[${SGR[style]}m${text}\u001b[0m` : text);
}

function join(blocks: readonly (readonly string[])[]): string {
  const filled = blocks.filter((lines) => lines.length > 0);
  return `${filled.map((lines) => lines.join('\n')).join('\n\n')}\n`;
}

function verdictStyle(verdict: Verdict): Style {
  switch (verdict) {
    case 'equal':
      return 'green';
    case 'drift':
      return 'red';
    case 'inconclusive':
      return 'yellow';
    default:
      return unreachable(verdict);
  }
}

function headline(report: DriftReport, paint: Paint): string[] {
  const { kind, name } = report.subject;
  const verdict = paint(verdictStyle(report.verdict), verdictWord(report.verdict).toUpperCase());
  return [
    `${verdict}  ${paint('bold', `${kind} ${name}`)}  ${paint('dim', durationText(report.durationMs))}`,
    verdictSentence(report),
  ];
}

function point(report: DriftReport, paint: Paint): string[] {
  const totals = replicationTotals(report);
  const label = (text: string): string => paint('dim', text.padEnd(10));
  const covered =
    `${totals.compared} of ${countOf(totals.tables, 'table')}, ` +
    `${countOf(totals.rows, 'row')}, ${countOf(totals.leaves, 'leaf', 'leaves')}`;
  if (report.pin === null) return [];
  const { proof, snapshot, position, deferred, frozenMs } = report.pin;
  return [
    `${label('compared')}${covered}`,
    `${label('point')}snapshot ${snapshot}, log position ${position.marker}`,
    `${label('proof')}${proof}, ${countOf(deferred, 'transaction')} held back, ` +
      `applying stood still for ${durationText(frozenMs)}`,
  ];
}

function reasons(report: DriftReport, paint: Paint): string[] {
  // What is in the table below needs no second line.
  const general = report.reasons.filter((reason) => reason.table === null);
  return general.map(
    (reason) => `${paint('yellow', '!')} ${reason.message} ${paint('dim', `[${reason.code}]`)}`,
  );
}

function tables(all: readonly TableResult[], paint: Paint, max: number): string[] {
  if (all.length === 0) return [];
  const sorted = [...all].sort((a, b) => stateOrder(a) - stateOrder(b));
  const shown = sorted.slice(0, max);
  const cells = shown.map((table) => [
    table.table,
    table.rows === null ? '-' : countText(table.rows),
    table.rows === null ? '-' : countText(table.missing),
    table.rows === null ? '-' : countText(table.extra),
    table.rows === null ? '-' : countText(table.changed),
  ]);
  const header = ['table', 'rows', 'missing', 'extra', 'changed'];
  const widths = header.map((title, i) =>
    Math.max(title.length, ...cells.map((row) => (row[i] ?? '').length)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ');
  const lines = shown.map((table, i) => `${line(cells[i] ?? [])}  ${stateText(table, paint)}`);
  return [
    paint('dim', `${line(header)}  state`),
    ...lines,
    ...rest(all.length - shown.length, 'table'),
  ];
}

function stateOrder(table: TableResult): number {
  return { drift: 0, 'not-compared': 1, inconclusive: 1, equal: 2 }[table.state];
}

function stateText(table: TableResult, paint: Paint): string {
  switch (table.state) {
    case 'equal':
      return paint('green', 'equal');
    case 'drift':
      return `${paint('red', 'drift')}  ${table.reason?.message ?? ''}`.trimEnd();
    case 'inconclusive':
      return `${paint('yellow', 'inconclusive')}  ${table.reason?.message ?? ''}`.trimEnd();
    case 'not-compared':
      return `${paint('yellow', 'not compared')}  ${table.reason?.message ?? ''}`.trimEnd();
    default:
      return unreachable(table.state);
  }
}

function differences(all: readonly RowDifference[], paint: Paint, max: number): string[] {
  if (all.length === 0) return [];
  const lines = all.slice(0, max).map((row) => {
    const columns = row.kind === 'changed' ? `  ${row.columns.map(columnText).join(', ')}` : '';
    const cause = row.cause === undefined ? '' : `  ${paint('dim', `[${row.cause}]`)}`;
    return `  ${row.kind.padEnd(7)}  ${row.table}  ${keyText(row.key)}${columns}${cause}`;
  });
  return [
    paint('bold', 'Rows that differ from production'),
    ...lines,
    ...rest(all.length - lines.length, 'row'),
  ];
}

function columnText(column: RowDifference['columns'][number]): string {
  const cause = column.cause === undefined ? '' : ` [${column.cause}]`;
  const name = `${column.name}${cause}`;
  if (column.production === undefined && column.shadow === undefined) return name;
  return `${name}: ${valueText(column.production)} -> ${valueText(column.shadow)}`;
}

function valueText(value: string | null | undefined): string {
  if (value === undefined) return '-';
  if (value === null) return 'NULL';
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 59)}…` : value);
}

function divergence(all: Divergence, paint: Paint, max: number): string[] {
  if (all.rows === 0)
    return [paint('bold', 'The candidate changed nothing that production did not.')];
  const title = `The candidate’s writes differ from production in ${countOf(all.rows, 'row')}`;
  const ratios = all.tables
    .filter((table) => table.ratio > 0)
    .map((table) => `${table.table} ${percentText(table.ratio)}`);
  const shown = all.groups.slice(0, max);
  const width = Math.max(...shown.map((group) => countText(group.count).length));
  return [
    paint('bold', title),
    paint('dim', `  share of rows: ${ratios.join(', ')}`),
    ...shown.map((group) => groupText(group, width)),
    ...rest(all.groups.length - shown.length, 'group'),
    ...(all.complete
      ? []
      : [`  listed are ${countText(all.findings.length)} rows; there are more`]),
  ];
}

function groupText(group: DivergenceGroup, width: number): string {
  const [example] = group.examples;
  const columns = group.columns.length === 0 ? '' : ` of ${group.columns.join(', ')}`;
  const such = example === undefined ? '' : `, e.g. ${keyText(example)}`;
  return `  ${countText(group.count).padStart(width)}  ${group.table}  ${group.kind}${columns}${such}`;
}

function rest(count: number, one: string): string[] {
  return count <= 0 ? [] : [`  … and ${countOf(count, one)} more`];
}
