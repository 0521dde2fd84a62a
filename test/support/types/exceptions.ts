/**
 * Where a shadow may differ from production, and that it does: a difference that nobody declared
 * fails, and so does a declared one that is not there any more.
 */
import type { LossId } from '../../../src/decode/losses/losses.ts';
import type { CliResult } from '../understudy.ts';
import { formOf, valueOf, type Form } from './type-table.ts';
import type { Run } from './runs.ts';

/** One value that is not the same on both sides. */
export interface Difference {
  readonly table: string;
  readonly column: string;
  readonly id: number;
  /** As text; null for NULL. `undefined`: there is no such row. */
  readonly production: string | null | undefined;
  readonly shadow: string | null | undefined;
}

/** A column that does not arrive as it is in production, in some runs and rows. */
export interface Exception<R extends Run> {
  /** Id of the loss in the decode room's table. */
  readonly loss: LossId;
  readonly table: string;
  readonly column: string;
  /** Indices of the values; default: any. */
  readonly values?: readonly number[];
  /** What production holds there, and what it becomes, null for NULL. Default: anything. */
  readonly only?: { readonly production?: null; readonly shadow?: null | 'not null' };
  /** Only rows as the snapshot has them, or only others; default: both. */
  readonly from?: 'snapshot' | 'stream';
  /** Default: in every run. */
  readonly when?: (run: R) => boolean;
}

/** A table of which the decoder or the applier does not take every value in some runs. */
export interface Refusal<R extends Run> {
  readonly table: string;
  readonly column: string;
  /** The error's code, or `parked` for keys that are set aside. */
  readonly code: string;
  readonly when: (run: R) => boolean;
}

/** What a run that ended early, or set keys aside, says of why: `parked`, its error, or its log. */
export function refusalIn({ status, stdout, stderr }: CliResult): string {
  if (status === 2) {
    const left = JSON.parse(stdout) as { parked: number; deadLetters?: number };
    if (left.parked > 0) return 'parked';
    if ((left.deadLetters ?? 0) > 0) return stderr;
  }
  if (status === 6) return stderr;
  throw new Error(`a refusal was expected, not exit status ${String(status)}: ${stdout} ${stderr}`);
}

/** Forms whose last event is one of the snapshot's. */
const SNAPSHOT: ReadonlySet<Form> = new Set(['snapshot']);

function covers(exception: Omit<Exception<Run>, 'when'>, difference: Difference): boolean {
  const { table, column, id } = difference;
  if (exception.table !== table || exception.column !== column) return false;
  // No loss excuses a row that is lost, or that should be gone.
  if (difference.production === undefined || difference.shadow === undefined) return false;
  if (exception.values !== undefined && !exception.values.includes(valueOf(id))) return false;
  const { only } = exception;
  if (only?.production === null && difference.production !== null) return false;
  if (only?.shadow === null && difference.shadow !== null) return false;
  if (only?.shadow === 'not null' && difference.shadow === null) return false;
  if (exception.from === undefined) return true;
  return (exception.from === 'snapshot') === SNAPSHOT.has(formOf(id));
}

/**
 * What is wrong with a run's differences, one line each; nothing if all is as declared. Of an
 * exception that names values, every one must be seen to differ.
 */
export function judge<R extends Run>(
  run: R,
  differences: readonly Difference[],
  exceptions: readonly Exception<R>[],
): readonly string[] {
  const holding = exceptions.filter(({ when }) => when?.(run) ?? true);
  const seen = new Set<string>();
  const name = (exception: Exception<R>, value: number | undefined): string =>
    `${exception.table}.${exception.column} [${value ?? '*'}] has no ${exception.loss} any more`;
  const undeclared = new Map<string, Difference[]>();
  for (const difference of differences) {
    const value = valueOf(difference.id);
    const covering = holding.filter((exception) => covers(exception, difference));
    for (const exception of covering) {
      seen.add(name(exception, exception.values === undefined ? undefined : value));
    }
    if (covering.length > 0) continue;
    const where = `${difference.table}.${difference.column} [${String(value)}]`;
    undeclared.set(where, [...(undeclared.get(where) ?? []), difference]);
  }
  const expected = holding.flatMap((exception) =>
    (exception.values ?? [undefined]).map((value) => name(exception, value)),
  );
  return [
    ...[...undeclared].map(([where, all]) => `${run.name}: ${where} ${describe(all)}`),
    ...expected.filter((line) => !seen.has(line)).map((line) => `${run.name}: ${line}`),
  ];
}

function describe(all: readonly Difference[]): string {
  const [first] = all;
  const forms = [...new Set(all.map(({ id }) => formOf(id)))].join(', ');
  return `differs in ${forms}: ${show(first?.production)} became ${show(first?.shadow)}`;
}

function show(value: string | null | undefined): string {
  if (value === undefined) return 'no row';
  return value === null ? 'NULL' : JSON.stringify(value).slice(0, 120);
}

/** Rows of one side: by id, each column's text and its exact form (bytes in hex, or the text). */
export type Rows = ReadonlyMap<number, ReadonlyMap<string, Cell>>;
export interface Cell {
  readonly text: string | null;
  readonly exact: string | null;
}

/** All differences of one table. */
export function compareRows(table: string, production: Rows, shadow: Rows): readonly Difference[] {
  const differences: Difference[] = [];
  for (const id of new Set([...production.keys(), ...shadow.keys()])) {
    const ours = shadow.get(id);
    const theirs = production.get(id);
    for (const column of (theirs ?? ours ?? new Map<string, Cell>()).keys()) {
      const [a, b] = [theirs?.get(column), ours?.get(column)];
      if (a !== undefined && b !== undefined && a.exact === b.exact) continue;
      differences.push({ table, column, id, production: a?.text, shadow: b?.text });
    }
  }
  return differences;
}
