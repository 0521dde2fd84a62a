import { Option, type Command } from 'commander';
import { tableName } from '../../change/table-id.ts';
import type { RolloutRow } from '../../dialect/dialect.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { CreatedRollout } from '../../rollout/lifecycle.ts';
import { parseDuration, rolloutNames } from '../../rollout/names.ts';
import type { RuntimeContext } from '../../runtime/context.ts';
import { readDiff, type RolloutDiff } from '../../runtime/diff.ts';
import { existingRollout } from '../../runtime/existing-rollout.ts';
import { removeRollout } from '../../runtime/remove-rollout.ts';
import { readPatch } from '../../runtime/patch.ts';
import { perform } from '../../runtime/requests.ts';
import { describeOffsets } from '../../runtime/materialize.ts';
import type { Register } from '../register.ts';
import { addSelection, selectionOf, type SelectionOptions } from '../selection.ts';
import { printJson, withContext, type GlobalOptions } from '../session.ts';
import { renderTable } from '../terminal.ts';
import { addMigrate } from './rollout-migrate.ts';
import { addConflicts, addRelease, addReset, addResolve, addTruncate } from './rollout-rows.ts';

export function addRolloutCommands(program: Command, register: Register): void {
  const rollout = program
    .command('rollout')
    .description('writable copies of the trunk that go on following production');
  addCreate(rollout, register);
  addList(rollout, register);
  addGet(rollout, register);
  addDiff(rollout, register);
  addReset(rollout, register);
  addRelease(rollout, register);
  addTruncate(rollout, register);
  addMigrate(rollout, register);
  addConflicts(rollout, register);
  addResolve(rollout, register);
  addDelete(rollout, register);
}

interface CreateOptions extends GlobalOptions {
  readonly ttl?: string;
  readonly migrates?: boolean;
}

/** As a `run` of a former version tells it, too. */
type Made = Omit<CreatedRollout, 'triggersLeft'> & Partial<Pick<CreatedRollout, 'triggersLeft'>>;

function addCreate(rollout: Command, register: Register): void {
  const command = rollout
    .command('create <name>')
    .description('clone the trunk, install capture, let the candidate in')
    .option('--ttl <duration>', 'delete it after 30m, 12h, 7d …')
    .option('--migrates', 'its candidate changes tables by itself, with its own address')
    .addHelpText('after', '\nExample:\n  $ understudy rollout create new-checkout --ttl 7d');
  register<CreateOptions>(command, async (session, options, [name = '']) => {
    const outcome = await withContext(session, async (context) => {
      rolloutNames(context.config.trunk.name, name);
      const made = (await perform(context, {
        kind: 'rollout-create',
        database: context.config.trunk.name,
        args: {
          name,
          // A `run` of a former version does not know it.
          ...(options.migrates === true && { migrates: true }),
          expiresAt:
            options.ttl === undefined
              ? null
              : new Date(Date.now() + parseDuration(options.ttl)).toISOString(),
        },
        timeoutMs: 3_600_000,
        signal: session.terminal.signal,
      })) as Made;
      const { notCaptured, sequencesLeft, triggersLeft = [] } = made;
      const described = await describeRollout(context, made.name);
      return { ...described, notCaptured, sequencesLeft, triggersLeft };
    });
    if (options.json) printJson(session, outcome);
    else {
      session.terminal.out(
        `Rollout ${outcome.name} follows production in database ${outcome.database}.\n` +
          `The candidate connects to ${outcome.url}\n`,
      );
      for (const table of outcome.notCaptured) {
        session.terminal.out(
          `Not captured: ${tableName(table)} has no key; the candidate’s writes there are not seen.\n`,
        );
      }
      for (const trigger of outcome.triggersLeft) {
        session.terminal.out(
          `Trigger ${trigger} is left out: the trunk has no more what it names, or this server does not take it.\n`,
        );
      }
      for (const sequence of outcome.sequencesLeft) {
        session.terminal.out(
          `Sequence ${sequence} could not be moved away: new ids may meet production’s.\n`,
        );
      }
    }
    return 0;
  });
}

function addList(rollout: Command, register: Register): void {
  const command = rollout
    .command('list')
    .description('all rollouts')
    .addHelpText('after', '\nExample:\n  $ understudy rollout list --json');
  register<GlobalOptions>(command, async (session, options) => {
    const rows = await withContext(session, async (context) => {
      const control = await context.existingControl();
      return (await control?.rollouts()) ?? [];
    });
    // Addresses hold passwords: `get` shows them, one at a time.
    if (options.json) printJson(session, rows.map(withoutUrl));
    else if (rows.length === 0) session.terminal.out('There is no rollout.\n');
    else {
      session.terminal.out(
        renderTable(
          ['NAME', 'STATE', 'DATABASE', 'CREATED', 'EXPIRES'],
          rows.map((row) => [
            row.name,
            row.state,
            row.database,
            row.createdAt.toISOString(),
            row.expiresAt?.toISOString() ?? null,
          ]),
        ),
      );
    }
    return 0;
  });
}

function withoutUrl(row: RolloutRow): Omit<RolloutRow, 'url'> {
  const { name, database, role, state, createdAt, expiresAt } = row;
  return { name, database, role, state, createdAt, expiresAt };
}

