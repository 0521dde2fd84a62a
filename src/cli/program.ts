/**
 * The command line: parses, opens a session, runs one command, and turns what comes back or is
 * thrown into an exit status. Commands translate between words and the program; they decide
 * nothing.
 */
import { Command, CommanderError, Option, type OutputConfiguration } from 'commander';
import { openRecorded } from '../demo/recorded.ts';
import type { OpenStagecraft } from '../demo/stagecraft.ts';
import { packageVersion } from '../config/version.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { addDeadLetterCommands } from './commands/dead-letters.ts';
import { addSchemaCommands } from './commands/schema.ts';
import { addDemoCommand } from './commands/demo.ts';
import { addDoctorCommand } from './commands/doctor.ts';
import { addDriftCommands } from './commands/drift.ts';
import { addInitCommand } from './commands/init.ts';
import { addMaterializeCommand } from './commands/materialize.ts';
import { addRecordCommand } from './commands/record.ts';
import { addRepairCommand } from './commands/repair.ts';
import { addRolloutCommands } from './commands/rollout.ts';
import { addRunCommand } from './commands/run.ts';
import { addStatusCommand } from './commands/status.ts';
import type { Register } from './register.ts';
import { openSession, type GlobalOptions } from './session.ts';
import { Interrupt, type Terminal } from './terminal.ts';

/** What a program around this one may replace. */
export interface ProgramParts {
  /** The stage that `demo` plays on. */
  readonly openDemo: OpenStagecraft;
}

/** Runs `argv` (without node and script) and returns the exit status. Never throws. */
export async function main(
  argv: readonly string[],
  terminal: Terminal,
  parts: ProgramParts = { openDemo: openRecorded },
): Promise<number> {
  const json = argv.includes('--json');
  try {
    let exit = 0;
    const program = buildProgram(terminal, parts, (status) => {
      exit = status;
    });
    await program.parseAsync([...argv], { from: 'user' });
    return exit;
  } catch (error) {
    // Help that was asked for is no error; commander has printed it already.
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    return report(error, terminal, json);
  }
}

function buildProgram(
  terminal: Terminal,
  parts: ProgramParts,
  setExit: (status: number) => void,
): Command {
  const program = new Command('understudy')
    .description('A writable shadow of production’s database for every rollout.')
    .version(packageVersion(), '--version', 'print the version')
    .exitOverride()
    .configureOutput(outputTo(terminal))
    .helpCommand('help [command]', 'show a command’s arguments and examples')
    .addHelpText(
      'after',
      `
Exit statuses: 0 done or equal; 1 drift, or findings of doctor; 2 inconclusive;
3 usage or configuration; 4 could not connect, pin or fence; 5 interrupted; 6 internal error.

Examples:
  $ understudy init                               write understudy.yaml
  $ understudy materialize --until-caught-up      make the trunk and bring it up to date
  $ understudy run                                follow production from now on
  $ understudy rollout create new-checkout        a writable copy that follows production
  $ understudy drift check new-checkout           prove its base against production`,
    );
  const register: Register = (command, action, logLevel) => {
    command
      .exitOverride()
      .configureOutput(outputTo(terminal))
      .addOption(
        new Option('--config <file>', 'configuration file')
          .default('understudy.yaml')
          .env('UNDERSTUDY_CONFIG'),
      )
      .option('--json', 'print one JSON value', false)
      .action(async (...received: unknown[]) => {
        const options = command.opts();
        const args = received
          .slice(0, -2)
          .flat()
          .filter((arg) => typeof arg === 'string');
        const session = openSession(terminal, options as GlobalOptions, logLevel);
        setExit(await action(session, options as never, args));
      });
  };
  addDemoCommand(program, register, parts.openDemo);
  addInitCommand(program, register);
  addDoctorCommand(program, register);
  addRunCommand(program, register);
  addMaterializeCommand(program, register);
  addStatusCommand(program, register);
  addRecordCommand(program, register);
  addRolloutCommands(program, register);
  addDriftCommands(program, register);
  addRepairCommand(program, register);
  addDeadLetterCommands(program, register);
  addSchemaCommands(program, register);
  return program;
}

/** Errors are told by `report`, like all others: with a code, and as JSON where asked for. */
function outputTo(terminal: Terminal): OutputConfiguration {
  return { writeOut: terminal.out, writeErr: terminal.err, outputError: () => {} };
}

function report(error: unknown, terminal: Terminal, json: boolean): number {
  const known = toKnown(error, terminal);
  if (json) terminal.out(`${JSON.stringify({ error: known }, null, 2)}\n`);
  terminal.err(`understudy: ${known.describe()}\n`);
  if (known.code === 'INTERNAL' && error instanceof Error) {
    // A bug: the stack is what a report needs; messages of databases may hold row values.
    terminal.err(`${(error.stack ?? '').split('\n').slice(1).join('\n')}\n`);
  }
  return known.exit;
}

function toKnown(error: unknown, terminal: Terminal): UnderstudyError {
  if (terminal.signal.aborted && (error instanceof Interrupt || error === terminal.signal.reason)) {
    return new UnderstudyError('INTERRUPTED', (error as Error).message);
  }
  if (isUnderstudyError(error)) return error;
  if (error instanceof CommanderError) return new UnderstudyError('USAGE', wordsOf(error));
  const name = error instanceof Error ? error.name : typeof error;
  return new UnderstudyError('INTERNAL', `an unexpected ${name}`, {}, error);
}

/** Commander's own sentence on one line. A group without a command prints its help instead. */
function wordsOf(error: CommanderError): string {
  if (error.code === 'commander.help') return 'a command is missing';
  return error.message
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
}
