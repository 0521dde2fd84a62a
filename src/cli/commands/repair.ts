import type { Command } from 'commander';
import { countOf } from '../../report/words.ts';
import { runRepair, type RepairedDatabase } from '../../runtime/repair.ts';
import { ProgressLine } from '../progress.ts';
import type { Register } from '../register.ts';
import { printJson, withContext, type GlobalOptions } from '../session.ts';
import { humanDuration } from '../terminal.ts';
import { parsePositive, parseTable } from '../words.ts';

interface Options extends GlobalOptions {
  readonly key?: readonly string[];
  readonly rollout?: string;
  readonly timeout: string;
}

export function addRepairCommand(program: Command, register: Register): void {
  const command = program
    .command('repair <table>')
    .description('read a table, or rows of it, anew from production while all else flows on')
    .option('--key <value...>', 'only this row: its key columns’ values in order; for more, again')
    .option('--rollout <name>', 'only this rollout, not the trunk and all others')
    .option('--timeout <seconds>', 'how long the connector may take', '90')
    .addHelpText(
      'after',
      `
Makes production’s image of the table in the trunk and in all rollouts equal to production, at an
exact position: rows that are missing are inserted, others overwritten or deleted, and what was
unknown of them is known. Rows of a candidate keep what it wrote; \`rollout reset\` puts them back. Columns that the connector
does not send, by its lists, stay as they are.
A \`run\` that holds the shadow does it and goes on following. Safe to interrupt and to repeat.

Examples:
  $ understudy repair public.orders
  $ understudy repair public.orders --key 17 --key 18
  $ understudy repair public.order_lines --key 17 2     order_id and line
  $ understudy repair public.balances --key=-5          what begins with a dash`,
    );
  register<Options>(command, async (session, options, [name = '']) => {
    const { terminal } = session;
    const progress = new ProgressLine(terminal, 'rows');
    let label = '';
    const summary = await withContext(session, (context) =>
      runRepair(context, {
        table: parseTable(name),
        key: options.key ?? null,
        rollout: options.rollout ?? null,
        timeoutMs: parsePositive(options.timeout, '--timeout') * 1_000,
        signal: terminal.signal,
        onProgress: (database, p) => {
          const next = `${p.phase} ${database}`;
          // Another database, or phase, has a pace of its own.
          if (next !== label) progress.restart();
          label = next;
          progress.update(label, p.done, p.total);
        },
      }),
    ).finally(() => {
      progress.end();
    });
    if (options.json) printJson(session, summary);
    else for (const one of summary.databases) terminal.out(`${describe(one)}\n`);
    return 0;
  });
}

function describe(one: RepairedDatabase): string {
  const { keys, rows, leftOut, inserted, overwritten, deleted, confirmed } = one;
  const changed = [
    [inserted, 'inserted'],
    [overwritten, 'overwritten'],
    [deleted, 'deleted'],
    [confirmed, 'confirmed'],
  ] as const;
  const words = changed.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  const found = words.length === 0 ? 'nothing to repair' : words.join(', ');
  const compared =
    keys === null
      ? `${countOf(rows, 'row')} compared`
      : `${rows} of ${countOf(keys, 'row')} found in production`;
  const rest = leftOut.length === 0 ? '' : `; not sent, so left as they are: ${leftOut.join(', ')}`;
  return `${one.name}: ${compared}, ${found}, in ${humanDuration(one.durationMs)}${rest}.`;
}
