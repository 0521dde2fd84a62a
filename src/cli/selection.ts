/** Options by which commands select rows of a rollout. */
import type { Command } from 'commander';
import type { RowSelection } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { GlobalOptions } from './session.ts';
import { parseTable } from './words.ts';

export interface SelectionOptions extends GlobalOptions {
  readonly table?: string;
  readonly key?: readonly string[];
  readonly trace?: string;
}

export function addSelection(command: Command): Command {
  return command
    .option('--table <schema.table>', 'only this table')
    .option('--key <value...>', 'only this row: its key columns’ values in order')
    .option('--trace <id>', 'only rows that were first written in this request or trace');
}

/** Errors: USAGE. */
export function selectionOf({ table, key, trace }: SelectionOptions): RowSelection {
  if (key !== undefined && table === undefined) {
    throw new UnderstudyError('USAGE', '--key needs --table');
  }
  return {
    ...(table !== undefined && { table: parseTable(table) }),
    ...(key !== undefined && { key }),
    ...(trace !== undefined && { trace }),
  };
}
