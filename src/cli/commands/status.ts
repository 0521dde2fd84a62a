import type { Command } from 'commander';
import { readStatus, type DatabaseStatus } from '../../runtime/status.ts';
import { describeAlarms } from '../../runtime/rollout-alarms.ts';
import type { Register } from '../register.ts';
import { printJson, withContext, type GlobalOptions } from '../session.ts';
import { describeWaiting } from '../../runtime/waiting-keys.ts';
import { countOf } from '../../report/words.ts';
import { humanDuration, renderTable } from '../terminal.ts';

export function addStatusCommand(program: Command, register: Register): void {
  const command = program
    .command('status')
    .description('what the trunk and every rollout have reached, and by which guarantee')
    .addHelpText('after', '\nExample:\n  $ understudy status --json');
  register<GlobalOptions>(command, async (session, options) => {
    const report = await withContext(session, readStatus);
    const exit = report.logError === null ? 0 : 4;
    if (options.json) {
      printJson(session, report);
      return exit;
    }
    const { terminal } = session;
    if (report.databases.length === 0) terminal.out('There is no trunk yet.\n');
    else terminal.out(renderTable(HEAD, report.databases.map(row)));
    for (const database of report.databases) {
      terminal.out(describeActivity(database));
      terminal.out(describeMembers(database));
      if (database.degraded !== null) terminal.out(`${database.name}: ${database.degraded}\n`);
      terminal.out(describeGaps(database));
      for (const { what } of describeWaiting(database.waiting)) {
        terminal.out(`${database.name}: ${what}\n`);
      }
      terminal.out(describeOurs(database));
      terminal.out(describeTables(database));
      for (const { what, cure } of describeAlarms(database.alarms)) {
        terminal.out(`${database.name}: ${what}: ${cure}\n`);
      }
      terminal.out(describeDead(database));
    }
    for (const { table, column, setting, cure } of report.lossy) {
      terminal.out(`${table}.${column} is not sent exactly (${setting}): ${cure}\n`);
    }
    for (const limit of report.limits) terminal.out(`source: ${limit}\n`);
    if (report.logError !== null) terminal.err(`understudy: ${report.logError}\n`);
    return exit;
  });
}

function describeActivity({ name, activity: { kind, forMs, reason } }: DatabaseStatus): string {
  if (reason === null) return '';
  const since = forMs === null ? '' : ` for ${humanDuration(forMs)}`;
  return `${name}: ${kind}${since}: ${reason}\n`;
}

function describeMembers({ name, members, alone }: DatabaseStatus): string {
  const lines = members.map(
    ({ name: member, state, partitions }) =>
      `${name}: shared with ${member}: ${partitions.length} partitions, ${state}\n`,
  );
  if (alone !== null) lines.push(`${name}: followed by one process for now: ${alone}\n`);
  return lines.join('');
}

/** What is unknown, a line for each column, and how to know it again. */
function describeGaps({ name, gaps, gapsCure }: DatabaseStatus): string {
  const lines = gaps.map(({ table, column, entries, oldestMs }) => {
    const since = `the oldest for ${humanDuration(oldestMs)}`;
    return column === null
      ? `${name}: ${entries} rows of ${table} are parked, ${since}: events left columns out, and there was no row`
      : `${name}: ${entries} values of ${table}.${column} are unknown, ${since}: the connector sends NULL for unchanged ones`;
  });
  if (gapsCure !== null) lines.push(`${name}: ${gapsCure}`);
  return lines.map((line) => `${line}\n`).join('');
}

function describeOurs({ name, possiblyOurs }: DatabaseStatus): string {
  const kinds = possiblyOurs?.kinds.filter(({ count }) => count > 0) ?? [];
  const lines = kinds.map(
    ({ code, when, count }) =>
      `${name}: ${countOf(count, 'error')} ${code} of the candidate may be ours: ${when}\n`,
  );
  const uncounted = possiblyOurs?.uncounted ?? null;
  if (uncounted !== null && kinds.length > 0) lines.push(`${name}: not counted: ${uncounted}\n`);
  return lines.join('');
}

function describeTables({ name, held, kept }: DatabaseStatus): string {
  const lines = held.map(({ table, why, ageMs, queued }) => {
    const since = `for ${humanDuration(ageMs)}, with ${countOf(queued, 'event')}`;
    return `${name}: ${table} waits ${since}: ${why} ${table}\n`;
  });
  for (const { table, ageMs } of kept) {
    const since = `known for ${humanDuration(ageMs)}`;
    lines.push(
      `${name}: ${table} is kept, though production dropped it, ${since}: see \`schema accept\` ${table}\n`,
    );
  }
  return lines.join('');
}

function describeDead(status: DatabaseStatus): string {
  const { name, kind, deadLetters, oldestDeadLetterMs, hidden } = status;
  // Each table that waits with events is one dead key.
  const others = deadLetters - status.held.filter(({ queued }) => queued > 0).length;
  if (oldestDeadLetterMs === null || others === 0) return '';
  const since = `the oldest for ${humanDuration(oldestDeadLetterMs)}`;
  const seen =
    kind === 'rollout' && hidden > 0 ? `, ${hidden} rows are left out of production views` : '';
  return `${name}: ${others} keys are set aside, ${since}${seen}: see \`understudy dead-letters list\`\n`;
}

const HEAD = [
  'NAME',
  'KIND',
  'STATE',
  'ACTIVITY',
  'RECORDS BEHIND',
  'EVENT LAG',
  'OLDEST TX',
  'GUARANTEE',
  'PARKED',
  'UNKNOWN',
  'DEAD',
];

function row(status: DatabaseStatus): readonly (string | number | null)[] {
  const { offsets, eventTimeMs, oldestTransactionMs } = status.lag;
  return [
    status.name,
    status.kind,
    status.state,
    status.activity.kind,
    offsets,
    eventTimeMs === null ? null : humanDuration(eventTimeMs),
    oldestTransactionMs === null ? null : humanDuration(oldestTransactionMs),
    status.guarantee,
    status.parked,
    status.unknown,
    status.deadLetters,
  ];
}
