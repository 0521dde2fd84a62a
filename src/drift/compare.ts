/**
 * Compares production with our image of it, both standing at one point, table by table. What
 * cannot be compared is said so, with its reason; nothing is skipped in silence.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import type { BaseReader, ComparedTable, TableGaps } from '../dialect/dialect.ts';
import { isUnderstudyError, type UnderstudyError } from '../errors/understudy-error.ts';
import type { Reason, ReasonCode, RowDifference, TableResult } from '../report/drift-report.ts';
import type { TableSchema } from '../schema/table-schema.ts';
import { TableCauses, type LossyColumn } from './causes.ts';
import { compareTable, type CompareLimits, type TableComparison } from './compare-table.ts';
import { columnNames, wholeTables, type Reference } from './reference.ts';
import { severity } from './verdict.ts';

export interface CompareProgress {
  readonly table: string;
  readonly tablesDone: number;
  readonly tables: number;
  /** Rows hashed so far, over all tables. */
  readonly rows: number;
}

export interface CompareOptions {
  /** The tables that are followed; others are no concern of the check. */
  readonly include: (table: TableId) => boolean;
  /**
   * Whether tables and columns that only our side has are drift. True for the trunk; false for a
   * rollout, whose candidate may add its own.
   */
  readonly strictSchema: boolean;
  readonly showValues: boolean;
  readonly limits: CompareLimits;
  /** Columns that the connector's settings do not carry exactly; default none. */
  readonly lossy?: readonly LossyColumn[];
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: CompareProgress) => void;
}

export const DEFAULT_LIMITS: CompareLimits = {
  leafRows: 5_000,
  listedRows: 200,
  searchedRows: 1_000_000,
};

export interface Comparison {
  readonly tables: readonly TableResult[];
  readonly differences: readonly RowDifference[];
  /** Reasons that concern no single table. */
  readonly general: readonly Reason[];
}

export async function compareTables(
  reference: Reference,
  base: BaseReader,
  options: CompareOptions,
): Promise<Comparison> {
  const [theirs, ours] = [await reference.selfTest(), await base.selfTest()];
  if (theirs !== ours) {
    const message = 'the two servers compute different hashes of the same known rows';
    const general: Reason[] = [{ code: 'hash-differs-between-servers', message, table: null }];
    return { tables: [], differences: [], general };
  }
  const baseTables = new Map(
    wholeTables(await base.tables())
      .filter((table) => options.include(table.id))
      .map((table) => [tableName(table.id), table]),
  );
  const gaps = await base.gaps();
  const notCaptured = await base.notCaptured();
  const names = reference.tables.filter((name) => options.include(reference.id(name))).sort();
  const tables: TableResult[] = [];
  const differences: RowDifference[] = [];
  let rows = 0;
  for (const [i, name] of names.entries()) {
    const report = (more: number): void => {
      rows += more;
      options.onProgress?.({ table: name, tablesDone: i, tables: names.length, rows });
    };
    report(0);
    const compared = await compareOne({
      ...{ name, reference, base, gaps, baseTables, options, report },
      isCaptured: !notCaptured.has(name),
    });
    tables.push(compared.result);
    differences.push(...compared.differences);
  }
  if (options.strictSchema) {
    const known = new Set(reference.tables);
    for (const name of [...baseTables.keys()].filter((name) => !known.has(name)).sort()) {
      const message = 'the shadow has a table that production does not have';
      tables.push(notCompared({ code: 'table-extra', message, table: name }));
    }
  }
  return { tables, differences, general: [] };
}

interface OneTable {
  readonly name: string;
  readonly reference: Reference;
  readonly base: BaseReader;
  readonly gaps: readonly TableGaps[];
  /** Nobody but us wrote what is read of it. */
  readonly isCaptured: boolean;
  readonly baseTables: ReadonlyMap<string, TableSchema>;
  readonly options: CompareOptions;
  readonly report: (rows: number) => void;
}

interface ComparedOne {
  readonly result: TableResult;
  readonly differences: readonly RowDifference[];
}

async function compareOne(one: OneTable): Promise<ComparedOne> {
  const ours = one.baseTables.get(one.name);
  if (ours === undefined) {
    const message = 'production has a table that the shadow does not have';
    return {
      result: notCompared({ code: 'table-missing', message, table: one.name }),
      differences: [],
    };
  }
  try {
    return await compareExisting(one, ours);
  } catch (error) {
    const code = unreadableCode(error);
    if (code === null) throw error;
    const message = describe(error as UnderstudyError);
    return { result: notCompared({ code, message, table: one.name }), differences: [] };
  }
}

