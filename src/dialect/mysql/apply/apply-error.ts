import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { RowRefused } from '../../dead-letters.ts';
import {
  DISK_FULL,
  ERRNO,
  isConnectionLoss,
  MEMORY_FULL,
  serverError,
  tellable,
  type ServerError,
} from '../session/errors.ts';

/**
 * Conditions that pass by themselves or by the server's operator: trying again is the cure. A
 * lost connection is not among them, nor is a server that takes no writes: see isConnectionLoss.
 */
const TRANSIENT: ReadonlyMap<number, string> = new Map([
  ...named('another session holds a lock', [1205, 1206, 1223, 3572]),
  ...named('the batch and another session waited for each other', [1213]),
  // A definition that changed since the transaction began, or a cluster's other member was first.
  ...named('another session was in the way', [1412, 1637, 3101]),
  ...named('the shadow server has no room on its disk', DISK_FULL),
  ...named('the shadow server is out of memory', [5, ...MEMORY_FULL]),
  ...named('the shadow server gave up a statement, by its time limit', [1969, 3024]),
  ...named('the shadow server takes no writes now', [1047, 1792, 3100]),
]);

function named(what: string, numbers: readonly number[]): readonly (readonly [number, string])[] {
  return numbers.map((number) => [number, what] as const);
}

/** What is due to what a row holds: trying again does not help. */
const OF_THE_ROW: ReadonlySet<number> = new Set([
  // Values: out of range, cut, of another form, of another character set.
  ...[1264, 1265, 1292, 1300, 1365, 1366, 1367, 1406, 1411, 1416, 1690, 1977, 3037, 3988],
  // JSON and places on earth.
  ...[3140, 3141, 3142, 3144, 3146, 3147, 3156, 3157, 3548, 3616, 3617, 3643, 3731, 3732],
  // Constraints: NOT NULL, unique, foreign, CHECK of both servers, a partition for the row.
  ...[1048, 1263, 1364, 1022, 1062, 1586, 1859, 1216, 1217, 1451, 1452, 3819, 4025, 1526, 1748],
  // Limits of a row; a trigger that refuses it.
  ...[139, 1118, 1713, 1644, 1643],
]);

/** Their messages name a constraint or column, and nothing of the row. */
const NAMES_CONSTRAINT: ReadonlySet<number> = new Set([1048, 3819, 4025]);

/** `Duplicate entry '…' for key 'item.code'`: the key, which is all that is taken of the message. */
const DUPLICATED = /for key '([^']+)'$/;

/**
 * `… for column 'c3' at row 2`, or on MariaDB `… for column \`db\`.\`table\`.\`c3\` at row 2`: the
 * place, which is all that is taken of the message.
 */
const PLACE = /column (?:'((?:[^']|'')+)'|(?:`[^`]*`\.)*`([^`]+)`) at row (\d+)$/;

/** What a place in a staging statement stands for. */
export interface StagePlaces {
  /** The key of the row with this number in the statement, from 1. */
  readonly key: (row: number) => string | undefined;
  /** The table's column behind a staging column. */
  readonly column: (staged: string) => string | undefined;
}

/**
 * Turns what a statement threw into ours, without row values: the server's error is not kept as a
 * cause, since its texts quote them: RowRefused where a row is to blame. What did not come from the
 * server, and a lost connection, stays as it is for the connection's owner to judge. `places` names
 * row and column where staging was refused.
 */
export function applyFailure(error: unknown, table: string, places?: StagePlaces): unknown {
  const known = serverError(error);
  if (error instanceof UnderstudyError || known === null) return error;
  const transient = transientFailure(error, table);
  if (transient !== null || isConnectionLoss(error)) return transient ?? error;
  const place = PLACE.exec(known.sqlMessage);
  const name = place?.[1] ?? place?.[2];
  const row = place?.[3];
  const key = row === undefined ? undefined : places?.key(Number(row));
  const column = name === undefined ? undefined : (places?.column(name) ?? name);
  const what = 'the shadow refused a change';
  const context = {
    table,
    ...(column !== undefined && { column }),
    ...(key !== undefined && { key }),
    detail: detailOf(known),
  };
  if (OF_THE_ROW.has(known.errno)) return new RowRefused(what, context);
  return new UnderstudyError('APPLY_FAILED', what, context);
}

/** The same for a statement that concerns a table and no row of it. */
export function tableFailure(error: unknown, table: string): unknown {
  const failure = applyFailure(error, table);
  if (!(failure instanceof RowRefused)) return failure;
  return new UnderstudyError('APPLY_FAILED', failure.message, failure.context);
}

/** APPLY_BLOCKED if trying again is the cure; null if it is not, or is not known to be. */
export function transientFailure(error: unknown, table: string): UnderstudyError | null {
  const known = error instanceof UnderstudyError ? null : serverError(error);
  const what = known === null ? undefined : TRANSIENT.get(known.errno);
  if (what === undefined) return null;
  return new UnderstudyError('APPLY_BLOCKED', what, { table, detail: tellable(error) });
}

/** The unique key that has such a value already; null if the error is of another kind. */
export function duplicatedKey(error: unknown): string | null {
  const known = serverError(error);
  if (known?.errno !== ERRNO.duplicateEntry) return null;
  const name = DUPLICATED.exec(known.sqlMessage)?.[1] ?? '';
  // One server names the table before it.
  return name.slice(name.lastIndexOf('.') + 1);
}

/** Is it due to what a row holds? */
export function isRefusal(error: unknown): boolean {
  const known = error instanceof UnderstudyError ? null : serverError(error);
  return known !== null && OF_THE_ROW.has(known.errno);
}

/** `Check constraint 'c' is violated.`, or on MariaDB `CONSTRAINT \`c\` failed for …`; `Column 'c' cannot be null`. */
const REFUSER = /^(?:Check constraint|CONSTRAINT|Column) ['`](.*?)['`] /;

/** Of what refused a row, that it was no unique key: its constraint or column, if that is known. */
export function refuserOf(error: unknown): string {
  const known = serverError(error);
  if (known === null) return '';
  const name = NAMES_CONSTRAINT.has(known.errno) ? REFUSER.exec(known.sqlMessage)?.[1] : undefined;
  return name ?? detailOf(known);
}

/** Number and name, and of a constraint which one it is. */
function detailOf({ errno, code, sqlMessage }: ServerError): string {
  const name = `${String(errno)} ${code}`;
  const duplicated = DUPLICATED.exec(sqlMessage)?.[1];
  if (duplicated !== undefined) return `${name}, key ${duplicated}`;
  return NAMES_CONSTRAINT.has(errno) ? `${name}: ${sqlMessage}` : name;
}
