import type { Command } from 'commander';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import { materialize, type MaterializeSummary } from '../../runtime/materialize.ts';
import { ProgressLine } from '../progress.ts';
import type { Register } from '../register.ts';
import { printJson, withContext, type GlobalOptions } from '../session.ts';
import { humanDuration } from '../terminal.ts';

interface Options extends GlobalOptions {
  readonly untilCaughtUp: boolean;
  readonly anew: boolean;
  readonly refill: boolean;
}

export function addMaterializeCommand(program: Command, register: Register): void {
  const command = program
    .command('materialize')
    .description('apply what is in the log now to the trunk and all rollouts, then stop')
    .option('--until-caught-up', 'stop at the log’s end as it is at the start (required)', false)
    .option('--anew', 'drop the trunk first: it is made and filled again', false)
    .option('--refill', 'copy anew from production the tables whose events the log lost', false)
    .addHelpText(
      'after',
      `
Makes the trunk if it does not exist. Safe to interrupt and to repeat.
Exits with 2 if parked or dead keys, unknown values, source transactions in parts, or tables that
wait, were left.

Example:
  $ understudy materialize --until-caught-up --json`,
    );
  register<Options>(command, async (session, options) => {
    if (!options.untilCaughtUp) {
      throw new UnderstudyError('USAGE', '`materialize` needs --until-caught-up', {
        detail: 'to follow for ever, use `understudy run`',
      });
    }
    const { terminal } = session;
    const progress = new ProgressLine(terminal, 'records');
    const copying = new ProgressLine(terminal, 'MiB');
    const started = performance.now();
    const summary = await withContext(session, (context) =>
      materialize(context, {
        signal: terminal.signal,
        anew: options.anew,
        refill: options.refill,
        onBootstrap: (p) => {
          const label = `${p.phase}, ${p.tablesDone}/${p.tables} tables`;
          copying.update(label, mebibytes(p.bytesDone), Math.max(1, mebibytes(p.bytes)));
        },
        onProgress: (p) => {
          progress.update(p.database, p.done, p.total);
        },
      }),
    ).finally(() => {
      copying.clear();
      progress.end();
    });
    if (options.json) printJson(session, summary);
    else terminal.out(describe(summary, performance.now() - started));
    const { parked, unknown, deadLetters, degraded, held } = summary;
    return parked + unknown + deadLetters + degraded + held.length > 0 ? 2 : 0;
  });
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / (1024 * 1024));
}

function describe(summary: MaterializeSummary, ms: number): string {
  const { events, rows, transactions } = summary.applied;
  const lines = [
    `Applied ${events.toLocaleString('en')} events as ${rows.toLocaleString('en')} rows in ` +
      `${transactions.toLocaleString('en')} transactions, in ${humanDuration(ms)}.`,
  ];
  if (summary.refilled.length > 0) lines.push(`Copied anew: ${summary.refilled.join(', ')}.`);
  if (summary.waiting > 0) {
    lines.push(`${summary.waiting} source transactions have no end in the log yet; they wait.`);
  }
  if (summary.degraded > 0) {
    lines.push(`${summary.degraded} source transactions were applied in parts.`);
  }
  if (summary.parked > 0) lines.push(`${summary.parked} keys are parked.`);
  if (summary.unknown > 0) {
    lines.push(`${summary.unknown} values are unknown; see \`understudy status\`.`);
  }
  if (summary.deadLetters > 0)
    lines.push(`${summary.deadLetters} keys are set aside: see \`understudy dead-letters list\`.`);
  for (const table of summary.held) lines.push(`${table} waits: see \`understudy status\`.`);
  for (const item of summary.notCarried) lines.push(`Not carried over: ${item.what}: ${item.why}`);
  return `${lines.join('\n')}\n`;
}
