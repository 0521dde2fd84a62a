import path from 'node:path';
import type { Command } from 'commander';
import { exitCode } from '../../drift/verdict.ts';
import type { RolloutRow } from '../../dialect/dialect.ts';
import { runDemo } from '../../demo/demo.ts';
import { renderText } from '../../report/text.ts';
import { ProgressLine } from '../progress.ts';
import type { Register } from '../register.ts';
import { printJson, type GlobalOptions, type Session } from '../session.ts';
import { humanDuration } from '../terminal.ts';

interface Options extends GlobalOptions {
  readonly keep: boolean;
  readonly report: string;
}

export function addDemoCommand(program: Command, register: Register): void {
  const command = program
    .command('demo')
    .description('see it work: a recorded shop, a candidate with two bugs, a report')
    .option('--keep', 'leave the databases running until Ctrl-C, for a look around', false)
    .option('--report <file>', 'where the HTML report goes', 'understudy-report.html')
    .addHelpText(
      'after',
      `
Needs nothing but Node: an embedded database is the shadow server, and a recording of a real
Debezium stream is the event log. Takes well under a minute and cleans up after itself.

Examples:
  $ understudy demo
  $ understudy demo --keep`,
    );
  register<Options>(
    command,
    async (session, options) => {
      const { terminal } = session;
      const progress = new ProgressLine(terminal, 'records');
      const started = performance.now();
      const say = (line: string): void => {
        progress.end();
        if (!options.json) terminal.out(`${line}\n`);
      };
      const { report, reportFile } = await runDemo({
        reportFile: path.resolve(options.report),
        logger: session.logger,
        signal: terminal.signal,
        say,
        onProgress: (label, done, total) => {
          progress.update(label, done, total);
        },
        beforeCleanup: (rollout) =>
          options.keep ? lookAround(session, rollout) : Promise.resolve(),
      });
      progress.end();
      if (options.json) printJson(session, report);
      else {
        terminal.out(`\n${renderText(report, { colour: terminal.outIsTerminal })}\n`);
        terminal.out(
          `Done in ${humanDuration(performance.now() - started)}. Report: ${reportFile}\n`,
        );
      }
      return exitCode(report.verdict);
    },
    'error',
  );
}

/** `--keep`: waits for Ctrl-C, which here means that all is well. */
async function lookAround(session: Session, rollout: RolloutRow): Promise<void> {
  const { terminal } = session;
  terminal.out(
    `\nEverything is left running. The rollout, as the candidate sees it:\n  ${rollout.url}\n` +
      'Ctrl-C ends the demo and removes it.\n',
  );
  await new Promise<void>((resolve) => {
    if (terminal.signal.aborted) resolve();
    terminal.signal.addEventListener('abort', () => {
      resolve();
    });
  });
}
