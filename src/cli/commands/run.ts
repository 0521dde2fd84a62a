import type { Command } from 'commander';
import { supervise } from '../../runtime/supervisor.ts';
import type { Register } from '../register.ts';
import { withContext, type GlobalOptions } from '../session.ts';

interface Options extends GlobalOptions {
  readonly only: readonly string[];
}

export function addRunCommand(program: Command, register: Register): void {
  const command = program
    .command('run')
    .description('follow production with the trunk and all rollouts, until stopped')
    .option('--only <name...>', 'only these: `trunk` or names of rollouts', [])
    .addHelpText(
      'after',
      `
A second run on the same shadow server stands by, and takes over when the first one dies or
falls silent; the first one, if it still lives, then stops with exit status 4. With
consistency: key it also follows some of the trunk's partitions while it stands by.
SIGTERM and SIGINT finish the batch in hand and give the databases back: exit status 0.

Examples:
  $ understudy run
  $ understudy run --only trunk`,
    );
  register<Options>(
    command,
    async (session, options) => {
      const { terminal } = session;
      await withContext(session, (context) =>
        supervise(context, {
          signal: terminal.signal,
          only: options.only.length === 0 ? null : new Set(options.only),
          onState: (name, state) => {
            session.logger.info(state, { name });
          },
        }),
      );
      return 0;
    },
    'info',
  );
}
