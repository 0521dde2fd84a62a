/**
 * From the driver's errors to ours. Only facts decide: the server's error number, a socket's error
 * code, or the state of the connection; never a message's text.
 */
import { UnderstudyError, type ErrorContext } from '../../../errors/understudy-error.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import { causeThat, hasSocketCode, tellableDriverError } from '../../sql/driver-errors.ts';

/** The error numbers that the program branches on. */
export const ERRNO = {
  mixedCollations: 1267,
  unknownDatabase: 1049,
  definitionChanged: 1412,
  databaseExists: 1007,
  unknownColumn: 1054,
  duplicateKeyName: 1061,
  /** Of XA RECOVER also for a right that is missing. */
  xaFatal: 1401,
  duplicateEntry: 1062,
  rowIsReferenced: 1451,
  noReferencedRow: 1452,
  noSuchTable: 1146,
  unknownVariable: 1193,
  lockWaitTimeout: 1205,
  /** Of a lock that was not to be waited for; MariaDB says that it waited for too long. */
  lockNoWait: 3572,
  viewInvalid: 1356,
  deadlock: 1213,
  truncated: 1265,
  binlogCreateRoutineNeedSuper: 1419,
  noSuchThread: 1094,
  noSuchRoutine: 1305,
  routineDenied: 1370,
  wrongArguments: 1318,
  noDatabase: 1046,
  writeFailed: 3,
  deviceFull: 20,
  diskFull: 1021,
  errorOnWrite: 1026,
  noMemory: 1037,
  noSortMemory: 1038,
  outOfResources: 1041,
  tableFull: 1114,
  optionPrevents: 1290,
  readOnlyMode: 1836,
} as const;

/** No room on the server's disk, for now. */
export const DISK_FULL: readonly number[] = [
  ...[ERRNO.writeFailed, ERRNO.deviceFull, ERRNO.diskFull, ERRNO.errorOnWrite, ERRNO.tableFull],
];
/** No room in its memory, for now. */
export const MEMORY_FULL: readonly number[] = [
  ...[ERRNO.noMemory, ERRNO.noSortMemory, ERRNO.outOfResources],
];

/**
 * Sessions the server ended or refused: a later connection may work. So it may where a server takes
 * no writes, for it may be the former primary: the address may lead to another one by now.
 */
const GONE = new Set([
  ...[ERRNO.optionPrevents, ERRNO.readOnlyMode],
  1040,
  1053,
  1077,
  1078,
  1079,
  1080,
  1129,
  1152,
  1158,
  1159,
  1160,
  1161,
  1184,
  1203,
  1226,
  1317,
  1927,
  2002,
  2003,
  2006,
  2013,
  3169,
  4031,
]);

/** A login or a right that is missing. */
const REFUSED = new Set([1044, 1045, 1095, 1142, 1143, 1227, 1370, 1410, 1698, 1821, 3118]);

/** The message names objects and settings, never the content of a row. */
const TELLABLE = new Set([
  ...REFUSED,
  ...GONE,
  ...[1005, 1007, 1008, 1022, 1025, 1046, 1049, 1050, 1051, 1054, 1059, 1060, 1061, 1063],
  ...[1067, 1068, 1070, 1071, 1072, 1073, 1074, 1075, 1089, 1091, 1099, 1101, 1109, 1112, 1113],
  ...[1115, 1118, 1146, 1153, 1163, 1164, 1166, 1167, 1168, 1170, 1171, 1193, 1205, 1213, 1214],
  ...[1215, 1231, 1235, 1238, 1239, 1253, 1264, 1265, 1273, 1286, 1290, 1293, 1298, 1305, 1364],
  ...[1365, 1406, 1419, 1436, 1478, 1503, 1506, 1507, 1680, 1690, 1701, 1709, 1713, 1792, 1793],
  ...[1800, 1819, 1820, 1822, 1825, 1901, 1902, 3105, 3106, 3140, 3141, 3143, 3149, 3643, 3819],
  ...[4025, 4078, 4161, 6125],
]);

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
  'PROTOCOL_CONNECTION_LOST',
  'HANDSHAKE_SSL_ERROR',
]);

/** What the server said. */
export interface ServerError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly sqlMessage: string;
}

function isServerError(error: Error): error is ServerError {
  return (
    'errno' in error &&
    typeof error.errno === 'number' &&
    'sqlMessage' in error &&
    typeof error.sqlMessage === 'string'
  );
}

/** The server's error at the bottom of `error`, looking through our own wrapping. */
export function serverError(error: unknown): ServerError | null {
  return causeThat(error, isServerError);
}

/** True if the server refused with one of these numbers, directly or as the cause. */
export function hasErrno(error: unknown, ...numbers: readonly number[]): boolean {
  const errno = serverError(error)?.errno;
  return errno !== undefined && numbers.includes(errno);
}

/** True if the connection is gone, or could not be made, and another one may work. */
export function isConnectionLoss(error: unknown): boolean {
  const errno = serverError(error)?.errno;
  if (errno !== undefined) return GONE.has(errno);
  return hasSocketCode(error, SOCKET_CODES) || isFatal(error);
}

/** Of a connection that is closed already the driver says no more than this. */
function isFatal(error: unknown): boolean {
  return error instanceof Error && 'fatal' in error && error.fatal === true;
}

/**
 * What may be told of a server's error: its number and name, and the message where that never
 * quotes a value.
 */
export function tellable(error: unknown): string {
  const known = serverError(error);
  if (known === null) return tellableDriverError(error);
  const name = `${String(known.errno)} ${known.code}`;
  return TELLABLE.has(known.errno) ? `${name} ${known.sqlMessage}` : name;
}

/** A login or right that is missing, by the server's word. */
export function isRefusal(error: unknown): boolean {
  const errno = serverError(error)?.errno;
  return errno !== undefined && REFUSED.has(errno);
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
  if (
    options.lost === true ||
    isConnectionLoss(error) ||
    hasErrno(error, ...DISK_FULL, ...MEMORY_FULL)
  ) {
    return new UnderstudyError('SHADOW_UNREACHABLE', message, context, error);
  }
  if (isRefusal(error)) return new UnderstudyError('DATABASE_PERMISSION', message, context, error);
  return new UnderstudyError(options.otherwise, message, context, error);
}

/** Another session holds what it needs: trying again may help. */
export function isBlocked(error: unknown): boolean {
  return hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.deadlock);
}

/** What the connection knows of the tables holds no more. */
export function isStale(error: unknown): boolean {
  return hasErrno(error, ERRNO.unknownColumn, ERRNO.noSuchTable);
}
