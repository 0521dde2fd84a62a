/**
 * The promise: once a take-over has happened, nothing of the former holder is committed any more,
 * wherever it was when it stopped. A stopped process is played by a session that goes silent with
 * its transaction open: what SIGSTOP leaves behind, as the server sees it.
 */
import fc from 'fast-check';
import type pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { START } from '../../src/change/position.ts';
import type { Fence, HolderNote, ShadowDatabase } from '../../src/dialect/dialect.ts';
import { PgShadowDatabase } from '../../src/dialect/postgres/shadow/database.ts';
import {
  assertFence,
  releaseFence,
  renewFence,
  showPresence,
  takeFence,
} from '../../src/dialect/postgres/shadow/fence.ts';
import { ServerAddress } from '../../src/dialect/postgres/session/session.ts';
import type { ChangeBatch } from '../../src/order/change-batch.ts';
import { exactSession, freshTrunk } from './shadow.fixture.ts';

const LEASE_MS = 150;
const NOTE: HolderNote = { state: 'following', oldestTransactionMs: null, degraded: 0 };
const EMPTY: ChangeBatch = {
  ...{ steps: [], position: START, txIds: [], unmarked: 0, events: 0, transactions: 0, bytes: 0 },
};

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function open(trunk: { readonly name: string; readonly url: string }, leaseMs = LEASE_MS) {
  const marker = { id: '', kind: 'trunk', name: trunk.name, topicPrefix: 'prod' } as const;
  const database = new PgShadowDatabase({
    ...{ address: new ServerAddress(trunk.url), name: trunk.name, leaseMs },
    marker: { ...marker, schemaVersion: 3 },
  });
  onTestFinished(() => database[Symbol.asyncDispose]());
  return database;
}

async function taken(database: ShadowDatabase, holder: string): Promise<Fence> {
  const fence = await database.takeFence(holder);
  if (fence === null) throw new Error(`${holder} could not take the fence`);
  return fence;
}

test('one holds it; its note is read by others; given back, the next takes it at once', async () => {
  const trunk = await freshTrunk();
  const [a, b] = [open(trunk, 60_000), open(trunk, 60_000)];
  const fence = await taken(a, 'a');
  await a.renewFence(fence, { ...NOTE, oldestTransactionMs: 12 });
  expect(await b.takeFence('b')).toBeNull();
  expect(await b.fenceState()).toMatchObject({
    ...{ generation: 1n, holder: 'a', free: false },
    note: { state: 'following', oldestTransactionMs: 12, degraded: 0 },
  });
  await a.releaseFence(fence);
  expect(await b.fenceState()).toEqual({
    ...{ generation: 1n, holder: null, silentMs: null, free: true, note: null },
  });
  expect((await taken(b, 'b')).generation).toBe(2n);
  // Too late, and harmless.
  await a.releaseFence(fence);
  expect(await b.fenceState()).toMatchObject({ holder: 'b' });
});

test('of many that take it at once, one gets it', async () => {
  const trunk = await freshTrunk();
  for (let round = 0; round < 5; round += 1) {
    const takers = Array.from({ length: 6 }, () => open(trunk, 60_000));
    const fences = await Promise.all(takers.map((taker, n) => taker.takeFence(`t${String(n)}`)));
    expect(fences.filter((fence) => fence !== null)).toHaveLength(1);
    await Promise.all(takers.map((taker) => taker[Symbol.asyncDispose]()));
  }
});

test('a holder whose sessions are gone is taken over at once, long before its lease ends', async () => {
  const trunk = await freshTrunk();
  const [dead, next] = [open(trunk, 60_000), open(trunk, 60_000)];
  await taken(dead, 'dead');
  expect(await next.takeFence('next')).toBeNull();
  await dead[Symbol.asyncDispose](); // as kill -9 does it: sessions end, nothing is given back
  await expect.poll(async () => (await next.fenceState()).free).toBe(true);
  expect((await taken(next, 'next')).generation).toBe(2n);
});

test('signs of life are not held up by an act, nor an act’s end by them', async () => {
  const trunk = await freshTrunk();
  const [holder, next] = [open(trunk), open(trunk)];
  const fence = await taken(holder, 'holder');
  const act = await exactSession(trunk.url);
  await act.query('BEGIN');
  await assertFence(act, fence, trunk.name);
  for (let n = 0; n < 4; n += 1) {
    await pause(LEASE_MS / 2);
    await holder.renewFence(fence, NOTE);
    expect(await next.takeFence('next')).toBeNull();
  }
  await act.query('COMMIT');
});

