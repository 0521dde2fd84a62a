import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { createLogger, type LogLevel, type Logger } from '../observability/logger.ts';
import { RuntimeContext } from '../runtime/context.ts';
import type { Terminal } from './terminal.ts';

/** Options that every command takes. */
export interface GlobalOptions {
  readonly config: string;
  readonly json: boolean;
}

/** What a command works with. */
export interface Session {
  readonly terminal: Terminal;
  readonly options: GlobalOptions;
  readonly logger: Logger;
}

const LEVELS: ReadonlySet<string> = new Set(['debug', 'info', 'warn', 'error', 'silent']);

export function openSession(
  terminal: Terminal,
  options: GlobalOptions,
  defaultLevel: LogLevel = 'warn',
): Session {
  const asked = terminal.env['UNDERSTUDY_LOG_LEVEL'];
  const level = asked !== undefined && LEVELS.has(asked) ? (asked as LogLevel) : defaultLevel;
  return { terminal, options, logger: createLogger({ level, write: terminal.err }) };
}

export function readConfig(session: Session): Promise<Config> {
  return loadConfig(session.options.config, session.terminal.env);
}

/** Opens what the configuration names, runs `act`, closes it whatever happens. */
export async function withContext<T>(
  session: Session,
  act: (context: RuntimeContext) => Promise<T>,
): Promise<T> {
  const config = await readConfig(session);
  await using context = await RuntimeContext.open(config, session.logger);
  return await act(context);
}

/** One JSON value on standard output. */
export function printJson(session: Session, value: unknown): void {
  const text = JSON.stringify(
    value,
    (_, item: unknown) => (typeof item === 'bigint' ? item.toString() : item),
    2,
  );
  session.terminal.out(`${text}\n`);
}
