import { CODES, type ErrorCode, type Retry } from './codes.ts';

/** Where something happened. Never row values: a key is allowed, a column's content is not. */
export interface ErrorContext {
  readonly topic?: string;
  readonly partition?: number;
  readonly offset?: bigint;
  readonly table?: string;
  readonly column?: string;
  readonly key?: string;
  readonly database?: string;
  readonly detail?: string;
}

/**
 * The one error class of the program. `code` says what happened (see codes.ts), `context` where.
 * Callers branch on `code` and `retry`, never on the text.
 */
export class UnderstudyError extends Error {
  readonly code: ErrorCode;
  readonly context: ErrorContext;

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'UnderstudyError';
    this.code = code;
    this.context = context;
  }

  get retry(): Retry {
    return CODES[this.code].retry;
  }

  get exit(): number {
    return CODES[this.code].exit;
  }

  /** What happened, where, and what to do: one line for people. */
  describe(): string {
    const c = this.context;
    const where = [
      c.database === undefined ? null : `database ${c.database}`,
      c.topic === undefined ? null : `topic ${c.topic}`,
      c.partition === undefined ? null : `partition ${c.partition}`,
      c.offset === undefined ? null : `offset ${c.offset}`,
      c.table === undefined ? null : `table ${c.table}`,
      c.column === undefined ? null : `column ${c.column}`,
      c.key === undefined ? null : `key ${c.key}`,
    ].filter((part) => part !== null);
    const at = where.length === 0 ? '' : ` (${where.join(', ')})`;
    const detail = c.detail === undefined ? '' : `: ${c.detail}`;
    return `${this.code}: ${this.message}${at}${detail}. ${CODES[this.code].cure}`;
  }

  toJSON(): Record<string, unknown> {
    const { offset, ...rest } = this.context;
    return {
      code: this.code,
      message: this.message,
      ...rest,
      ...(offset === undefined ? {} : { offset: offset.toString() }),
      cure: CODES[this.code].cure,
    };
  }
}

/** True if `error` is ours, optionally with one of `codes`. */
export function isUnderstudyError(
  error: unknown,
  ...codes: readonly ErrorCode[]
): error is UnderstudyError {
  return error instanceof UnderstudyError && (codes.length === 0 || codes.includes(error.code));
}
