/** What the configuration says of changes of production's schema, and what each of them leads to. */
import type { Config } from '../config/schema.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { describeChange, type SchemaChange } from '../schema/schema-change.ts';
import { unreachable } from '../util/assert.ts';
import { KeyDiffers } from './schema-watch.ts';

type Policy = 'apply' | 'hold' | 'fail';

/** What the configuration says of a kind of change. */
export function policyOf(change: SchemaChange, { evolution }: Config): Policy {
  switch (change.kind) {
    case 'add':
    case 'widen':
    case 'enumValue':
    case 'drop':
    case 'retype':
      return evolution[change.kind];
    case 'rename':
      // Without a person nobody can tell it from another column.
      return change.certain || evolution.rename === 'fail' ? evolution.rename : 'hold';
    case 'newTable':
      // It would be made without the rows it has.
      return change.certain ? evolution.newTable : 'fail';
    case 'key':
    case 'droppedTable':
      return evolution[change.kind];
    case 'renameTable':
      return change.why === null || evolution.renameTable === 'fail'
        ? evolution.renameTable
        : 'hold';
    default:
      return unreachable(change);
  }
}

/** What a record can meet in a shadow whose tables are not production's of now. */
export const TROUBLES = [
  ...(['COLUMN_UNKNOWN', 'TYPE_UNKNOWN', 'TABLE_UNKNOWN'] as const),
  ...(['SCHEMA_CHANGED', 'KEY_MISSING'] as const),
] as const;

/** Kinds of change that can lead to each of them; the column must be the one in trouble, if any is. */
export function leadsTo(change: SchemaChange, error: UnderstudyError): boolean {
  if (error instanceof KeyDiffers || error.code === 'KEY_MISSING') return change.kind === 'key';
  const { column } = error.context;
  const concerns = (...names: readonly string[]): boolean =>
    column === undefined || names.includes(column);
  switch (change.kind) {
    case 'add':
      return error.code === 'COLUMN_UNKNOWN' && concerns(change.column.name);
    case 'rename':
      return isUnderstudyError(error, 'COLUMN_UNKNOWN', 'SCHEMA_CHANGED')
        ? column === change.to.name || column === change.from.name
        : false;
    case 'widen':
    case 'retype':
    case 'enumValue':
      return isUnderstudyError(error, 'TYPE_UNKNOWN', 'SCHEMA_CHANGED') && concerns(change.to.name);
    case 'newTable':
    case 'renameTable':
      return error.code === 'TABLE_UNKNOWN';
    case 'drop':
      return error.code === 'SCHEMA_CHANGED' && column === change.column.name;
    case 'key':
    case 'droppedTable':
      return false;
    default:
      return unreachable(change);
  }
}

/** A key of new columns needs them, and columns of the former one go after it. */
export function inTurn(changes: readonly SchemaChange[]): readonly SchemaChange[] {
  const turn = ({ kind }: SchemaChange): number => (kind === 'drop' ? 2 : kind === 'key' ? 1 : 0);
  return changes.toSorted((a, b) => turn(a) - turn(b));
}

/** Does the schema-change topic have to say more of it? */
export function isUnclear(change: SchemaChange): boolean {
  switch (change.kind) {
    case 'add':
      return change.told === undefined;
    case 'rename':
    case 'newTable':
      return !change.certain;
    case 'drop':
    case 'widen':
    case 'retype':
    case 'enumValue':
    case 'key':
    case 'droppedTable':
    case 'renameTable':
      return false;
    default:
      return unreachable(change);
  }
}

/** A row that the shadow does not take, or cannot read: it tells of no column. */
export function isRefusal(error: UnderstudyError): boolean {
  const { code, context } = error;
  if (error instanceof KeyDiffers) return false;
  return code === 'SCHEMA_CHANGED' && context.column === undefined;
}

/** `error` with the change it is due to, and why that is not carried out: null by configuration. */
export function refused(
  error: UnderstudyError,
  change: SchemaChange,
  why: string | null,
): UnderstudyError {
  const found = `in production: ${describeChange(change)}`;
  const detail = why === null ? found : `${found}; ${why}`;
  return new UnderstudyError(error.code, error.message, { ...error.context, detail }, error);
}