async function compareExisting(one: OneTable, ours: TableSchema): Promise<ComparedOne> {
  const { name, reference, base, options } = one;
  const ourColumns = new Set(columnNames(ours));
  const theirColumns = reference.columns(name);
  const theirKey = reference.key(name);
  if (JSON.stringify([...theirKey].sort()) !== JSON.stringify([...ours.key].sort())) {
    const message = `the key is (${theirKey.join(', ')}) in production and (${ours.key.join(', ')}) in the shadow`;
    return { result: notCompared({ code: 'key-differs', message, table: name }), differences: [] };
  }
  const opened = await reference.open(name, (column) => ourColumns.has(column));
  const differing = differingForms(opened.table, opened.forms, await base.forms(opened.table));
  if (differing.length > 0) {
    const message = `columns have other types in production: ${differing.join(', ')}`;
    return { result: notCompared({ code: 'types-differ', message, table: name }), differences: [] };
  }
  const comparison = await compareTable({
    reference: opened,
    base,
    limits: options.limits,
    showValues: options.showValues,
    signal: options.signal,
    onRows: one.report,
  });
  const schemaReason = columnReason(name, theirColumns, [...ourColumns], options.strictSchema);
  const causes = new TableCauses({ name, key: ours.key }, one.gaps, options.lossy ?? []);
  return {
    result: toResult(one, comparison, schemaReason ?? causes.doubt()),
    differences: comparison.differences.map((difference) => causes.name(difference)),
  };
}

/** Columns, or key columns, that the two sides hash in different ways. */
function differingForms(
  table: ComparedTable,
  theirs: readonly string[],
  ours: readonly string[],
): readonly string[] {
  const names = [...table.columns, ...table.key];
  return [...new Set(names.filter((_, i) => theirs[i] !== ours[i]))];
}

function columnReason(
  table: string,
  theirs: readonly string[],
  ours: readonly string[],
  strict: boolean,
): Reason | null {
  const missing = theirs.filter((column) => !ours.includes(column));
  if (missing.length > 0) {
    const message = `the shadow lacks columns: ${missing.join(', ')}`;
    return { code: 'column-missing', message, table };
  }
  const extra = ours.filter((column) => !theirs.includes(column));
  if (extra.length === 0 || !strict) return null;
  const message = `production lacks columns: ${extra.join(', ')}`;
  return { code: 'column-extra', message, table };
}

function toResult(
  { name: table, isCaptured }: Pick<OneTable, 'name' | 'isCaptured'>,
  comparison: TableComparison,
  otherReason: Reason | null,
): TableResult {
  const { rows, leaves, missing, extra, changed, complete } = comparison;
  const reason: Reason | null =
    comparison.differingLeaves === 0
      ? otherReason
      : { ...differing(isCaptured, countText(comparison)), table };
  const state = reason === null ? 'equal' : severity(reason.code);
  return { table, rows, leaves, state, missing, extra, changed, complete, reason };
}

/** Rows that are equal are so whoever wrote them; rows that are not may be the candidate's doing. */
function differing(isCaptured: boolean, counts: string): Pick<Reason, 'code' | 'message'> {
  if (isCaptured) return { code: 'rows-differ', message: counts };
  const message = `${counts}; the table has no key, or what captured there was gone for a while, so that rows the candidate wrote are not told from production’s`;
  return { code: 'rows-not-captured', message };
}

function countText(comparison: TableComparison): string {
  const { missing, extra, changed, complete, differingLeaves, leaves } = comparison;
  const total = missing + extra + changed;
  if (total === 0) return `${differingLeaves} of ${leaves} leaves differ; rows were not searched`;
  const counts = [
    missing === 0 ? null : `${missing} missing`,
    extra === 0 ? null : `${extra} extra`,
    changed === 0 ? null : `${changed} changed`,
  ].filter((part) => part !== null);
  return `${complete ? '' : 'at least '}${counts.join(', ')}`;
}

function notCompared(reason: Reason): TableResult {
  return {
    table: reason.table ?? '',
    rows: null,
    leaves: 0,
    state: severity(reason.code) === 'drift' ? 'drift' : 'not-compared',
    missing: 0,
    extra: 0,
    changed: 0,
    complete: false,
    reason,
  };
}

function unreadableCode(error: unknown): ReasonCode | null {
  if (isUnderstudyError(error, 'TABLE_REWRITTEN')) return 'table-rewritten';
  return isUnderstudyError(error, 'READ_FAILED', 'COLUMN_UNKNOWN') ? 'table-unreadable' : null;
}

function describe(error: UnderstudyError): string {
  const { detail, column } = error.context;
  return [error.message, column, detail].filter((part) => part !== undefined).join(': ');
}
