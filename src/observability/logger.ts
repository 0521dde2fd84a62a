/**
 * The log: one JSON line per event on standard error (or a readable line on a terminal).
 * Fields name places (database, topic, table, offset), never row values.
 */
import { pino } from 'pino';

export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  child(fields: LogFields): Logger;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

export function createLogger(options: {
  readonly level: LogLevel;
  readonly write: (line: string) => void;
}): Logger {
  const root = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describeError },
    },
    { write: options.write },
  );
  return wrap(root);
}

function describeError(error: unknown): unknown {
  if (error !== null && typeof error === 'object' && 'describe' in error) {
    return (error as { describe(): string }).describe();
  }
  if (error instanceof Error) {
    // A database's own message may quote row values; its code never does.
    return 'severity' in error && 'code' in error
      ? `database error ${String(error.code)}`
      : `${error.name}: ${error.message}`;
  }
  return String(error);
}

/** The part of pino used here; its generic type does not survive exactOptionalPropertyTypes. */
interface Target {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Target;
}

function wrap(target: Target): Logger {
  return {
    debug: (message, fields) => target.debug(fields ?? {}, message),
    info: (message, fields) => target.info(fields ?? {}, message),
    warn: (message, fields) => target.warn(fields ?? {}, message),
    error: (message, fields) => target.error(fields ?? {}, message),
    child: (fields) => wrap(target.child(fields)),
  };
}

/** For programs that want no log at all, and for tests. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLogger,
};
