/**
 * What a candidate's writes did, against production's rows: counts per table, findings grouped by
 * table, kind and set of columns, and the rows themselves. Pure.
 */

/** As overlay/conflict.ts has them. */
type DifferenceKind = 'insert' | 'update' | 'delete' | 'blocked' | 'pair';

/** One row the candidate owns and how it differs, as the overlay reads it. */
export interface DivergentRow {
  /** `schema.name`. */
  readonly table: string;
  readonly keyColumns: readonly string[];
  readonly key: readonly string[];
  /** Of a pair: the key of production's row. */
  readonly pairedWith?: readonly string[];
  readonly kind: DifferenceKind;
  readonly columns: readonly {
    readonly column: string;
    readonly production: string | null;
    readonly candidate: string | null;
  }[];
  readonly at: Date;
}

export interface DivergentTable {
  readonly table: string;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
  /** Rows of production's that the candidate's rows or schema keep out. */
  readonly blocked: number;
  /** Rows that both sides inserted under keys of their own, and that differ. */
  readonly pairs: number;
  /** Rows that differ in keys of such alone. */
  readonly paired: number;
  /** Rows owned whose image equals production's again. */
  readonly equal: number;
  /** Rows the candidate sees. */
  readonly rows: number;
}

export interface DivergenceTable extends DivergentTable {
  /** Differing rows ÷ rows seen or deleted; 0 for an empty table. */
  readonly ratio: number;
}

export interface DivergenceColumn {
  readonly name: string;
  /** Exact text; absent unless values were asked for. */
  readonly production?: string | null;
  readonly candidate?: string | null;
}

export interface DivergenceRow {
  readonly table: string;
  readonly key: Readonly<Record<string, string>>;
  /** Of a pair: the key of production's row. */
  readonly pairedWith?: Readonly<Record<string, string>>;
  readonly kind: DifferenceKind;
  readonly columns: readonly DivergenceColumn[];
  /** When the candidate first wrote the row, ISO 8601. */
  readonly at: string;
}

/** Rows that differ in the same way. */
export interface DivergenceGroup {
  readonly table: string;
  readonly kind: DifferenceKind;
  /** Columns that differ; empty for inserts and deletes, where the whole row does. */
  readonly columns: readonly string[];
  readonly count: number;
  readonly first: string;
  readonly last: string;
  /** Some keys, oldest first. */
  readonly examples: readonly Readonly<Record<string, string>>[];
}

export interface Divergence {
  readonly rows: number;
  readonly tables: readonly DivergenceTable[];
  readonly groups: readonly DivergenceGroup[];
  readonly findings: readonly DivergenceRow[];
  /** False: there are more rows than findings; groups then count the listed ones. */
  readonly complete: boolean;
}

const EXAMPLES = 5;

export function buildDivergence(options: {
  readonly tables: readonly DivergentTable[];
  readonly rows: readonly DivergentRow[];
  readonly showValues: boolean;
}): Divergence {
  const tables = options.tables
    .filter((table) => differing(table) + table.equal + table.paired > 0)
    .map((table) => ({ ...table, ratio: ratioOf(table) }))
    .sort((a, b) => differing(b) - differing(a) || compareText(a.table, b.table));
  const findings = options.rows.map((row) => finding(row, options.showValues));
  const total = tables.reduce((sum, table) => sum + differing(table), 0);
  return {
    rows: total,
    tables,
    groups: group(findings),
    findings,
    complete: findings.length >= total,
  };
}

function differing(table: DivergentTable): number {
  return table.inserted + table.updated + table.deleted + table.blocked + table.pairs;
}

function ratioOf(table: DivergentTable): number {
  const touched = table.rows + table.deleted;
  return touched === 0 ? 0 : differing(table) / touched;
}

function finding(row: DivergentRow, showValues: boolean): DivergenceRow {
  const named = (key: readonly string[]): Record<string, string> =>
    Object.fromEntries(row.keyColumns.map((column, i) => [column, key[i] ?? '']));
  return {
    table: row.table,
    key: named(row.key),
    ...(row.pairedWith !== undefined && { pairedWith: named(row.pairedWith) }),
    kind: row.kind,
    columns: row.columns.map((column) =>
      showValues
        ? { name: column.column, production: column.production, candidate: column.candidate }
        : { name: column.column },
    ),
    at: row.at.toISOString(),
  };
}

function group(findings: readonly DivergenceRow[]): readonly DivergenceGroup[] {
  const groups = new Map<string, DivergenceRow[]>();
  for (const row of findings) {
    const id = JSON.stringify([row.table, row.kind, columnSet(row)]);
    const members = groups.get(id);
    if (members === undefined) groups.set(id, [row]);
    else members.push(row);
  }
  return [...groups.values()].map(summarise).sort(byImpact);
}

function columnSet(row: DivergenceRow): readonly string[] {
  return row.kind === 'update' || row.kind === 'pair'
    ? row.columns.map((column) => column.name).sort(compareText)
    : [];
}

function summarise(members: readonly DivergenceRow[]): DivergenceGroup {
  const sorted = [...members].sort((a, b) => compareText(a.at, b.at));
  const [first] = sorted;
  const last = sorted.at(-1);
  if (first === undefined || last === undefined) throw new Error('a group has a member');
  return {
    table: first.table,
    kind: first.kind,
    columns: columnSet(first),
    count: sorted.length,
    first: first.at,
    last: last.at,
    examples: sorted.slice(0, EXAMPLES).map((row) => row.key),
  };
}

function byImpact(a: DivergenceGroup, b: DivergenceGroup): number {
  return (
    b.count - a.count ||
    compareText(a.table, b.table) ||
    compareText(a.kind, b.kind) ||
    compareText(a.columns.join(), b.columns.join())
  );
}

/** By code units: the same order on every machine. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
