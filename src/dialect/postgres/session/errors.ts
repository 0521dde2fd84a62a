/**
 * From the driver's errors to ours. Only facts decide: the SQLSTATE, a socket's error code, or
 * the state of the connection; never a message's text.
 */
import pg from 'pg';
import type { ErrorCode } from '../../../errors/codes.ts';
import { UnderstudyError, type ErrorContext } from '../../../errors/understudy-error.ts';
import { causeThat, hasSocketCode, tellableDriverError } from '../../sql/driver-errors.ts';

/** The SQLSTATEs that the program branches on. */
export const SQLSTATE = {
  lockNotAvailable: '55P03',
  deadlockDetected: '40P01',
  serializationFailure: '40001',
  undefinedColumn: '42703',
  undefinedTable: '42P01',
  undefinedObject: '42704',
  insufficientPrivilege: '42501',
  invalidCatalogName: '3D000',
  duplicateDatabase: '42P04',
  uniqueViolation: '23505',
  objectInUse: '55006',
  notAccepting: '55000',
  diskFull: '53100',
  outOfMemory: '53200',
  queryCanceled: '57014',
  readOnly: '25006',
} as const;

/**
 * Sessions the server ended or refused: a later connection may work. So it may where a server takes
 * no writes, for it may be the former primary: the address may lead to another one by now.
 */
const GONE = new Set([
  ...['57P01', '57P02', '57P03', '57P04', '57P05', '53300', '25P03', '25P04'],
  SQLSTATE.readOnly,
]);

/** No room on the server, for now. */
const FULL: readonly string[] = [SQLSTATE.diskFull, SQLSTATE.outOfMemory];

const SOCKET_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOENT',
  'EACCES',
]);

/** Classes whose messages name objects and settings, never the content of a row. */
const TELLABLE = new Set(
  [
    '08',
    '0A',
    '0L',
    '0P',
    '23',
    '25',
    '28',
    '2B',
    '3D',
    '3F',
    '40',
    '42',
    '53',
    '54',
    '55',
    '57',
  ].concat(['58', 'F0', 'XX']),
);

/** The server's error at the bottom of `error`, looking through our own wrapping. */
export function databaseError(error: unknown): pg.DatabaseError | null {
  return causeThat(error, (one) => one instanceof pg.DatabaseError);
}

/** True if the server refused with one of these SQLSTATEs, directly or as the cause. */
export function hasSqlState(error: unknown, ...states: readonly string[]): boolean {
  const code = databaseError(error)?.code;
  return code !== undefined && states.includes(code);
}

/** True if the connection is gone, or could not be made, and another one may work. */
export function isConnectionLoss(error: unknown): boolean {
  const state = databaseError(error)?.code;
  if (state !== undefined) return state.startsWith('08') || GONE.has(state);
  return hasSocketCode(error, SOCKET_CODES);
}

/**
 * What may be told of a server's error: SQLSTATE, names of objects, and the message where its
 * class never quotes a value. `detail` and `where` are left out: they quote rows.
 */
export function tellable(error: unknown): string {
  const known = databaseError(error);
  if (known === null) return tellableDriverError(error);
  const state = known.code ?? 'no SQLSTATE';
  const message = TELLABLE.has(state.slice(0, 2)) ? ` ${known.message}` : '';
  const parts = [
    known.schema === undefined ? null : `schema ${known.schema}`,
    known.table === undefined ? null : `table ${known.table}`,
    known.column === undefined ? null : `column ${known.column}`,
    known.constraint === undefined ? null : `constraint ${known.constraint}`,
  ].filter((part) => part !== null);
  return `SQLSTATE ${state}${message}${parts.length === 0 ? '' : ` [${parts.join(', ')}]`}`;
}

/**
 * The error to throw for a failure while `doing` something: ours as it is; SHADOW_UNREACHABLE for
 * lost connections and full disks; DATABASE_PERMISSION for refused logins and missing rights; else `otherwise`.
 */
export function toUnderstudyError(
  error: unknown,
  options: {
    /** Completes `could not …`, e.g. `read the fence`. */
    readonly doing: string;
    /** host:port/database, without credentials. */
    readonly address: string;
    readonly context?: ErrorContext;
    readonly otherwise: ErrorCode;
    /** The connection is known to be gone, whatever the error says. */
    readonly lost?: boolean;
  },
): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  const context = { detail: tellable(error), ...options.context };
  const message = `could not ${options.doing} at ${options.address}`;
  const state = databaseError(error)?.code;
  if (options.lost === true || isConnectionLoss(error) || FULL.includes(state ?? '')) {
    return new UnderstudyError('SHADOW_UNREACHABLE', message, context, error);
  }
  if (state === SQLSTATE.insufficientPrivilege || state?.startsWith('28') === true) {
    return new UnderstudyError('DATABASE_PERMISSION', message, context, error);
  }
  return new UnderstudyError(options.otherwise, message, context, error);
}
