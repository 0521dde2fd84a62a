/** Rows of the candidate's that are given back, or up. */
import type { Command } from 'commander';
import type { ReleasedRows } from '../../dialect/dialect.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import { countOf } from '../../report/words.ts';
import { existingRollout } from '../../runtime/existing-rollout.ts';
import { perform } from '../../runtime/requests.ts';
import type { Register } from '../register.ts';
import { printJson, withContext, type GlobalOptions, type Session } from '../session.ts';
import { parseTable } from '../words.ts';

interface SelectionOptions extends GlobalOptions {
  readonly table?: string;
  readonly key?: readonly string[];
  readonly trace?: string;
}

interface TruncateOptions extends GlobalOptions {
  readonly table: string;
}

export function addReset(rollout: Command, register: Register): void {
  const command = selecting(rollout, 'reset', 'put the candidate’s rows back to production’s');
  register<SelectionOptions>(command, async (session, options, [name = '']) => {
    const outcome = (await performOn(session, 'reset', name, options)) as {
      readonly rows: number;
    };
    if (options.json) printJson(session, outcome);
    else session.terminal.out(`${countOf(outcome.rows, 'row')} put back.\n`);
    return 0;
  });
}

export function addRelease(rollout: Command, register: Register): void {
  const what = 'let rows that are production’s again follow it; changes none';
  const command = selecting(rollout, 'release', what);
  register<SelectionOptions>(command, async (session, options, [name = '']) => {
    const outcome = (await performOn(session, 'release', name, options)) as ReleasedRows;
    if (options.json) printJson(session, outcome);
    else session.terminal.out(describeReleased(outcome));
    return 0;
  });
}

export function addTruncate(rollout: Command, register: Register): void {
  const command = rollout
    .command('truncate <name>')
    .description('empty a table as the candidate’s TRUNCATE would, with every row captured')
    .requiredOption('--table <schema.table>', 'the table')
    .addHelpText(
      'after',
      '\nExample:\n  $ understudy rollout truncate new-checkout --table public.carts',
    );
  register<TruncateOptions>(command, async (session, options, [name = '']) => {
    const table = parseTable(options.table);
    const outcome = await withContext(session, async (context) => {
      const row = await existingRollout(context, name);
      return (await perform(context, {
        ...{ kind: 'truncate', database: row.database, args: { table } },
        ...{ timeoutMs: 3_600_000, signal: session.terminal.signal },
      })) as { readonly rows: number };
    });
    if (options.json) printJson(session, outcome);
    else session.terminal.out(`${countOf(outcome.rows, 'row')} removed.\n`);
    return 0;
  });
}

function describeReleased({ released, kept }: ReleasedRows): string {
  const given = `${countOf(released, 'row')} given up`;
  if (kept === 0) return `${given}.\n`;
  const left = `${countOf(kept, 'row')} left to the candidate`;
  return `${given}, ${left}: \`understudy rollout reset\` puts rows back.\n`;
}

function selecting(rollout: Command, verb: 'reset' | 'release', description: string): Command {
  return rollout
    .command(`${verb} <name>`)
    .description(description)
    .option('--table <schema.table>', 'only this table')
    .option('--key <value...>', 'only this row: its key columns’ values in order')
    .option('--trace <id>', 'only rows that were first written in this request or trace')
    .addHelpText(
      'after',
      `\nExample:\n  $ understudy rollout ${verb} new-checkout --table public.orders --key 17`,
    );
}

async function performOn(
  session: Session,
  kind: 'reset' | 'release',
  name: string,
  options: SelectionOptions,
): Promise<unknown> {
  if (options.key !== undefined && options.table === undefined) {
    throw new UnderstudyError('USAGE', '--key needs --table');
  }
  return withContext(session, async (context) => {
    const row = await existingRollout(context, name);
    return perform(context, {
      ...{ kind, database: row.database, timeoutMs: 3_600_000, signal: session.terminal.signal },
      args: {
        table: options.table === undefined ? null : parseTable(options.table),
        key: options.key ?? null,
        trace: options.trace ?? null,
      },
    });
  });
}
