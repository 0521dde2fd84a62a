/**
 * The crash scenario: appliers follow a random history into a shadow, one after another or at
 * once, and break at random points. See test/torture/crash.ts for what must hold.
 */
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { OffsetMap } from '../../../src/change/position.ts';
import { dialectFor } from '../../../src/dialect/registry.ts';
import { Mutex } from '../../../src/util/mutex.ts';
import type { Random } from '../random.ts';
import { CrashApplier, type Ending } from './applier.ts';
import { CutProxy, type Crash, type CrashKind } from './cut-proxy.ts';
import type { Candidate, CrashEngine, CrashFault, CrashServer } from './engine.ts';
import type { History } from './history.ts';
import { HistoryLog } from './history-log.ts';
import { pinSomewhere } from './pinned.ts';
import { makeHistory } from './production.ts';

export interface CrashScenario {
  readonly engine: CrashEngine;
  readonly server: CrashServer;
  readonly database: string;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly note: (line: string) => void;
  /** A cycle that is wrong on purpose; null for the real one. */
  readonly fault: CrashFault | null;
}

/** A silent process keeps the database for so long. */
const LEASE_MS = 250;
const OBSERVATIONS = 6;

const KINDS: readonly CrashKind[] = ['cut', 'cut', 'die', 'die', 'stop', 'end-sessions'];
const SIDES = ['before', 'during', 'after'] as const;
/** What a process without fence does wrong shows only when it is stopped and goes on. */
const STOPS: readonly CrashKind[] = ['stop', 'stop', 'stop', 'cut'];

/** Plays one seed on a database of its own. Rejects if what was promised does not hold. */
export async function playCrash(options: CrashScenario): Promise<void> {
  const { server, database, random } = options;
  const trunk = `${database}_trunk`;
  try {
    await server.createTrunk(trunk);
    const rollout = random.chance(0.3) && options.engine.overlay;
    if (rollout) await makeRollout(server.url, trunk, database);
    const target = rollout ? database : trunk;
    await new Scenario(options, { target, rollout }).play();
  } finally {
    await server.drop(database);
    await server.drop(trunk);
  }
}

async function makeRollout(url: string, trunk: string, rollout: string): Promise<void> {
  await using server = await dialectFor(url).connectShadow(url);
  await server.clone({ from: trunk, to: rollout, rolloutName: 'next' });
  await using database = await server.open(rollout);
  const fence = await database?.takeFence('maker');
  if (database === null || fence === null || fence === undefined) throw new Error('not made');
  await database.installOverlay(fence);
  await database.releaseFence(fence);
}

/** A process that was stopped in the midst of its work, and what it speaks through. */
interface Stale {
  readonly applier: CrashApplier;
  readonly proxy: CutProxy;
}

class Scenario {
  readonly #options: CrashScenario;
  readonly #where: { readonly target: string; readonly rollout: boolean };
  readonly #history: History;
  readonly #stale: Stale[] = [];
  readonly #over = new AbortController();
  readonly #proxies: CutProxy[] = [];
  readonly #looking = new Mutex();
  #appliers = 0;
  #observations = 0;
  /** Of these, with changes applied ahead of the position. */
  #aheads = 0;
  #candidate: Candidate | null = null;

  constructor(
    options: CrashScenario,
    where: { readonly target: string; readonly rollout: boolean },
  ) {
    this.#options = options;
    this.#where = where;
    const { random, engine, note } = options;
    const traits = {
      marked: random.chance(0.65),
      duplicates: random.chance(0.5),
      transactions: random.integer(10, 40),
    };
    this.#history = makeHistory(engine.source, traits, random);
    const where_ = where.rollout ? 'rollout' : 'trunk';
    note(`${where_}, ${JSON.stringify(traits)}`);
  }