test('a stopped holder with an open transaction is taken over, and woken finds itself fenced', async () => {
  const trunk = await freshTrunk();
  const [holder, next] = [open(trunk), open(trunk)];
  const fence = await taken(holder, 'stopped');
  await holder.apply(fence, EMPTY);
  const act = await exactSession(trunk.url);
  await showPresence(act, fence.generation);
  await act.query('BEGIN');
  await assertFence(act, fence, trunk.name);
  await act.query(`INSERT INTO item VALUES (1, 'of the stopped')`);
  await pause(LEASE_MS * 1.5);

  const taken2 = await taken(next, 'next');
  expect(taken2.generation).toBe(2n);
  await expect(act.query('COMMIT')).rejects.toBeInstanceOf(Error);
  const look = await exactSession(trunk.url);
  expect((await look.query('SELECT * FROM item')).rows).toEqual([]);
  // Its connections are gone: the first try says so, the next ones learn the truth.
  const woken = await holder
    .apply(fence, EMPTY)
    .catch(() => holder.apply(fence, EMPTY))
    .catch((error: unknown) => error);
  expect(woken).toMatchObject({ code: 'FENCED' });
  const sign = await holder
    .renewFence(fence, NOTE)
    .catch(() => holder.renewFence(fence, NOTE))
    .catch((error: unknown) => error);
  expect(sign).toMatchObject({ code: 'FENCED' });
  await next.apply(taken2, EMPTY);
});

/** One process as the server sees it: a session for acts, one for signs of life. */
class Actor {
  readonly name: string;
  readonly #act: pg.Client;
  readonly #sign: pg.Client;
  readonly #database: string;
  fence: Fence | null = null;
  inAct = false;

  constructor(name: string, database: string, sessions: { act: pg.Client; sign: pg.Client }) {
    this.name = name;
    this.#database = database;
    this.#act = sessions.act;
    this.#sign = sessions.sign;
  }

  /** Does the step if it makes sense now; returns the generation that took over or committed. */
  async step(step: Step): Promise<{ readonly kind: 'took' | 'wrote'; generation: bigint } | null> {
    const { fence } = this;
    switch (step) {
      case 'take': {
        const options = { holder: this.name, leaseMs: 0, database: this.#database };
        const won = await takeFence(this.#sign, options);
        if (won === null) return null;
        this.fence = won;
        return { kind: 'took', generation: won.generation };
      }
      case 'begin':
        if (fence === null || this.inAct) return null;
        await showPresence(this.#act, fence.generation);
        await this.#act.query('BEGIN');
        this.inAct = true;
        return null;
      case 'assert':
        if (fence === null || !this.inAct) return null;
        await assertFence(this.#act, fence, this.#database);
        await this.#act.query('INSERT INTO act VALUES ($1)', [fence.generation]);
        return null;
      case 'commit':
        if (fence === null || !this.inAct) return null;
        this.inAct = false;
        await this.#act.query('COMMIT');
        return { kind: 'wrote', generation: fence.generation };
      case 'sign':
        if (fence !== null) {
          await renewFence(this.#sign, fence, { note: NOTE, database: this.#database });
        }
        return null;
      case 'release':
        if (fence !== null) await releaseFence(this.#sign, fence);
        return null;
    }
  }
}

const STEPS = ['take', 'begin', 'assert', 'commit', 'sign', 'release'] as const;
type Step = (typeof STEPS)[number];

/**
 * Two holders with a lease of nothing, so that either may be taken over at any point. Nobody rolls
 * back: a holder that was refused or ended leaves things as they were at that moment.
 */
test('in any interleaving no row of a lower generation is committed after a take-over', async () => {
  const trunk = await freshTrunk();
  const look = await exactSession(trunk.url);
  await look.query('CREATE TABLE act (generation int8, seq int8 GENERATED ALWAYS AS IDENTITY)');
  let tookOver = 0;
  const below = async (generation: bigint): Promise<bigint> => {
    const sql = 'SELECT count(*) AS n FROM act WHERE generation < $1';
    return (await look.query<{ n: bigint }>(sql, [generation])).rows[0]?.n ?? -1n;
  };
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom(0, 1), fc.constantFrom(...STEPS)), {
        ...{ minLength: 6, maxLength: 24 },
      }),
      async (script) => {
        await using sessions = new AsyncDisposableStack();
        const newSession = async (): Promise<pg.Client> => {
          const client = await exactSession(trunk.url);
          sessions.defer(() => client.end().catch(() => undefined));
          await client.query(`SET lock_timeout = '300ms'`);
          return client;
        };
        const seen: { readonly generation: bigint; readonly rows: bigint }[] = [];
        await look.query('TRUNCATE act; UPDATE understudy.fence SET holder = NULL');
        const actors = await Promise.all(
          ['a', 'b'].map(async (name) => {
            const parts = { act: await newSession(), sign: await newSession() };
            return new Actor(name, trunk.name, parts);
          }),
        );
        for (const [who, step] of script) {
          const actor = actors[who];
          const done = await actor?.step(step).catch(() => null);
          if (done?.kind !== 'took') continue;
          tookOver += 1;
          seen.push({ generation: done.generation, rows: await below(done.generation) });
        }
        for (const actor of actors) await actor.step('commit').catch(() => null);
        // What a lower generation had committed by the take-over is all it ever did.
        for (const { generation, rows } of seen) expect(await below(generation)).toBe(rows);
      },
    ),
    { numRuns: 60, interruptAfterTimeLimit: 40_000, markInterruptAsFailure: true },
  );
  expect(tookOver).toBeGreaterThan(60);
});
