import type { Command } from 'commander';
import type { Diagnosis } from '../../dialect/dialect.ts';
import { runDoctor } from '../../runtime/doctor.ts';
import type { Register } from '../register.ts';
import { printJson, readConfig, type GlobalOptions } from '../session.ts';
import type { Terminal } from '../terminal.ts';

const MARKS: Readonly<Record<Diagnosis['level'], string>> = { ok: '✓', warning: '!', error: '✗' };
const COLOURS: Readonly<Record<Diagnosis['level'], number>> = { ok: 32, warning: 33, error: 31 };

/** What the first part of a finding's id stands for, in the order in which they are shown. */
const GROUPS: Readonly<Record<string, string>> = {
  shadow: 'Shadow server',
  rollout: 'Rollouts',
  production: 'Production',
  table: 'Tables',
  tables: 'Tables, as a whole',
  column: 'Columns, as the connector sends them',
  log: 'Event log',
  connector: 'Connector',
};

interface Options extends GlobalOptions {
  readonly connectorFile?: string;
}

export function addDoctorCommand(program: Command, register: Register): void {
  const command = program
    .command('doctor')
    .description('look for every trap that can be checked, with its cure')
    .option('--connector-file <file>', 'look at this connector configuration, not at a running one')
    .addHelpText(
      'after',
      '\nExits with 1 if it finds anything.\n\nExamples:\n  $ understudy doctor\n' +
        '  $ understudy doctor --connector-file connector.json',
    );
  register<Options>(command, async (session, options) => {
    const report = await runDoctor(await readConfig(session), session.logger, {
      connectorFile: options.connectorFile ?? null,
    });
    if (options.json) printJson(session, report);
    else show(session.terminal, report.findings);
    return report.healthy ? 0 : 1;
  });
}

function show(terminal: Terminal, findings: readonly Diagnosis[]): void {
  const groups = Map.groupBy(findings, ({ id }) => id.slice(0, id.indexOf('.')));
  for (const [group, title] of Object.entries(GROUPS)) {
    const found = groups.get(group) ?? [];
    if (found.length === 0) continue;
    terminal.out(`${title}\n`);
    for (const finding of found) showFinding(terminal, finding);
  }
  const count = (level: Diagnosis['level']): number =>
    findings.filter((finding) => finding.level === level).length;
  const [errors, warnings] = [count('error'), count('warning')];
  terminal.out(
    errors + warnings === 0
      ? 'Nothing stands in the way.\n'
      : `${errors} errors, ${warnings} warnings.\n`,
  );
}

function showFinding(terminal: Terminal, { id, level, message, cure }: Diagnosis): void {
  const mark = MARKS[level];
  const shown = terminal.outIsTerminal ? `\u001b[${COLOURS[level]}m${mark}\u001b[0m` : mark;
  terminal.out(`  ${shown} ${message}\n`);
  if (cure !== null) terminal.out(`      cure: ${cure} (${id})\n`);
}
