/** Rows of the candidate's that are given back, or up; and those that production changed too. */
import type { Command } from 'commander';
import type { ReleasedRows, ResolvedRows } from '../../dialect/dialect.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import { countOf } from '../../report/words.ts';
import { existingRollout } from '../../runtime/existing-rollout.ts';
import { readConflicts, type RolloutConflicts } from '../../runtime/conflicts.ts';
import { perform } from '../../runtime/requests.ts';
import type { Register } from '../register.ts';
import { addSelection, selectionOf, type SelectionOptions } from '../selection.ts';
import { printJson, withContext, type GlobalOptions, type Session } from '../session.ts';
import { parsePositive, parseTable } from '../words.ts';

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

interface ConflictsOptions extends SelectionOptions {
  readonly limit: string;
  readonly showValues: boolean;
}

export function addConflicts(rollout: Command, register: Register): void {
  const command = addSelection(
    rollout
      .command('conflicts <name>')
      .description('rows that both sides changed, or that are kept out'),
  )
    .option('--limit <n>', 'conflicts listed per table', '100')
    .option('--show-values', 'print column values, not only names', false)
    .addHelpText(
      'after',
      '\nExample:\n  $ understudy rollout conflicts new-checkout --show-values',
    );
  register<ConflictsOptions>(command, async (session, options, [name = '']) => {
    const found = await withContext(session, (context) =>
      readConflicts(context, name, {
        limit: parsePositive(options.limit, '--limit'),
        showValues: options.showValues,
        ...selectionOf(options),
      }),
    );
    if (options.json) printJson(session, found);
    else session.terminal.out(renderConflicts(found));
    return 0;
  });
}

function renderConflicts({ conflicts, truncated }: RolloutConflicts): string {
  if (conflicts.length === 0) return 'No conflicts.\n';
  const value = (text: string | null): string => text ?? 'NULL';
  const lines = conflicts.map((one) => {
    const columns = one.columns.map((column) =>
      'base' in column
        ? `${column.name}: ${value(column.base)} → production ${value(column.production)}, candidate ${value(column.candidate)}`
        : column.name,
    );
    const by = one.detail === null ? '' : `  by ${one.detail}`;
    const trace = one.trace === null ? '' : `  trace ${one.trace}`;
    return `${one.kind.padEnd(15)} ${one.table} (${one.key.join(', ')})  ${columns.join(', ')}${by}${trace}`;
  });
  const cut = truncated ? ['… perhaps more than --limit'] : [];
  return `${[...lines, ...cut].join('\n')}\n`;
}

interface ResolveOptions extends SelectionOptions {
  readonly ours?: boolean;
  readonly theirs?: boolean;
  readonly merge?: boolean;
}

export function addResolve(rollout: Command, register: Register): void {
  const what = 'decide conflicts: for the candidate, for production, or column by column';
  const command = selecting(rollout, 'resolve', what, ' --theirs')
    .option('--ours', 'the candidate’s rows stay as they are')
    .option('--theirs', 'the rows become production’s')
    .option('--merge', 'each column as who changed it has it, where no column was changed by both');
  register<ResolveOptions>(command, async (session, options, [name = '']) => {
    const sides = (['ours', 'theirs', 'merge'] as const).filter((side) => options[side] === true);
    const [side] = sides;
    if (side === undefined || sides.length > 1) {
      throw new UnderstudyError('USAGE', 'one of --ours, --theirs and --merge is needed');
    }
    const outcome = (await performOn(session, 'resolve', name, options, { side })) as ResolvedRows;
    if (options.json) printJson(session, outcome);
    else session.terminal.out(describeResolved(outcome));
    return 0;
  });
}

function describeResolved({ resolved, kept }: ResolvedRows): string {
  const done = `${countOf(resolved, 'conflict')} resolved`;
  return kept === 0
    ? `${done}.\n`
    : `${done}, ${String(kept)} left: \`understudy rollout conflicts\` lists them.\n`;
}

function selecting(
  rollout: Command,
  verb: 'reset' | 'release' | 'resolve',
  description: string,
  example = '',
): Command {
  return addSelection(rollout.command(`${verb} <name>`).description(description)).addHelpText(
    'after',
    `\nExample:\n  $ understudy rollout ${verb} new-checkout${example} --table public.orders --key 17`,
  );
}

async function performOn(
  session: Session,
  kind: 'reset' | 'release' | 'resolve',
  name: string,
  options: SelectionOptions,
  args: Readonly<Record<string, string>> = {},
): Promise<unknown> {
  const { table = null, key = null, trace = null } = selectionOf(options);
  return withContext(session, async (context) => {
    const row = await existingRollout(context, name);
    return perform(context, {
      ...{ kind, database: row.database, timeoutMs: 3_600_000, signal: session.terminal.signal },
      args: { ...args, table, key, trace },
    });
  });
}
