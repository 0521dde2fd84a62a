/**
 * The demo: a trunk from a recording of a real Debezium stream, a rollout, a candidate with two
 * bugs under mirrored traffic, a drift check at a pinned position, a report. The same code as
 * with Kafka from the change source on; everything is removed at the end.
 */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseConfig } from '../config/load.ts';
import type { RolloutRow } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import type { DriftReport } from '../report/drift-report.ts';
import { renderHtml } from '../report/html.ts';
import { createRollout, deleteRollout } from '../rollout/lifecycle.ts';
import { RuntimeContext } from '../runtime/context.ts';
import { checkDrift, DEFAULT_DRIFT_ARGS, readDivergence } from '../runtime/drift-act.ts';
import { countRecords } from '../runtime/materialize.ts';
import { Stage } from '../runtime/stage.ts';
import { ensureTrunk, openTrunk } from '../runtime/trunk.ts';
import type { OffsetMap } from '../change/position.ts';
import { ShopService } from './candidate.ts';
import { Playback } from './playback.ts';
import { readManifest, readTraffic, RECORDING, SCHEMA, type DemoTraffic } from './traffic.ts';

export interface DemoOptions {
  /** Where the report is written. */
  readonly reportFile: string;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly onProgress: (label: string, done: number, total: number) => void;
  /** Called before everything is removed: `--keep` waits here. */
  readonly beforeCleanup: (rollout: RolloutRow) => Promise<void>;
}

export interface DemoOutcome {
  readonly report: DriftReport;
  readonly reportFile: string;
}

/** The shop's rows are invented: the report may show their values. */
const SHOWN = { showValues: true, listedRows: 200 };

/** Rows of customers whose traffic is not mirrored: the candidate never writes them. */
const UNOWNED_ORDERS = 'SELECT count(*) AS value FROM orders WHERE customer_id % 3 <> 1';

