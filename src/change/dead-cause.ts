import type { ErrorCode } from '../errors/codes.ts';
import { UnderstudyError, type ErrorContext } from '../errors/understudy-error.ts';

/** Why a change was set aside: without row values. */
export interface DeadCause {
  readonly code: ErrorCode;
  readonly message: string;
}

/** What stops where nothing can be set aside. */
export function errorOf({ code, message }: DeadCause, context: ErrorContext): UnderstudyError {
  return new UnderstudyError(code, message, context);
}

/** Without row values: our own errors hold none. */
export function causeOf({ code, message, context }: UnderstudyError): DeadCause {
  const { column, detail } = context;
  const where = column === undefined ? '' : ` in column ${column}`;
  return { code, message: `${message}${where}${detail === undefined ? '' : `: ${detail}`}` };
}
