import type { Command } from 'commander';
import { countOf } from '../../report/words.ts';
import { acceptSchema } from '../../runtime/schema.ts';
import type { Register } from '../register.ts';
import { printJson, withContext, type GlobalOptions } from '../session.ts';

interface AcceptOptions extends GlobalOptions {
  readonly rollout?: string;
}

export function addSchemaCommands(program: Command, register: Register): void {
  const schema = program.command('schema').description('changes of production’s schema');
  const command = schema
    .command('accept <table>')
    .description('bring a table that waits to what production made of it, and write what waits')
    .option('--rollout <name>', 'of this rollout; default: of the trunk')
    .addHelpText(
      'after',
      `
All that production changed of the table is carried out, whatever \`evolution\` says: columns that it
dropped go with their values. Exits with 2 if a row is refused still.

Examples:
  $ understudy schema accept public.orders
  $ understudy schema accept public.orders --rollout new-checkout`,
    );
  register<AcceptOptions>(command, async (session, options, [table = '']) => {
    const { signal } = session.terminal;
    const outcome = await withContext(session, (context) =>
      acceptSchema(context, options.rollout ?? null, table, signal),
    );
    if (options.json) printJson(session, outcome);
    else {
      const { terminal } = session;
      for (const change of outcome.changes) terminal.out(`${outcome.table}: ${change}\n`);
      if (outcome.changes.length === 0) terminal.out(`${table} is as production has it.\n`);
      terminal.out(`${countOf(outcome.replayed.length, 'dead letter')} replayed.\n`);
      for (const { id, message } of outcome.left) terminal.out(`${id}: ${message}\n`);
    }
    return outcome.left.length === 0 ? 0 : 2;
  });
}