  async play(): Promise<void> {
    const { server, random } = this.#options;
    if (this.#where.rollout) this.#candidate = await server.candidate(this.#where.target);
    const watch = this.#watch(random.fork());
    // Its failure is told when the rest has ended.
    watch.catch(() => undefined);
    try {
      for (let crashes = random.integer(2, 5); crashes > 0; crashes -= 1) {
        const ended = await this.#life();
        await this.#observe();
        if (ended === 'caught-up' && this.#stale.length === 0) break;
        await this.#candidateWrites(random, 6);
      }
      await this.#lastLife();
      await this.#wakeAll();
      this.#over.abort();
      await watch;
      await this.#judge();
    } finally {
      this.#over.abort();
      await watch.catch(() => undefined);
      await this.#candidate?.[Symbol.asyncDispose]();
      for (const { applier } of this.#stale) applier.kill();
      for (const proxy of this.#proxies) await proxy[Symbol.asyncDispose]();
      for (const { applier } of this.#stale) await applier.ended.catch(() => undefined);
    }
  }

  /** A process from its start to a crash that ends it, or to the end of the log. */
  async #life(): Promise<Ending> {
    const { random, note } = this.#options;
    const { applier, proxy } = await this.#start();
    for (;;) {
      const crash = randomCrash(random, this.#options.fault);
      const fired = proxy.arm(crash);
      const first = await Promise.race([applier.ended, fired]);
      if (typeof first === 'string') {
        note(`${this.#appliers}: ${first}`);
        return first;
      }
      note(`${this.#appliers}: ${describe(crash)}`);
      switch (crash.kind) {
        case 'die':
          applier.kill();
          return applier.ended;
        case 'stop':
          this.#stale.push({ applier, proxy });
          return 'lost';
        case 'cut':
        case 'end-sessions':
          if (random.chance(0.3)) await this.#wakeOne(random);
          break;
      }
    }
  }

  async #lastLife(): Promise<void> {
    const { random } = this.#options;
    // A process that loses the server before it follows ends; a supervisor starts it again.
    const { applier } = await this.#start();
    await applier.holding.promise;
    if (random.chance(0.5)) await this.#wakeOne(random);
    assert.equal(await applier.ended, 'caught-up', 'the last process did not get to the end');
  }

  async #start(): Promise<Stale> {
    const { engine, server, signal, random, fault } = this.#options;
    const { target } = this.#where;
    const proxy = await CutProxy.listen(server.url, () => server.endSessions(target));
    this.#proxies.push(proxy);
    this.#appliers += 1;
    const applier = new CrashApplier({
      ...{ server, url: proxy.through(server.url), database: target, signal, fault },
      log: new HistoryLog(this.#history, random.fork()),
      marked: this.#history.marked,
      barrier:
        random.chance(0.4) && engine.overlay
          ? {
              plan: pinSomewhere(this.#history, random.fork()),
              afterEvents: random.integer(0, 30),
            }
          : null,
      batchEvents: random.integer(1, 25),
      leaseMs: LEASE_MS,
      name: `applier ${this.#appliers}`,
    });
    return { applier, proxy };
  }

  /** A stopped process goes on, perhaps while another is at work, and must find itself fenced. */
  async #wakeOne(random: Random): Promise<void> {
    const stale = this.#stale.shift();
    if (stale === undefined) return;
    await pause(random.integer(0, 30));
    stale.proxy.wake();
    this.#options.note('a stopped process goes on');
    const ended = await stale.applier.ended;
    this.#options.note(`the stopped process: ${ended}`);
  }

  async #wakeAll(): Promise<void> {
    while (this.#stale.length > 0) await this.#wakeOne(this.#options.random);
  }

  /** The candidate writes to the same rows, never to what only one row may hold. */
  async #candidateWrites(random: Random, most: number): Promise<void> {
    const candidate = this.#candidate;
    if (candidate === null) return;
    for (let n = random.integer(0, most); n > 0; n -= 1) {
      const id = random.integer(1, 8);
      await candidate.write(
        random.pick([
          `UPDATE account SET note = 'of the candidate ${n}' WHERE id = ${id}`,
          `DELETE FROM account WHERE id = ${id}`,
          `DELETE FROM seat WHERE id = ${id}`,
          `UPDATE pair SET w = 'of the candidate ${n}' WHERE a = ${id}`,
          `DELETE FROM pair WHERE a = ${id}`,
          `INSERT INTO account (id, name) VALUES (${id}, 'new')`,
          `UPDATE account SET id = id + 200 WHERE id = ${id}`,
        ]),
      );
    }
  }

  /** Looks at random moments while appliers work, and lets the candidate write beside them. */
  async #watch(random: Random): Promise<void> {
    for (let n = 0; n < OBSERVATIONS && !this.#over.signal.aborted; n += 1) {
      await pause(random.integer(10, 200), undefined, { signal: this.#over.signal }).catch(
        () => undefined,
      );
      await this.#candidateWrites(random, 2);
      await this.#observe();
    }
  }

  /** At any moment the shadow is production at exactly the position that it says. */
  #observe(): Promise<OffsetMap | null> {
    const { server } = this.#options;
    const { target, rollout } = this.#where;
    return this.#looking.run(async () => {
      const seen = await server.observe(target, rollout ? 'rollout' : 'trunk');
      if (seen === null) return null;
      const model = this.#history.stateAt(seen.offsets, seen.ahead);
      if (seen.ahead.length > 0) this.#aheads += 1;
      assert.deepEqual(seen.state, await server.rebuild(model));
      this.#observations += 1;
      return seen.offsets;
    });
  }

  async #judge(): Promise<void> {
    const { server, note } = this.#options;
    const { target } = this.#where;
    note(`${this.#appliers} appliers, ${this.#observations} observations, ${this.#aheads} ahead`);
    const end = await this.#observe();
    assert.deepEqual(sorted(end ?? new Map()), sorted(this.#history.ends()));
    assert.deepEqual(await server.witnessed(target), []);
    await using shadow = await dialectFor(server.url).connectShadow(server.url);
    await using database = await shadow.open(target);
    const progress = await database?.progress();
    assert.equal(progress?.unmarked, this.#history.unmarked, 'changes without transaction');
  }
}

function sorted(offsets: OffsetMap): readonly (readonly [string, bigint])[] {
  return [...offsets].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** Planted faults meet the crashes that show them more often than others do. */
function randomCrash(random: Random, fault: CrashFault | null): Crash {
  const kind = random.pick(fault === 'no-fence' ? STOPS : KINDS);
  // With the answer to a commit on its way nothing is open: what goes on then begins anew.
  const between = fault === 'rows-again' || fault === 'no-fence';
  const commits = random.chance(between ? 0.9 : 0.4);
  const sides = between ? (['after'] as const) : SIDES;
  return {
    kind,
    point: {
      of: commits ? 'commits' : 'messages',
      n: random.integer(1, commits ? 8 : 80),
      side: random.pick(sides),
    },
  };
}

function describe({ kind, point }: Crash): string {
  return `${kind} ${point.side} ${point.of} ${point.n}`;
}
