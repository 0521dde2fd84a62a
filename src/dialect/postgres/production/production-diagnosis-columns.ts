/**
 * What Debezium 3.6 does not send of a column's type, as observed. Which values a mode rounds is
 * another matter (the decode room's table of losses); here whole values are missing.
 */
import type { Diagnosis, StreamFacts } from '../../dialect.ts';

/** A column, any domain taken off. */
export interface ColumnFacts {
  readonly name: string;
  /** pg_type.typname; of an array the element's is in `element`. */
  readonly type: string;
  readonly element: string | null;
  /** pg_type.typtype of the type, or of the element: b base, c composite, d domain, e enum, m, r. */
  readonly class: string;
  /** The type, or the element's, comes with the server. */
  readonly builtIn: boolean;
  readonly modifier: number;
  readonly dimensions: number;
  readonly notNull: boolean;
  /** May be stored out of line. */
  readonly toastable: boolean;
}

/** Columns that share a trap. */
interface ColumnTrap {
  readonly id: string;
  readonly level: Diagnosis['level'];
  /** Follows `table x`, and is followed by the columns. */
  readonly message: string;
  readonly cure: string;
  readonly trapped: (column: ColumnFacts, stream: StreamFacts | null) => boolean;
}

/** Types of the server's own and of its extensions that are no part of the connector. */
const UNKNOWN_TYPES: ReadonlySet<string> = new Set([
  ...['tsquery', 'jsonpath', 'xid', 'xid8', 'cid', 'tid', 'pg_lsn', 'regclass', 'regproc'],
  ...['regprocedure', 'regoper', 'regoperator', 'regtype', 'regrole', 'regnamespace'],
  ...['regconfig', 'regdictionary', 'regcollation', 'line', 'lseg', 'box', 'path', 'polygon'],
  ...['circle', 'lquery', 'ltxtquery', 'cube', 'seg', 'issn', 'ean13', 'pg_snapshot'],
  ...['txid_snapshot', 'aclitem', 'refcursor', 'name'],
]);

/** Arrays that are left out whatever the connector's settings. */
const NEVER_IN_ARRAYS: ReadonlySet<string> = new Set([
  ...['money', 'name', 'xml', 'interval', 'varbit', 'point'],
]);

/** Elements that the connector declares as never null, so that one NULL empties the array. */
const NULL_FREE_ELEMENTS: ReadonlySet<string> = new Set(['ltree', 'tsvector', 'isbn']);

/** Array elements whose unchanged large array arrives as a placeholder, not as NULL. */
const ELEMENTS_WITH_PLACEHOLDER: ReadonlySet<string> = new Set([
  ...['text', 'varchar', 'bpchar', 'json', 'jsonb', 'int4', 'int8', 'uuid'],
]);

/** The same of types that may be large; what is neither here nor there was not observed. */
const WITHOUT_PLACEHOLDER: ReadonlySet<string> = new Set([
  ...['bit', 'varbit', 'geometry', 'geography', 'vector', 'halfvec', 'sparsevec'],
]);

function isUnknown({ element, type, class: kind, builtIn }: ColumnFacts): boolean {
  if (UNKNOWN_TYPES.has(element ?? type)) return true;
  if (kind === 'c' || kind === 'm' || (kind === 'r' && !builtIn)) return true;
  return element !== null && kind === 'd';
}

function neverSent({ element }: ColumnFacts): boolean {
  return element !== null && NEVER_IN_ARRAYS.has(element);
}