export async function runDemo(options: DemoOptions): Promise<DemoOutcome> {
  const directory = await mkdtemp(path.join(tmpdir(), 'understudy-demo-'));
  // As root, the server runs as a user of its own, who must get to its data.
  await chmod(directory, 0o711);
  const traffic = await readTraffic();
  const playback = await Playback.open(traffic);
  const config = parseConfig(
    JSON.stringify({
      source: { topicPrefix: 'shop', recording: fileURLToPath(RECORDING) },
      shadow: 'embedded',
      trunk: { name: 'shop', schema: fileURLToPath(SCHEMA) },
    }),
    { file: path.join(directory, 'understudy.yaml'), env: {} },
  );
  try {
    options.say('Starting an embedded PostgreSQL as shadow server.');
    await using context = await RuntimeContext.open(config, options.logger, {
      openSource: () => playback.openSource(),
    });
    return await new Demo(context, playback, traffic, options).run();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

class Demo {
  readonly #context: RuntimeContext;
  readonly #playback: Playback;
  readonly #traffic: DemoTraffic;
  readonly #options: DemoOptions;

  constructor(
    context: RuntimeContext,
    playback: Playback,
    traffic: DemoTraffic,
    options: DemoOptions,
  ) {
    this.#context = context;
    this.#playback = playback;
    this.#traffic = traffic;
    this.#options = options;
  }

  async run(): Promise<DemoOutcome> {
    const rollout = await this.#prepare();
    const trunk = await this.#takeStage((await openTrunk(this.#context)).name);
    const copy = await this.#takeStage(rollout.database);
    try {
      // Armed before the stream goes on: the check catches its point as it passes.
      const checking = checkDrift(
        copy,
        { ...DEFAULT_DRIFT_ARGS, ...SHOWN, manifest: await readManifest() },
        {},
      );
      checking.catch(() => undefined);
      await trunk.running();
      await this.#serveTraffic(rollout, [trunk, copy]);
      // The base was checked at its point; what the candidate did is told as of the end.
      const report = {
        ...(await checking),
        divergence: await readDivergence(copy.database, SHOWN),
      };
      this.#tellOwned(report);
      await writeFile(this.#options.reportFile, renderHtml(report));
      await this.#options.beforeCleanup(rollout);
      return { report, reportFile: this.#options.reportFile };
    } finally {
      await copy.close();
      await trunk.close();
      await this.#cleanUp(rollout);
    }
  }

  /** The trunk up to the beginning of the traffic, and its clone. */
  async #prepare(): Promise<RolloutRow> {
    const { say } = this.#options;
    const { database } = await ensureTrunk(this.#context);
    const stage = await Stage.take(this.#context, database, { giveUpAfterMs: 30_000 });
    if (stage === null) throw new UnderstudyError('FENCE_HELD', 'the demo’s trunk is held');
    try {
      await this.#follow(stage, 'materializing the trunk', this.#playback.endOf(-1));
      const { events, transactions } = (await stage.running()).follower.totals;
      say(`The trunk holds production’s rows: ${events} events in ${transactions} transactions.`);
    } finally {
      await stage.close();
    }
    const control = await this.#context.control();
    const started = performance.now();
    const row = await createRollout(
      { server: this.#context.server, control, actor: 'demo' },
      { trunk: database.name, name: 'new-checkout', expiresAt: null },
    );
    const ms = Math.round(performance.now() - started);
    say(`Rollout new-checkout: a writable clone in ${ms} ms, at ${withoutPassword(row.url)}`);
    return row;
  }

  async #takeStage(name: string): Promise<Stage> {
    const database = await this.#context.server.open(name);
    const stage =
      database === null
        ? null
        : await Stage.take(this.#context, database, { giveUpAfterMs: 30_000 });
    if (stage === null) throw new UnderstudyError('FENCE_HELD', 'it is held', { database: name });
    return stage;
  }

  /** The candidate handles each stretch's mirrored requests; then production's stream goes on. */
  async #serveTraffic(rollout: RolloutRow, stages: readonly Stage[]): Promise<void> {
    const { say } = this.#options;
    await using candidate = await ShopService.connect(rollout.url, 'candidate');
    const before = await candidate.value(UNOWNED_ORDERS);
    let served = 0;
    for (const [index, window] of this.#traffic.windows.entries()) {
      await candidate.serve(window.requests);
      served += window.requests.length;
      const ends = this.#playback.play(index);
      const label = `production’s traffic, part ${index + 1} of ${this.#traffic.windows.length}`;
      for (const stage of stages) await this.#follow(stage, label, ends);
    }
    say(`The candidate handled ${served} mirrored requests while production went on.`);
    say(
      'Rows it did not write followed production: it saw ' +
        `${before} orders of the other regions before and ${await candidate.value(UNOWNED_ORDERS)} now.`,
    );
  }

  /** A row that the candidate wrote keeps its value; production's is kept beside it. */
  #tellOwned(report: DriftReport): void {
    for (const finding of report.divergence?.findings ?? []) {
      const column = finding.columns[0];
      if (finding.kind !== 'update' || column === undefined) continue;
      const key = Object.values(finding.key).join(', ');
      this.#options.say(
        `A row it wrote stays its own: ${finding.table} ${key} has ${column.name} ` +
          `${column.candidate ?? 'NULL'}; production's ${column.production ?? 'NULL'} is kept beside it.`,
      );
      return;
    }
  }

  async #follow(stage: Stage, label: string, ends: OffsetMap): Promise<void> {
    const { follower, source, done } = await stage.running();
    const starts = await source.starts();
    const begun = follower.position.offsets;
    const { signal } = this.#options;
    const reached = follower.until(() => {
      const { done: records, total } = countRecords(ends, starts, begun, follower.position.offsets);
      this.#options.onProgress(label, records, total);
      return signal.aborted || records >= total;
    });
    await Promise.race([reached, done]);
    if (signal.aborted) throw signal.reason;
    if (follower.state.kind === 'stopped') await done;
  }

  async #cleanUp(rollout: RolloutRow): Promise<void> {
    const control = await this.#context.control();
    await deleteRollout({ server: this.#context.server, control, actor: 'demo' }, rollout.name);
  }
}

function withoutPassword(url: string): string {
  const shown = new URL(url);
  shown.password = '';
  return shown.href;
}
