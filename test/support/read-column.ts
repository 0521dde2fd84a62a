/** One column's decoder alone, with any schema and type. */
import type { SourcePosition } from '../../src/change/position.ts';
import { columnReading } from '../../src/decode/column.ts';
import type { ConnectSchema } from '../../src/decode/envelope/connect-schema.ts';
import type { ConnectorModes } from '../../src/decode/modes.ts';
import { Problem } from '../../src/decode/problem.ts';
import type { ColumnSchema, ColumnType } from '../../src/schema/table-schema.ts';

export function columnOf(type: ColumnType, name = 'c'): ColumnSchema {
  return {
    ...{ name, type, nullable: true, toastable: false },
    generated: 'no',
    identity: 'no',
  };
}

export function semantic(
  type: ConnectSchema['type'],
  name: string,
  more: Partial<ConnectSchema> = {},
): ConnectSchema {
  return { type, name, ...more };
}

/** What it is, the column, how it is sent, what is sent, and what it is read as or the code. */
export type ValueCase = readonly [
  name: string,
  type: ColumnType,
  schema: ConnectSchema,
  sent: unknown,
  read: unknown,
  modes?: ConnectorModes,
];

/** The value, or the code of the error. */
export function readValue(connector: SourcePosition['connector'], each: ValueCase): unknown {
  const [, type, schema, sent, , modes = {}] = each;
  try {
    return columnReading({ connector, modes }, schema, columnOf(type)).decode(sent, 'exact');
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
}
