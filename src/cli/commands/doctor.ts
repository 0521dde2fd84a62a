import type { Command } from 'commander';
import type { Diagnosis } from '../../dialect/dialect.ts';
import { runDoctor } from '../../runtime/doctor.ts';
import type { Register } from '../register.ts';
import { printJson, readConfig, type GlobalOptions } from '../session.ts';

const MARKS: Readonly<Record<Diagnosis['level'], string>> = { ok: '✓', warning: '!', error: '✗' };
const COLOURS: Readonly<Record<Diagnosis['level'], number>> = { ok: 32, warning: 33, error: 31 };

export function addDoctorCommand(program: Command, register: Register): void {
  const command = program
    .command('doctor')
    .description('look for every trap that can be checked, with its cure')
    .addHelpText(
      'after',
      '\nExits with 1 if it finds anything.\n\nExample:\n  $ understudy doctor',
    );
  register<GlobalOptions>(command, async (session, options) => {
    const report = await runDoctor(await readConfig(session), session.logger);
    const { terminal } = session;
    if (options.json) printJson(session, report);
    else {
      for (const finding of report.findings) {
        const mark = MARKS[finding.level];
        const shown = terminal.outIsTerminal
          ? `\u001b[${COLOURS[finding.level]}m${mark}\u001b[0m`
          : mark;
        terminal.out(`${shown} ${finding.message}\n`);
        if (finding.cure !== null) terminal.out(`    ${finding.cure} (${finding.id})\n`);
      }
    }
    return report.healthy ? 0 : 1;
  });
}
