/** What the demo says of its own end, beside the report. Pure. */
import type { Divergence } from '../report/divergence.ts';
import type { DriftReport } from '../report/drift-report.ts';

/** The candidate's bugs (see shop/service.ts) and the columns that they show in. */
const BUGS = [
  {
    what: 'discounts are cut off instead of rounded',
    columns: ['public.orders.total_cents', 'public.payments.amount'],
  },
  {
    what: 'goods of cancelled orders do not go back on the shelf',
    columns: ['public.inventory.on_hand'],
  },
];

/** A row that the candidate wrote keeps its value, as one sentence; null if none is listed. */
export function ownedRow(divergence: Divergence | null): string | null {
  for (const finding of divergence?.findings ?? []) {
    const column = finding.columns[0];
    if (finding.kind !== 'update' || column === undefined) continue;
    const row = `${finding.table} ${Object.values(finding.key).join(', ')}`;
    return (
      `${row}: ${column.name} is ${column.candidate ?? 'NULL'} as the candidate wrote it, ` +
      `and ${column.production ?? 'NULL'} in production`
    );
  }
  return null;
}

/** The last lines: what the base proves, and which of the bugs the differences show. */
export function conclusion(report: DriftReport): readonly string[] {
  const rows = rowsByColumn(report.divergence);
  const bugs = BUGS.map(({ what, columns }) => {
    const seen = columns.filter((column) => rows.has(column));
    const where = seen.map((column) => `${column} in ${rows.get(column) ?? 0} rows`).join(', ');
    return `  - ${what}: ${seen.length === 0 ? 'not seen' : where}`;
  });
  const proof =
    report.verdict === 'equal'
      ? 'The base equals production, so whatever differs is the candidate’s doing. Its two bugs:'
      : 'The candidate’s two bugs:';
  return [proof, ...bugs];
}

function rowsByColumn(divergence: Divergence | null): ReadonlyMap<string, number> {
  const rows = new Map<string, number>();
  for (const { table, columns, count } of divergence?.groups ?? []) {
    for (const column of columns) {
      const name = `${table}.${column}`;
      rows.set(name, (rows.get(name) ?? 0) + count);
    }
  }
  return rows;
}
