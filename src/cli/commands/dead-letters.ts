import type { Command } from 'commander';
import { countOf } from '../../report/words.ts';
import {
  discardDeadLetters,
  listDeadLetters,
  replayDeadLetters,
  showDeadLetter,
  type DeadLetterRow,
  type ShownRecord,
} from '../../runtime/dead-letters.ts';
import type { Register } from '../register.ts';
import { printJson, withContext, type GlobalOptions } from '../session.ts';
import { humanDuration, renderTable } from '../terminal.ts';

export function addDeadLetterCommands(program: Command, register: Register): void {
  const letters = program
    .command('dead-letters')
    .description(
      'rows that were refused or could not be read, and the events that wait behind them',
    );
  addList(letters, register);
  addShow(letters, register);
  addReplay(letters, register);
  addDiscard(letters, register);
}

interface PlaceOptions extends GlobalOptions {
  readonly rollout?: string;
}

interface ShowOptions extends PlaceOptions {
  readonly decrypt?: boolean;
}

const ROLLOUT = ['--rollout <name>', 'of this rollout; default: of the trunk'] as const;

function addList(letters: Command, register: Register): void {
  const command = letters
    .command('list')
    .description('all of the trunk and the rollouts, the oldest first')
    .addHelpText(
      'after',
      '\nExamples:\n  $ understudy dead-letters list\n  $ understudy dead-letters list --json',
    );
  register<GlobalOptions>(command, async (session, options) => {
    const rows = await withContext(session, listDeadLetters);
    if (options.json) printJson(session, rows);
    else if (rows.length === 0) session.terminal.out('There are no dead letters.\n');
    else {
      session.terminal.out(
        renderTable(
          ['ID', 'NAME', 'TABLE', 'KEY', 'AGE', 'QUEUED', 'WHY'],
          rows.map((row) => [
            ...[row.id, row.name, row.table, keysText(row), humanDuration(row.ageMs), row.queued],
            row.message,
          ]),
        ),
      );
    }
    return 0;
  });
}

function addShow(letters: Command, register: Register): void {
  const command = letters
    .command('show <id>')
    .description('one, with the places of its events in the log')
    .option(...ROLLOUT)
    .option('--decrypt', 'with the records, as deadLetters.encryptionKey opens them: row values')
    .addHelpText(
      'after',
      `
Examples:
  $ understudy dead-letters show 3f9c01ab
  $ understudy dead-letters show 3f9c01ab --decrypt
  $ understudy dead-letters show 3f9c01ab --rollout new-checkout`,
    );
  register<ShowOptions>(command, async (session, options, [id = '']) => {
    const found = await withContext(session, (context) =>
      showDeadLetter(context, options.rollout ?? null, id, { decrypt: options.decrypt === true }),
    );
    if (options.json) printJson(session, found);
    else {
      const { keys: _, queue, records = [], ...fields } = found;
      for (const [name, value] of Object.entries({ ...fields, key: keysText(found) })) {
        session.terminal.out(`${name.padEnd(13)} ${value ?? '–'}\n`);
      }
      session.terminal.out(`queue\n${queue.map((place) => `  ${place}\n`).join('')}`);
      for (const { at, notKept, key, value } of records) {
        session.terminal.out(`\n${at}${notKept === null ? '' : `: not kept, ${notKept}`}\n`);
        if (notKept === null) {
          session.terminal.out(`  key   ${bytesText(key)}\n  value ${bytesText(value)}\n`);
        }
      }
    }
    return 0;
  });
}

function addReplay(letters: Command, register: Register): void {
  const command = letters
    .command('replay [id...]')
    .description('read their events from the log again and write them; without id all')
    .option(...ROLLOUT)
    .addHelpText(
      'after',
      `
Letters that are refused still, cannot be read still, or whose events Kafka no longer holds (and
which were not kept) are left. Exits with 2 if there are any.

Examples:
  $ understudy dead-letters replay
  $ understudy dead-letters replay 3f9c01ab --rollout new-checkout`,
    );
  register<PlaceOptions>(command, async (session, options, ids) => {
    const { signal } = session.terminal;
    const outcome = await withContext(session, (context) =>
      replayDeadLetters(context, options.rollout ?? null, ids.length === 0 ? null : ids, signal),
    );
    if (options.json) printJson(session, outcome);
    else {
      session.terminal.out(`${countOf(outcome.replayed.length, 'dead letter')} replayed.\n`);
      for (const { id, message } of outcome.left) session.terminal.out(`${id}: ${message}\n`);
    }
    return outcome.left.length === 0 ? 0 : 2;
  });
}

function addDiscard(letters: Command, register: Register): void {
  const command = letters
    .command('discard <id...>')
    .description(
      'give up their events; the rows are parked until production is asked, or sends them',
    )
    .option(...ROLLOUT)
    .addHelpText(
      'after',
      `
Where all rows of a table wait together, none of them is parked: a drift check tells which differ.

Examples:
  $ understudy dead-letters discard 3f9c01ab
  $ understudy dead-letters discard 3f9c01ab --rollout new-checkout`,
    );
  register<PlaceOptions>(command, async (session, options, ids) => {
    const { signal } = session.terminal;
    const outcome = await withContext(session, (context) =>
      discardDeadLetters(context, options.rollout ?? null, ids, signal),
    );
    if (options.json) printJson(session, outcome);
    else {
      session.terminal.out(`${countOf(outcome.discarded.length, 'dead letter')} discarded.\n`);
    }
    return 0;
  });
}

function bytesText(bytes: ShownRecord['key']): string {
  if (bytes === null) return '–';
  return 'text' in bytes ? bytes.text : `base64 ${bytes.base64}`;
}

/** `7`, `(a, b)`, `7 9` of several, or `*` for all rows of the table. */
function keysText({ keys }: DeadLetterRow): string {
  const texts = keys.map((key) => {
    if (key === null) return '*';
    return key.length === 1 ? (key[0] ?? '') : `(${key.join(', ')})`;
  });
  return texts.join(' ');
}
