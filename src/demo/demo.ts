/**
 * The demo: a trunk from production's stream, a rollout, a candidate with two bugs under mirrored
 * traffic, a drift check at a pinned position, a report. The same acts from a recording and on the
 * real parts (see Stagecraft); everything is removed at the end.
 */
import { writeFile } from 'node:fs/promises';
import type { OffsetMap } from '../change/position.ts';
import type { RolloutRow, ShadowDatabase } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { DriftReport } from '../report/drift-report.ts';
import { renderHtml } from '../report/html.ts';
import { createRollout, deleteRollout, type RolloutParts } from '../rollout/lifecycle.ts';
import { checkDrift, DEFAULT_DRIFT_ARGS, readDivergence } from '../runtime/drift-act.ts';
import { countRecords } from '../runtime/materialize.ts';
import { Stage } from '../runtime/stage.ts';
import { supervise } from '../runtime/supervisor.ts';
import { ensureTrunk } from '../runtime/trunk.ts';
import { rejectWhenAborted } from '../util/wait.ts';
import { ShopService } from './candidate.ts';
import { ownedRow } from './findings.ts';
import type { Stagecraft } from './stagecraft.ts';

export interface DemoOptions {
  /** Where the report is written. */
  readonly reportFile: string;
  /** Aborts the demo; with `keep`, once the report is out, it only ends the waiting. */
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly onProgress: (label: string, done: number, total: number) => void;
  /** Called when the report is written and all still runs. */
  readonly onOutcome: (outcome: DemoOutcome) => void;
  /** Follow on, as `run` does, until the signal: for a look around. */
  readonly keep: boolean;
}

export interface DemoOutcome {
  readonly report: DriftReport;
  readonly rollout: RolloutRow;
}

/** The shop's rows are invented: the report may show their values. */
const SHOWN = { showValues: true, listedRows: 200 };

/** Rows of customers whose traffic is not mirrored: the candidate never writes them. */
const UNOWNED_ORDERS = 'SELECT count(*)::text AS value FROM orders WHERE customer_id % 3 <> 1';

/**
 * Plays all acts on `stage`, which stays open, and returns the report. Rejects with the signal's
 * reason, and with whatever an act failed with; the rollout is removed in every case.
 */
export async function runDemo(stage: Stagecraft, options: DemoOptions): Promise<DriftReport> {
  return new Demo(stage, options).run();
}

class Demo {
  readonly #stage: Stagecraft;
  readonly #options: DemoOptions;
  readonly #aborted: Promise<never>;

  constructor(stage: Stagecraft, options: DemoOptions) {
    this.#stage = stage;
    this.#options = options;
    this.#aborted = rejectWhenAborted(options.signal);
    this.#aborted.catch(() => undefined);
  }

  async run(): Promise<DriftReport> {
    const rollout = await this.#prepare();
    try {
      const report = await this.#play(rollout);
      await writeFile(this.#options.reportFile, renderHtml(report));
      this.#options.onOutcome({ report, rollout });
      if (this.#options.keep) {
        await supervise(this.#stage.context, { signal: this.#options.signal, only: null });
      }
      return report;
    } finally {
      await deleteRollout(await this.#rolloutParts(), rollout.name);
    }
  }

  /** The trunk up to the beginning of the traffic, and its clone. */
  async #prepare(): Promise<RolloutRow> {
    const { say } = this.#options;
    const begun = performance.now();
    const trunk = await this.#take((await ensureTrunk(this.#stage.context)).database);
    try {
      await this.#follow(trunk, 'materializing', await this.#stage.beforeTraffic());
      const { rows } = (await trunk.running()).follower.totals;
      say(`Trunk          ${rows} rows of production, in ${sinceText(begun)}`);
    } finally {
      await trunk.close();
    }
    const started = performance.now();
    const row = await createRollout(await this.#rolloutParts(), {
      trunk: this.#stage.context.config.trunk.name,
      name: 'new-checkout',
      expiresAt: null,
    });
    say(`Rollout        ${row.name}, a writable clone of the trunk, in ${sinceText(started)}`);
    return row;
  }

  async #play(rollout: RolloutRow): Promise<DriftReport> {
    const trunk = await this.#open(this.#stage.context.config.trunk.name);
    try {
      const copy = await this.#open(rollout.database);
      try {
        const checked = await this.#serveTraffic(rollout, trunk, copy);
        // The base was checked at its point; what the candidate did is told as of the end.
        const report = { ...checked, divergence: await readDivergence(copy.database, SHOWN) };
        const owned = ownedRow(report.divergence);
        if (owned !== null) this.#options.say(`Own rows stay  ${owned}`);
        return report;
      } finally {
        await copy.close();
      }
    } finally {
      await trunk.close();
    }
  }

