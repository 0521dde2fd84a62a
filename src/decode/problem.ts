import type { ErrorCode } from '../errors/codes.ts';

/**
 * What is wrong with a record or value, said where it was found; the decoder adds where the
 * record is and throws it as an UnderstudyError. `message` never holds a row's values.
 */
export class Problem extends Error {
  readonly code: ErrorCode;
  /** The column, where one is to blame. */
  column: string | null;

  constructor(code: ErrorCode, message: string, column: string | null = null) {
    super(message);
    this.name = 'Problem';
    this.code = code;
    this.column = column;
  }
}

/** The value cannot be what its type says. `what` must not hold the value. */
export function unreadable(what: string): Problem {
  return new Problem('VALUE_UNREADABLE', what);
}

/** There is no exact inverse for this type. */
export function unknownType(what: string): Problem {
  return new Problem('TYPE_UNKNOWN', what);
}
