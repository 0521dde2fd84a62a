import { readFile, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { DriftReport } from '../../report/drift-report.ts';
import { renderDivergenceText, renderText } from '../../report/text.ts';
import { renderDivergenceHtml, renderHtml } from '../../report/html.ts';
import { exitCode } from '../../drift/verdict.ts';
import { DEFAULT_DRIFT_ARGS } from '../../runtime/drift-act.ts';
import { readRolloutDivergence, runDriftCheck, runDriftSnapshot } from '../../runtime/drift.ts';
import { ProgressLine } from '../progress.ts';
import type { Register } from '../register.ts';
import { printJson, withContext, type GlobalOptions, type Session } from '../session.ts';
import { parsePositive } from '../words.ts';

export function addDriftCommands(program: Command, register: Register): void {
  const drift = program
    .command('drift')
    .description('compare with production at one position; show what the candidate changed');
  addCheck(drift, register);
  addSnapshot(drift, register);
  addReport(drift, register);
}

interface CheckOptions extends GlobalOptions {
  readonly manifest?: string;
  readonly html?: string;
  readonly showValues: boolean;
  readonly rows: string;
  readonly leafRows: string;
  readonly timeout: string;
}

function addCheck(drift: Command, register: Register): void {
  const command = drift
    .command('check [rollout]')
    .description('compare the trunk, or a rollout’s base, with production at one position')
    .option('--manifest <file>', 'compare with a manifest of `drift snapshot` instead')
    .option('--html <file>', 'also write the report as one HTML file')
    .option('--show-values', 'put row values into the report', false)
    .option('--rows <n>', 'rows listed per table', String(DEFAULT_DRIFT_ARGS.listedRows))
    .option('--leaf-rows <n>', 'rows per checksum', String(DEFAULT_DRIFT_ARGS.leafRows))
    .option('--timeout <seconds>', 'how long the connector may take', '90')
    .addHelpText(
      'after',
      `
Freezes the applier for a moment, pins production, and lets the shadow come to that very point:
a difference is drift, never timing. Divergence of the candidate is shown beside it and does not
change the verdict. Exits with 0 equal, 1 drift, 2 inconclusive.

Examples:
  $ understudy drift check
  $ understudy drift check new-checkout --html report.html`,
    );
  register<CheckOptions>(command, async (session, options, [rollout]) => {
    const progress = new ProgressLine(session.terminal, 'rows');
    const manifest = options.manifest === undefined ? null : await readManifest(options.manifest);
    const report = await withContext(session, (context) =>
      runDriftCheck(
        context,
        rollout ?? null,
        {
          manifest,
          showValues: options.showValues,
          listedRows: parsePositive(options.rows, '--rows'),
          leafRows: parsePositive(options.leafRows, '--leaf-rows'),
          timeoutMs: parsePositive(options.timeout, '--timeout') * 1_000,
        },
        {
          signal: session.terminal.signal,
          onPhase: (phase) => {
            session.logger.info(phase);
          },
          onProgress: (p) => {
            progress.update(`comparing ${p.table}`, p.tablesDone, p.tables);
          },
        },
      ),
    ).finally(() => {
      progress.end();
    });
    await show(session, report, options);
    return exitCode(report.verdict);
  });
}

async function show(session: Session, report: DriftReport, options: CheckOptions): Promise<void> {
  if (options.html !== undefined) await writeFile(options.html, renderHtml(report));
  if (options.json) printJson(session, report);
  else {
    session.terminal.out(renderText(report, { colour: session.terminal.outIsTerminal }));
    if (options.html !== undefined) session.terminal.out(`Report: ${options.html}\n`);
  }
}

async function readManifest(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new UnderstudyError('MANIFEST_INVALID', `cannot read ${file}`, {}, error);
  }
}

interface SnapshotOptions extends GlobalOptions {
  readonly out: string;
  readonly withRows: boolean;
  readonly leafRows: string;
  readonly timeout: string;
}

function addSnapshot(drift: Command, register: Register): void {
  const command = drift
    .command('snapshot')
    .description('write production’s checksums at a pinned position, for a check that comes later')
    .option('--out <file>', 'where to', 'manifest.json')
    .option('--with-rows', 'also every row’s key and checksum, to name rows that differ', false)
    .option('--leaf-rows <n>', 'rows per checksum', String(DEFAULT_DRIFT_ARGS.leafRows))
    .option('--timeout <seconds>', 'how long the connector may take', '90')
    .addHelpText(
      'after',
      '\nExample:\n  $ understudy drift snapshot --with-rows --out monday.json',
    );
  register<SnapshotOptions>(command, async (session, options) => {
    const manifest = await withContext(session, (context) =>
      runDriftSnapshot(context, {
        rows: options.withRows,
        leafRows: parsePositive(options.leafRows, '--leaf-rows'),
        timeoutMs: parsePositive(options.timeout, '--timeout') * 1_000,
        signal: session.terminal.signal,
        onRows: (table, rows) => {
          session.logger.info('read', { table, rows });
        },
      }),
    );
    await writeFile(options.out, `${JSON.stringify(manifest)}\n`);
    const summary = { file: options.out, pin: manifest.pin, tables: manifest.tables.length };
    if (options.json) printJson(session, summary);
    else session.terminal.out(`Wrote ${options.out}: ${summary.tables} tables.\n`);
    return 0;
  });
}

interface ReportOptions extends GlobalOptions {
  readonly html?: string;
  readonly showValues: boolean;
  readonly rows: string;
  readonly failOn?: string;
}

function addReport(drift: Command, register: Register): void {
  const command = drift
    .command('report <rollout>')
    .description('what the candidate changed against production’s image')
    .option('--html <file>', 'also write the report as one HTML file')
    .option('--show-values', 'put row values into the report', false)
    .option('--rows <n>', 'rows listed per table', String(DEFAULT_DRIFT_ARGS.listedRows))
    .option('--fail-on <what>', '`divergence`: exit with 1 if there is any')
    .addHelpText(
      'after',
      '\nExample:\n  $ understudy drift report new-checkout --html report.html',
    );
  register<ReportOptions>(command, async (session, options, [rollout = '']) => {
    if (options.failOn !== undefined && options.failOn !== 'divergence') {
      throw new UnderstudyError('USAGE', '--fail-on takes `divergence`');
    }
    const divergence = await withContext(session, (context) =>
      readRolloutDivergence(context, rollout, {
        showValues: options.showValues,
        listedRows: parsePositive(options.rows, '--rows'),
      }),
    );
    if (options.html !== undefined) {
      await writeFile(options.html, renderDivergenceHtml(rollout, divergence));
    }
    if (options.json) printJson(session, divergence);
    else {
      session.terminal.out(
        renderDivergenceText(rollout, divergence, { colour: session.terminal.outIsTerminal }),
      );
    }
    return options.failOn === 'divergence' && divergence.rows > 0 ? 1 : 0;
  });
}