  /**
   * The candidate handles each stretch's mirrored requests; then production does, and its stream
   * goes on. Meanwhile trunk and rollout follow, and the base is checked.
   */
  async #serveTraffic(rollout: RolloutRow, trunk: Stage, copy: Stage): Promise<DriftReport> {
    const { windows, checkedWindow } = this.#stage;
    await using candidate = await ShopService.connect(rollout.url, 'candidate');
    const before = await candidate.value(UNOWNED_ORDERS);
    await trunk.running();
    let checking: Promise<DriftReport> | null = null;
    let served = 0;
    for (const [index, { requests }] of windows.entries()) {
      if (index === checkedWindow) checking = this.#check(copy, await this.#stage.manifest());
      await copy.running();
      await this.#unlessAborted(candidate.serve(requests));
      served += requests.length;
      const ends = await this.#unlessAborted(this.#stage.advance(index));
      const label = `production goes on, part ${index + 1} of ${windows.length}`;
      await this.#follow(trunk, label, ends);
      await this.#follow(copy, label, ends);
    }
    const { say } = this.#options;
    say(`Candidate      handled ${served} mirrored requests while production went on`);
    const after = await candidate.value(UNOWNED_ORDERS);
    say(`Others follow  ${before ?? 0} → ${after ?? 0} orders of customers that it never served`);
    if (checking === null) throw new UnderstudyError('INTERNAL', 'the demo has no drift check');
    return await this.#unlessAborted(checking);
  }

  /** Begins the check; it settles as the traffic goes on. */
  #check(copy: Stage, manifest: string | null): Promise<DriftReport> {
    const checking = checkDrift(copy, { ...DEFAULT_DRIFT_ARGS, ...SHOWN, manifest }, {});
    // For whoever awaits it at the end; it must not end the process before that.
    checking.catch(() => undefined);
    return checking;
  }

  async #follow(stage: Stage, label: string, ends: OffsetMap): Promise<void> {
    const { follower, source, done } = await stage.running();
    const starts = await source.starts();
    const begun = follower.position.offsets;
    const reached = follower.until(() => {
      const { done: records, total } = countRecords(ends, starts, begun, follower.position.offsets);
      this.#options.onProgress(label, records, total);
      return records >= total;
    });
    await this.#unlessAborted(Promise.race([reached, done]));
    if (follower.state.kind === 'stopped') await done;
  }

  async #open(name: string): Promise<Stage> {
    const database = await this.#stage.context.server.open(name);
    if (database !== null) return this.#take(database);
    throw new UnderstudyError('TRUNK_NOT_FOUND', 'it is gone', { database: name });
  }

  async #take(database: ShadowDatabase): Promise<Stage> {
    const stage = await Stage.take(this.#stage.context, database, { giveUpAfterMs: 30_000 });
    if (stage !== null) return stage;
    const { name } = database;
    await database[Symbol.asyncDispose]();
    throw new UnderstudyError('FENCE_HELD', 'it is held', { database: name });
  }

  #unlessAborted<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#aborted]);
  }

  async #rolloutParts(): Promise<RolloutParts> {
    const { context } = this.#stage;
    return { server: context.server, control: await context.control(), actor: 'demo' };
  }
}

function sinceText(started: number): string {
  return `${((performance.now() - started) / 1_000).toFixed(1)} s`;
}