/** An unchanged value that is stored out of line arrives as NULL. */
function lostWhenUnchanged(column: ColumnFacts, stream: StreamFacts | null): boolean {
  if (!column.toastable) return false;
  const { binary, decimal, time } = stream?.modes ?? {};
  const textBinary = binary !== 'bytes';
  if (isUnknown(column)) {
    // Sent as bytes that hold the text, and in an array with no placeholder that could be relied on.
    const doubtful = column.element !== null || (textBinary && binary !== 'hex');
    return stream?.unknownDatatypes === true && doubtful;
  }
  if (column.element === null) {
    if (column.type === 'numeric') return column.modifier === -1 && decimal !== 'string';
    if (column.type === 'bytea') return textBinary && binary !== 'hex';
    return WITHOUT_PLACEHOLDER.has(column.type);
  }
  if (neverSent(column)) return false;
  if (column.element === 'bytea') return textBinary;
  if (column.element === 'date') return time === undefined || time === 'isostring';
  return !ELEMENTS_WITH_PLACEHOLDER.has(column.element);
}

const EMPTY = 'They stay empty in the shadow: change the type, or exclude the table.';

const TRAPS: readonly ColumnTrap[] = [
  {
    id: 'type',
    level: 'warning',
    message: 'has columns of types the connector leaves out',
    cure: 'Set include.unknown.datatypes=true in the connector.',
    trapped: (column, stream) =>
      isUnknown(column) && !neverSent(column) && stream?.unknownDatatypes !== true,
  },
  {
    id: 'array-type',
    level: 'warning',
    message: 'has arrays of types the connector leaves out',
    cure: EMPTY,
    trapped: neverSent,
  },
  {
    id: 'bit-array',
    level: 'warning',
    message: 'has arrays of bit strings, which the connector sends as NULL',
    cure: EMPTY,
    trapped: ({ element }) => element === 'bit',
  },
  {
    id: 'null-elements',
    level: 'warning',
    message: 'has arrays that arrive as NULL if one of their elements is NULL',
    cure: 'Keep NULLs out of them (a CHECK with array_position), or exclude the table.',
    trapped: (column, stream) =>
      column.element !== null &&
      !neverSent(column) &&
      (column.class === 'e' ||
        NULL_FREE_ELEMENTS.has(column.element) ||
        (isUnknown(column) && stream?.unknownDatatypes === true)),
  },
  {
    id: 'dimensions',
    level: 'warning',
    message: 'declares arrays of several dimensions, whose elements the connector loses',
    cure: 'Store them as jsonb, or exclude the table.',
    trapped: ({ dimensions }) => dimensions > 1,
  },
  {
    id: 'timetz',
    level: 'warning',
    message: 'has times with time zone: a zone with seconds in its offset stops the connector',
    cure: 'Use timestamptz, or keep such offsets out by a CHECK.',
    trapped: ({ element, type }) => (element ?? type) === 'timetz',
  },
];

const TOAST_TRAPS: readonly ColumnTrap[] = [
  {
    id: 'toast',
    level: 'warning',
    message: 'sends NULL for large unchanged values of',
    cure: '',
    trapped: (column, stream) => !column.notNull && lostWhenUnchanged(column, stream),
  },
  {
    id: 'toast-stops',
    level: 'error',
    message: 'stops the connector by large unchanged values of',
    cure: '',
    trapped: (column, stream) => column.notNull && lostWhenUnchanged(column, stream),
  },
];

export interface ColumnFinding {
  readonly id: string;
  readonly level: Diagnosis['level'];
  readonly message: string;
  readonly cure: string;
}

/**
 * One finding per trap, with its columns by name. `full` is the statement that makes the whole
 * old row be sent; null if it already is.
 */
export function columnTraps(
  columns: readonly ColumnFacts[],
  stream: StreamFacts | null,
  full: string | null,
): readonly ColumnFinding[] {
  const toast = full === null ? [] : TOAST_TRAPS.map((trap) => ({ ...trap, cure: full }));
  return [...toast, ...TRAPS].flatMap(({ id, level, message, cure, trapped }) => {
    const names = columns.filter((column) => trapped(column, stream)).map(({ name }) => name);
    return names.length === 0
      ? []
      : [{ id, level, message: `${message}: ${names.join(', ')}`, cure }];
  });
}
