import path from 'node:path';
import type { Command } from 'commander';
import { exitCode } from '../../drift/verdict.ts';
import { runDemo, type DemoOutcome } from '../../demo/demo.ts';
import { conclusion } from '../../demo/findings.ts';
import type { OpenStagecraft, Stagecraft } from '../../demo/stagecraft.ts';
import { renderText } from '../../report/text.ts';
import { ProgressLine } from '../progress.ts';
import type { Register } from '../register.ts';
import { printJson, type GlobalOptions, type Session } from '../session.ts';
import { humanDuration } from '../terminal.ts';

interface Options extends GlobalOptions {
  readonly keep: boolean;
  readonly report: string;
}

/** `open` makes the stage it plays on. */
export function addDemoCommand(program: Command, register: Register, open: OpenStagecraft): void {
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
  register<Options>(command, (session, options) => performDemo(session, options, open), 'error');
}

async function performDemo(
  session: Session,
  flags: Options,
  open: OpenStagecraft,
): Promise<number> {
  const { terminal, logger } = session;
  const progress = new ProgressLine(terminal, 'records');
  const started = performance.now();
  const say = (line: string): void => {
    progress.clear();
    if (!flags.json) terminal.out(`${line}\n`);
  };
  const reportFile = path.resolve(flags.report);
  try {
    await using stage = await open({ say, logger, signal: terminal.signal });
    const report = await runDemo(stage, {
      reportFile,
      signal: terminal.signal,
      say,
      onProgress: (label, done, total) => {
        progress.update(label, done, total);
      },
      onOutcome: (outcome) => {
        progress.clear();
        const seconds = humanDuration(performance.now() - started);
        if (flags.json) printJson(session, outcome.report);
        else show(session, outcome, `Done in ${seconds}. Report: ${reportFile}`);
        if (flags.keep && !flags.json) terminal.out(lookAround(stage, outcome));
      },
      keep: flags.keep,
    });
    return exitCode(report.verdict);
  } finally {
    progress.clear();
  }
}

function show({ terminal }: Session, { report }: DemoOutcome, last: string): void {
  terminal.out(`\n${renderText(report, { colour: terminal.outIsTerminal })}`);
  terminal.out(`\n${conclusion(report).join('\n')}\n\n${last}\n`);
}

/** `--keep`: where everything is. */
function lookAround(stage: Stagecraft, { rollout }: DemoOutcome): string {
  return `
All is left running until Ctrl-C. Look around from another terminal:

  the rollout, as the candidate sees it   ${rollout.url}
  production's image beside it            SELECT * FROM public__production.orders
  where both differ                       SELECT * FROM public__difference.orders
  every command of understudy             npm run understudy -- status --config ${stage.configFile}

`;
}
