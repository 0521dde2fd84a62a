/**
 * What Debezium 3.6 does not send of a column's type: here whole values are missing. Which types
 * those are, the decode room's table of types says; which values a mode rounds is another matter
 * (its table of losses).
 */
import {
  lossesOf,
  expectedSchema,
  isSent as isSentBy,
  nullMayBeUnsent,
  sendingOf,
} from '../../../decode/column.ts';
import type { ConnectorModes } from '../../../decode/modes.ts';
import type { Sending } from '../../../decode/types/type-table.ts';
import type { ColumnSchema } from '../../../schema/table-schema.ts';
import type { Diagnosis, StreamFacts } from '../../dialect.ts';

/** A column that a table stores. */
export interface ColumnFacts {
  readonly schema: ColumnSchema;
  /** As it was declared; 0 for what is no array. */
  readonly dimensions: number;
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

const sending = ({ schema }: ColumnFacts): Sending => sendingOf('postgresql', schema);

/** Where a mode is not known, the value under which the most is lost. */
const WORST: ConnectorModes = {
  ...({ time: 'isostring', decimal: 'precise', binary: 'base64' } as const),
  ...({ hstore: 'json', interval: 'numeric' } as const),
};

function modesOf(stream: StreamFacts | null): ConnectorModes {
  const known = Object.entries(stream?.modes ?? {}).filter(([, mode]) => mode !== undefined);
  return { ...WORST, ...Object.fromEntries(known) };
}

function isSent({ schema }: ColumnFacts, stream: StreamFacts | null): boolean {
  return isSentBy('postgresql', schema, stream?.unknownDatatypes === true);
}

/** No NULL can be sent in place of what cannot be converted. */
function stopsAtNull({ schema }: ColumnFacts, stream: StreamFacts | null): boolean {
  return !schema.nullable || stream?.stopsAtValues === true;
}

/** An unchanged value that is stored out of line arrives as NULL. */
function lostWhenUnchanged(column: ColumnFacts, stream: StreamFacts | null): boolean {
  const { schema } = column;
  const source = { connector: 'postgresql', modes: modesOf(stream) } as const;
  return schema.toastable && isSent(column, stream) && nullMayBeUnsent(source, schema);
}

function losesArraysWithNulls(column: ColumnFacts, stream: StreamFacts | null): boolean {
  const { schema } = column;
  if (schema.type.element === undefined || !isSent(column, stream)) return false;
  const source = { connector: 'postgresql', modes: modesOf(stream) } as const;
  return lossesOf('postgresql', expectedSchema(source, schema), schema).some(
    ({ id }) => id === 'array-null-element',
  );
}

function isBitArray(column: ColumnFacts): boolean {
  return sending(column) !== 'never' && column.schema.type.element?.kind === 'bits';
}

const EMPTY = 'They stay empty in the shadow: change the type, or exclude the table.';

const TRAPS: readonly ColumnTrap[] = [
  {
    id: 'type',
    level: 'warning',
    message: 'has columns of types the connector leaves out',
    cure: 'Set include.unknown.datatypes=true in the connector.',
    trapped: (column, stream) => sending(column) === 'opt-in' && !isSent(column, stream),
  },
  {
    id: 'array-type',
    level: 'warning',
    message: 'has arrays of types the connector leaves out',
    cure: EMPTY,
    trapped: (column) => sending(column) === 'never',
  },
  {
    id: 'bit-array',
    level: 'warning',
    message: 'has arrays of bit strings, which the connector sends as NULL',
    cure: EMPTY,
    trapped: (column, stream) => stream?.stopsAtValues !== true && isBitArray(column),
  },
  {
    id: 'bit-array-stops',
    level: 'error',
    message: 'stops the connector by any value of the arrays of bit strings',
    cure: 'Change the type before the connector starts, or exclude the table.',
    trapped: (column, stream) => stream?.stopsAtValues === true && isBitArray(column),
  },
  {
    id: 'null-elements',
    level: 'warning',
    message: 'has arrays that arrive as NULL if one of their elements is NULL',
    cure: 'Keep NULLs out of them (a CHECK with array_position), or exclude the table.',
    trapped: (column, stream) =>
      stream?.stopsAtValues !== true && losesArraysWithNulls(column, stream),
  },
  {
    id: 'null-elements-stop',
    level: 'warning',
    message: 'has arrays that stop the connector if one of their elements is NULL',
    cure: 'Keep NULLs out of them (a CHECK with array_position), or exclude the table.',
    trapped: (column, stream) =>
      stream?.stopsAtValues === true && losesArraysWithNulls(column, stream),
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
    trapped: ({ schema: { type } }) => (type.element ?? type).kind === 'timetz',
  },
  {
    id: 'refcursor',
    level: 'error',
    message:
      'keeps the connector’s snapshot beginning anew for ever, though its task runs, by columns of type refcursor',
    cure: 'Make them text, which holds the same, before the connector starts.',
    trapped: ({ schema: { type } }) => type.sql === 'refcursor',
  },
];

const TOAST_TRAPS: readonly ColumnTrap[] = [
  {
    id: 'toast',
    level: 'warning',
    message: 'sends NULL for large unchanged values of',
    cure: '',
    trapped: (column, stream) => !stopsAtNull(column, stream) && lostWhenUnchanged(column, stream),
  },
  {
    id: 'toast-stops',
    level: 'error',
    message: 'stops the connector by large unchanged values of',
    cure: '',
    trapped: (column, stream) => stopsAtNull(column, stream) && lostWhenUnchanged(column, stream),
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
    const names = columns
      .filter((column) => trapped(column, stream))
      .map(({ schema }) => schema.name);
    return names.length === 0
      ? []
      : [{ id, level, message: `${message}: ${names.join(', ')}`, cure }];
  });
}
