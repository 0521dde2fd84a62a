import type { Command } from 'commander';
import type { LogLevel } from '../observability/logger.ts';
import type { GlobalOptions, Session } from './session.ts';

/** Registers a command's action: it gets a session and returns the exit status. */
export type Register = <Options extends GlobalOptions>(
  command: Command,
  action: (session: Session, options: Options, args: readonly string[]) => Promise<number>,
  logLevel?: LogLevel,
) => void;
