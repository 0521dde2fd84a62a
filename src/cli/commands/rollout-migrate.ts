/** A candidate's migration, by whatever command its release brings. */
import { spawn } from 'node:child_process';
import type { Command } from 'commander';
import { tableName } from '../../change/table-id.ts';
import type { ColumnRename, MigrationOutcome } from '../../dialect/migrating.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import { existingRollout } from '../../runtime/existing-rollout.ts';
import { migrateRollout } from '../../runtime/migrate.ts';
import type { Register } from '../register.ts';
import { printJson, withContext, type GlobalOptions, type Session } from '../session.ts';
import { parseTable } from '../words.ts';

/** What a command that is told to stop may take for it. */
const STOP_MS = 10_000;

interface MigrateOptions extends GlobalOptions {
  readonly rename: readonly string[];
}

export function addMigrate(rollout: Command, register: Register): void {
  const command = rollout
    .command('migrate <name> <command...>')
    .description('run a migration of the candidate’s, with the right to change tables')
    .option(
      '--rename <schema.table.column=name>',
      'a column it gives another name, where the server does not tell; may be repeated',
      (text: string, before: readonly string[]) => [...before, text],
      [] as readonly string[],
    )
    .addHelpText(
      'after',
      `
Production’s changes wait meanwhile. The command finds its connection in DATABASE_URL, and in the
variables that the engine’s own programs read. What it did is kept also where it fails.

Example:
  $ understudy rollout migrate new-checkout -- npm run migrate`,
    );
  register<MigrateOptions>(
    command,
    async (session, options, [name = '', program = '', ...args]) => {
      const renames = options.rename.map(parseRename);
      const { outcome, result } = await withContext(session, async (context) => {
        const row = await existingRollout(context, name);
        return migrateRollout(context, row, {
          ...{ renames, signal: session.terminal.signal },
          run: (environment, signal) => run(session, { program, args, environment, signal }),
        });
      });
      const ended = result.signal === null ? `exit status ${String(result.status)}` : result.signal;
      if (result.status !== 0) {
        if (!options.json) session.terminal.err(describeOutcome(outcome));
        session.terminal.signal.throwIfAborted();
        throw new UnderstudyError('MIGRATION_FAILED', `the command ended with ${ended}`, {
          detail: `what it did until then is kept, and captured`,
        });
      }
      if (options.json) printJson(session, { name, ...outcome });
      else session.terminal.out(describeOutcome(outcome));
      return 0;
    },
  );
}

/** USAGE if it is none. */
function parseRename(text: string): ColumnRename {
  const found = /^(.+)\.([^.=]+)=([^=]+)$/.exec(text);
  const [, table, from, to] = found ?? [];
  if (table === undefined || from === undefined || to === undefined) {
    throw new UnderstudyError('USAGE', `'${text}' is no rename like public.orders.note=remark`);
  }
  return { table: parseTable(table), from, to };
}

interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
}

/** Without what must not be set, and what is ours. */
function environmentFor(
  env: Readonly<Record<string, string | null | undefined>>,
): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      value === null || value === undefined || name.startsWith('UNDERSTUDY_')
        ? []
        : [[name, value]],
    ),
  );
}

/** Its output is ours, but that with --json ours is one value. USAGE if it cannot be started. */
function run(
  session: Session,
  what: {
    readonly program: string;
    readonly args: readonly string[];
    readonly environment: Readonly<Record<string, string | null>>;
    readonly signal: AbortSignal;
  },
): Promise<Ended> {
  const { program, args, environment, signal } = what;
  const child = spawn(program, [...args], {
    env: environmentFor({ ...session.terminal.env, ...environment }),
    stdio: ['inherit', session.options.json ? 2 : 'inherit', 'inherit'],
  });
  let killing: NodeJS.Timeout | undefined;
  const stop = (): void => {
    child.kill('SIGTERM');
    killing = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  };
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  return new Promise<Ended>((resolve, reject) => {
    child.once('error', (error) => {
      const { message } = error;
      reject(new UnderstudyError('USAGE', `cannot run ${program}`, { detail: message }));
    });
    child.once('exit', (status, by) => {
      resolve({ status, signal: by });
    });
  }).finally(() => {
    clearTimeout(killing);
    signal.removeEventListener('abort', stop);
  });
}

function describeOutcome({ reshaped, own, notCaptured }: MigrationOutcome): string {
  const lines = reshaped.map(({ table, visible, without, renamed, own: columns }) => {
    const name = tableName(table);
    if (visible === null) {
      return `${name} is gone, or has another key: production’s changes go to its image alone.`;
    }
    const parts = [
      ...(tableName(visible) === name ? [] : [`is ${tableName(visible)}`]),
      ...Object.entries(renamed).map(([from, to]) => `${from} is ${to}`),
      ...(columns.length === 0 ? [] : [`only the candidate has ${columns.join(', ')}`]),
      ...(without.length === 0 ? [] : [`only production has ${without.join(', ')}`]),
    ];
    return parts.length === 0 ? `${name} has other types.` : `${name}: ${parts.join('; ')}.`;
  });
  return [
    ...lines,
    ...own.map((table) => `${tableName(table)} is the candidate’s own.`),
    ...notCaptured.map((table) => `Not captured: ${tableName(table)} has no key.`),
    'Migrated; production’s changes go on.\n',
  ].join('\n');
}