function addGet(rollout: Command, register: Register): void {
  const command = rollout
    .command('get <name>')
    .description('one rollout, with its address')
    .addHelpText('after', '\nExample:\n  $ understudy rollout get new-checkout');
  register<GlobalOptions>(command, async (session, options, [name = '']) => {
    const found = await withContext(session, (context) => describeRollout(context, name));
    if (options.json) printJson(session, found);
    else {
      for (const [key, value] of Object.entries({ ...found, position: found.position })) {
        session.terminal.out(`${key.padEnd(10)} ${describeField(value)}\n`);
      }
    }
    return 0;
  });
}

interface DiffOptions extends SelectionOptions {
  readonly limit: string;
  readonly showValues: boolean;
  readonly sql?: 'production' | 'candidate';
}

function describeField(value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  if (value === null) return '–';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function addDiff(rollout: Command, register: Register): void {
  const command = addSelection(
    rollout
      .command('diff <name>')
      .description('rows where the candidate’s image differs from production’s'),
  )
    .option('--limit <n>', 'rows listed per table', '100')
    .option('--show-values', 'print column values, not only names', false)
    .addOption(
      new Option(
        '--sql <side>',
        'print statements, with values, that make the other side’s rows like this one’s',
      ).choices(['production', 'candidate']),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  $ understudy rollout diff new-checkout --show-values\n  $ understudy rollout diff new-checkout --sql candidate > patch.sql',
    );
  register<DiffOptions>(command, async (session, options, [name = '']) => {
    const only = selectionOf(options);
    const { sql } = options;
    if (sql !== undefined) {
      const statements = await withContext(session, (context) =>
        readPatch(context, name, only, sql),
      );
      if (options.json) printJson(session, { name, towards: sql, statements });
      else for (const statement of statements) session.terminal.out(`${statement}\n`);
      return 0;
    }
    const diff = await withContext(session, async (context) =>
      readDiff(context, name, {
        limit: parseCount(options.limit),
        showValues: options.showValues,
        ...only,
      }),
    );
    if (options.json) printJson(session, diff);
    else session.terminal.out(renderDiff(diff));
    return 0;
  });
}

function renderDiff(diff: RolloutDiff): string {
  const told = Object.entries(diff.outcomes).filter(([, rows]) => rows > 0);
  const before = told.map(([outcome, rows]) => `${String(rows)} ${outcome}`).join(', ');
  const ended = told.length === 0 ? '' : `Of rows that differed before: ${before}.\n`;
  return `${renderRows(diff)}${ended}`;
}

function renderRows(diff: RolloutDiff): string {
  if (diff.tables.length === 0) return 'The candidate’s image equals production’s.\n';
  const isPaired = diff.tables.some(({ pairs, paired }) => pairs + paired > 0);
  const counts = renderTable(
    [
      ...['TABLE', 'INSERTED', 'UPDATED', 'DELETED', 'KEPT OUT', 'SAME AGAIN'],
      ...(isPaired ? ['PAIRS DIFFER', 'PAIRED'] : []),
    ],
    diff.tables.map((t) => [
      t.isolated ? `${t.table} (isolated)` : t.table,
      t.inserted,
      t.updated,
      t.deleted,
      t.blocked,
      t.equal,
      ...(isPaired ? [t.pairs, t.paired] : []),
    ]),
  );
  const rows = diff.rows.map((row) => {
    const columns = row.columns.map((column) =>
      'production' in column
        ? `${column.name}: ${column.production ?? 'NULL'} → ${column.candidate ?? 'NULL'}`
        : column.name,
    );
    const trace = row.trace === null ? '' : `  trace ${row.trace}`;
    const theirs = row.pairedWith === undefined ? '' : ` = ${row.pairedWith.join(', ')}`;
    return `${row.kind.padEnd(7)} ${row.table} (${row.key.join(', ')}${theirs})  ${columns.join(', ')}${trace}`;
  });
  const cut = diff.truncated ? ['… more rows than --limit'] : [];
  return `${counts}\n${[...rows, ...cut].join('\n')}\n`;
}

function addDelete(rollout: Command, register: Register): void {
  const command = rollout
    .command('delete <name>')
    .description('drop its database and role')
    .addHelpText('after', '\nExample:\n  $ understudy rollout delete new-checkout');
  register<GlobalOptions>(command, async (session, options, [name = '']) => {
    await withContext(session, async (context) => {
      const row = await existingRollout(context, name);
      await removeRollout(context, row, { timeoutMs: 600_000, signal: session.terminal.signal });
    });
    if (options.json) printJson(session, { name, deleted: true });
    else session.terminal.out(`Rollout ${name} is gone.\n`);
    return 0;
  });
}

/** The row with the position its database has reached. */
async function describeRollout(
  context: RuntimeContext,
  name: string,
): Promise<RolloutRow & { readonly position: Record<string, string> | null }> {
  const row = await existingRollout(context, name);
  const database = await context.server.open(row.database);
  if (database === null) return { ...row, position: null };
  try {
    return { ...row, position: describeOffsets((await database.progress()).position.offsets) };
  } finally {
    await database[Symbol.asyncDispose]();
  }
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) {
    throw new UnderstudyError('USAGE', `'${text}' is no positive whole number`);
  }
  return count;
}
