import type { Command } from 'commander';
import { recordLog } from '../../runtime/record.ts';
import { ProgressLine } from '../progress.ts';
import type { Register } from '../register.ts';
import { printJson, readConfig, type GlobalOptions } from '../session.ts';

interface Options extends GlobalOptions {
  readonly out: string;
  readonly follow: boolean;
}

export function addRecordCommand(program: Command, register: Register): void {
  const command = program
    .command('record')
    .description('copy the event log into a file that `source.recording` can play')
    .option('--out <file>', 'where to', 'understudy.recording')
    .option('--follow', 'go on recording what arrives, until SIGINT or SIGTERM', false)
    .addHelpText('after', '\nExample:\n  $ understudy record --out shop.recording');
  register<Options>(command, async (session, options) => {
    const progress = new ProgressLine(session.terminal, 'records');
    const recorded = await recordLog(await readConfig(session), session.logger, options.out, {
      until: options.follow ? 'signal' : 'ends',
      signal: session.terminal.signal,
      onProgress: ({ records, remaining }) => {
        const rest = remaining === null ? 0 : Number(remaining);
        progress.update('recording', records, records + rest);
      },
    }).finally(() => {
      progress.end();
    });
    if (options.json) printJson(session, recorded);
    else session.terminal.out(`Wrote ${recorded.file}: ${recorded.records} records.\n`);
    return 0;
  });
}
