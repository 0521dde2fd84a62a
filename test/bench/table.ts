import { judge, type BenchResult, type CaseResult } from './statistics.ts';

/** Four digits that matter, grouped by thousands: 123,400 or 0.01234. */
function amount(value: number): string {
  return value.toLocaleString('en-US', { maximumSignificantDigits: 4 });
}

function goal({ goal: ratio, better }: CaseResult): string {
  if (ratio === null) return '-';
  return `${better === 'higher' ? '>=' : '<='} ${amount(ratio)}`;
}

const COLUMNS: readonly (readonly [string, (result: CaseResult) => string])[] = [
  ['case', (result) => result.case],
  ['against', (result) => result.against],
  ['ours', (result) => amount(result.ours)],
  ['theirs', (result) => amount(result.theirs)],
  ['unit', (result) => result.unit],
  ['ratio', (result) => result.ratio.toFixed(3)],
  ['goal', goal],
  ['spread', (result) => `${(result.spread * 100).toFixed(1)} %`],
  ['', judge],
];

const NUMBERS = new Set(['ours', 'theirs', 'ratio', 'goal', 'spread']);

/** The result for a terminal: a heading, then one aligned line per case. Values are medians. */
export function renderTable(result: BenchResult): string {
  const lines = [
    COLUMNS.map(([title]) => title),
    ...result.cases.map((one) => COLUMNS.map(([, cell]) => cell(one))),
  ];
  const widths = COLUMNS.map((_, column) =>
    Math.max(...lines.map((cells) => (cells[column] ?? '').length)),
  );
  const aligned = lines.map((cells) =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return NUMBERS.has(COLUMNS[column]?.[0] ?? '') ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
  return [`bench ${result.name} on ${result.machine}`, ...aligned].join('\n');
}
