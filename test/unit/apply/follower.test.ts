import { afterEach, describe, expect, it } from 'vitest';
import { Follower } from '../../../src/apply/follower.ts';
import type { FollowerLimits } from '../../../src/apply/follower-parts.ts';
import type { BarrierPlan } from '../../../src/apply/barrier.ts';
import type { OffsetRange } from '../../../src/change/offset-ranges.ts';
import { START, type OffsetMap } from '../../../src/change/position.ts';
import type { ChangeEvent } from '../../../src/change/record.ts';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { TransactionAssembler } from '../../../src/order/assembler.ts';
import { BatchBuilder } from '../../../src/order/batch-builder.ts';
import { sleep } from '../../../src/util/wait.ts';
import { boundary, changeEvent, image, textTable } from '../../support/change-events.ts';
import { MemoryLog, MemoryShadow, type Entry } from '../../support/memory-log.ts';

const TABLE = 'p.public.t';
const TRANSACTIONS = 'p.transaction';
const CATALOGUE = new Map([['public.t', textTable('t', ['id', 'v'])]]);

/** An insert of a row of its own, in a transaction or none. */
function insert(id: string, tx: string | null = null, totalOrder = 1): Entry {
  return (at) =>
    changeEvent({
      ...{ op: 'create', topic: at.topic, partition: at.partition, offset: Number(at.offset) },
      ...{ key: image({ id }), after: image({ id, v: 'x' }) },
      tx: tx === null ? null : { id: tx, totalOrder },
    });
}

function end(tx: string, count: number): Entry {
  return (at) => boundary('end', tx, Number(at.offset), { 'public.t': count });
}

const running: { follower: Follower; done: Promise<void> }[] = [];

afterEach(async () => {
  for (const { follower, done } of running.splice(0)) {
    follower.stop();
    await done.catch(() => undefined);
  }
});

function start(
  limits: Partial<FollowerLimits> & {
    readonly frozen?: boolean;
    readonly stallMs?: number;
    readonly ahead?: readonly OffsetRange[];
  } = {},
): { log: MemoryLog; shadow: MemoryShadow; follower: Follower; run: () => Promise<void> } {
  const { frozen = false, stallMs = 60_000, ahead = [], ...others } = limits;
  const log = new MemoryLog();
  const shadow = new MemoryShadow();
  const follower = new Follower(
    {
      database: shadow,
      fence: { generation: 1n, holder: 'test' },
      source: log,
      decode: (record) => log.decode(record),
      mask: (event) => event,
      assembler: new TransactionAssembler({
        mode: 'transaction',
        isSubscribed: () => true,
        stallLimitMs: stallMs,
      }),
      ahead,
      builder: (position) => new BatchBuilder({ catalogue: CATALOGUE, position }),
      limits: {
        ...{ batchEvents: 100, batchBytes: 1e9, budgetBytes: 1e9, giveUpAfterMs: 60_000 },
        ...others,
      },
      logger: silentLogger,
    },
    START,
  );
  if (frozen) void follower.freeze();
  const run = (): Promise<void> => {
    const done = follower.run();
    done.catch(() => undefined);
    running.push({ follower, done });
    return done;
  };
  return { log, shadow, follower, run };
}

/** Keys in the order in which they were written, batch by batch; `base` for the snapshot. */
function written(shadow: MemoryShadow): readonly (string | readonly string[])[] {
  return shadow.acts.map((act) =>
    act.kind === 'base'
      ? 'base'
      : act.batch.steps.flatMap((step) =>
          step.kind === 'rows' ? step.changes.map((change) => String(change.key[0])) : [],
        ),
  );
}

function offsets(shadow: MemoryShadow): Readonly<Record<string, bigint>> {
  return Object.fromEntries(shadow.position.offsets);
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 5_000; !condition(); await sleep(1)) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
  }
}

async function plan(
  log: MemoryLog,
  visible: (change: ChangeEvent) => boolean,
  ends?: OffsetMap,
): Promise<BarrierPlan> {
  return { visible, ends: ends ?? (await log.ends()), starts: await log.starts() };
}

const idOf = (change: ChangeEvent): unknown => change.key?.values[0];

describe('a follower', () => {
  it('applies what is complete, in log order, with the position it leads to', async () => {
    const { log, shadow, follower, run } = start({ batchEvents: 2 });
    log.append(TABLE, 0, insert('a', '1'), insert('b', '1', 2), insert('c', '2'));
    log.append(TRANSACTIONS, 0, end('1', 2));
    log.end();
    await run();
    // Transaction 2 has no end: it waits, and its place is not passed.
    expect(written(shadow)).toEqual([['a', 'b']]);
    expect(offsets(shadow)).toEqual({ [`${TABLE}/0`]: 2n, [`${TRANSACTIONS}/0`]: 1n });
    expect(follower.totals).toEqual({ events: 2, rows: 2, transactions: 1, degraded: 0 });
    expect(follower.held().transactions).toBe(1);
    expect(follower.state).toEqual({ kind: 'stopped' });
  });

  it('keeps batches within their limit, but transactions whole', async () => {
    const { log, shadow, run } = start({ batchEvents: 3 });
    for (let n = 0; n < 4; n += 1) {
      log.append(TABLE, 0, insert(`a${n}`, `${n}`), insert(`b${n}`, `${n}`, 2));
      log.append(TRANSACTIONS, 0, end(`${n}`, 2));
    }
    log.end();
    await run();
    expect(written(shadow).flat()).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b2', 'a3', 'b3']);
    for (const batch of written(shadow)) {
      expect(batch.length).toBeLessThanOrEqual(4);
      expect(batch.length % 2).toBe(0);
    }
  });

  it('moves the position over records that write nothing, once', async () => {
    const { log, shadow, follower, run } = start();
    const heartbeat: Entry = (at) => ({ kind: 'heartbeat', at, eventTimeMs: null });
    log.append('__debezium-heartbeat.p', 0, heartbeat, heartbeat);
    log.end();
    await run();
    expect(offsets(shadow)).toEqual({ '__debezium-heartbeat.p/0': 2n });
    expect(shadow.acts).toHaveLength(1);
    expect(follower.totals.events).toBe(0);
  });

  it('gives back the bytes of everything it applied', async () => {
    const { log, run } = start();
    log.append(TABLE, 0, insert('a'), insert('b'), (at) => ({
      ...{ kind: 'tombstone', at, eventTimeMs: null },
    }));
    log.end();
    await run();
    const handed = log.released.reduce((sum, bytes) => sum + bytes, 0);
    // Records of 128 bytes; a change says of itself that it has 100.
    expect(handed).toBe(128 + 2 * 100);
  });

  it('says that it caught up only when what it read is applied', async () => {
    const { log, shadow, follower, run } = start();
    log.append(TABLE, 0, insert('a'));
    void run();
    for (let n = 1; n < 50; n += 1) {
      await until('it is idle', () => written(shadow).flat().length === n);
      log.append(TABLE, 0, insert(`r${n}`));
      const [ends, starts] = [await log.ends(), await log.starts()];
      await follower.until(() => follower.caughtUp(ends, starts));
      expect(offsets(shadow)[`${TABLE}/0`]).toBe(BigInt(n + 1));
    }
  });

  it('has not caught up while it is frozen before what it read', async () => {
    const { log, shadow, follower, run } = start();
    log.append(TABLE, 0, insert('a'));
    void run();
    await until('a is applied', () => shadow.acts.length === 1);
    await follower.freeze();
    log.append(TABLE, 0, insert('b'));
    const [ends, starts] = [await log.ends(), await log.starts()];
    await until('b is read', () => follower.consumed.get(`${TABLE}/0`) === 2n);
    await sleep(5);
    expect(follower.caughtUp(ends, starts)).toBe(false);
    follower.resume();
    await follower.until(() => follower.caughtUp(ends, starts));
    expect(written(shadow)).toEqual([['a'], ['b']]);
  });
});

describe('a record that cannot be decoded', () => {
  it('stops it after everything before was applied, in the same chunk too', async () => {
    const { log, shadow, run } = start();
    log.append(TABLE, 0, insert('a'));
    log.append(TABLE, 0, insert('b'), insert('c'), 'corrupt', insert('never'));
    log.append(TABLE, 1, insert('behind it'));
    await expect(run()).rejects.toMatchObject({
      code: 'RECORD_CORRUPT',
      context: { topic: TABLE, partition: 0, offset: 3n },
    });
    expect(written(shadow).flat()).toEqual(['a', 'b', 'c']);
    expect(offsets(shadow)).toEqual({ [`${TABLE}/0`]: 3n });
  });

  it('is told to whoever waits for a barrier', async () => {
    const { log, shadow, follower, run } = start({ frozen: true });
    log.append(TABLE, 0, insert('a'), 'corrupt');
    const done = run();
    const reached = follower.runToBarrier(await plan(log, () => true));
    await expect(reached).rejects.toMatchObject({ code: 'RECORD_CORRUPT' });
    await expect(done).rejects.toMatchObject({ code: 'RECORD_CORRUPT' });
    expect(written(shadow)).toEqual([['a']]);
    // And to those who come too late.
    await expect(follower.runToBarrier(await plan(log, () => true))).rejects.toMatchObject({
      code: 'RECORD_CORRUPT',
    });
  });
});

describe('freezing', () => {
  it('ends when the apply in flight has ended, and reads on meanwhile', async () => {
    const { log, shadow, follower, run } = start();
    const gate = Promise.withResolvers<undefined>();
    shadow.gate = gate.promise;
    log.append(TABLE, 0, insert('a'));
    void run();
    await until('an apply is in flight', () => shadow.begun === 1);
    let frozen = false;
    const freezing = follower.freeze().then(() => {
      frozen = true;
    });
    log.append(TABLE, 0, insert('b'));
    await until('b is read', () => follower.consumed.get(`${TABLE}/0`) === 2n);
    expect(frozen).toBe(false);
    gate.resolve(undefined);
    await freezing;
    expect(written(shadow)).toEqual([['a']]);
    await sleep(20);
    expect(written(shadow)).toEqual([['a']]);
    expect(follower.state).toEqual({ kind: 'frozen' });
    follower.resume();
    await until('b is applied', () => shadow.acts.length === 2);
    expect(written(shadow)).toEqual([['a'], ['b']]);
  });

  it('before it runs lets nothing through', async () => {
    const { log, shadow, follower, run } = start({ frozen: true });
    log.append(TABLE, 0, insert('a'));
    void run();
    await until('a is read', () => follower.consumed.size > 0);
    await sleep(20);
    expect(shadow.begun).toBe(0);
    follower.resume();
    await until('a is applied', () => shadow.acts.length === 1);
  });
});

describe('a barrier', () => {
  it('applies what the snapshot saw, opens the base, and then lets in the rest', async () => {
    const { log, shadow, follower, run } = start({ frozen: true, batchEvents: 2 });
    log.append(TABLE, 0, insert('a', '1'), insert('B', '2'), insert('c', '3'), insert('D', '4'));
    log.append(TRANSACTIONS, 0, end('1', 1), end('2', 1), end('3', 1), end('4', 1));
    void run();
    const seen = new Set<unknown>(['a', 'c']);
    const outcome = await follower.runToBarrier(await plan(log, (c) => seen.has(idOf(c))));
    expect(outcome).toMatchObject({ deferredTransactions: 2, missing: 0 });
    const [ends, starts] = [await log.ends(), await log.starts()];
    await follower.until(() => follower.caughtUp(ends, starts));
    expect(written(shadow)).toEqual([['a'], ['c'], 'base', ['B', 'D']]);
    expect(offsets(shadow)).toEqual({ [`${TABLE}/0`]: 4n, [`${TRANSACTIONS}/0`]: 4n });
    expect(follower.totals).toMatchObject({ events: 4, rows: 4 });
    expect(log.released.reduce((sum, bytes) => sum + bytes, 0)).toBe(4 * 100 + 4 * 128);
  });

  it('leaves the stored position before the first change that waits, then jumps', async () => {
    const { log, shadow, follower, run } = start({ frozen: true, batchEvents: 1 });
    for (const id of ['a', 'b', 'X', 'c', 'd']) {
      log.append(TABLE, 0, insert(id, id));
      log.append(TRANSACTIONS, 0, end(id, 1));
    }
    void run();
    await follower.runToBarrier(await plan(log, (change) => idOf(change) !== 'X'));
    const [ends, starts] = [await log.ends(), await log.starts()];
    await follower.until(() => follower.caughtUp(ends, starts));
    const stored = shadow.acts.map((act) =>
      act.kind === 'base' ? 'base' : act.batch.position.offsets.get(`${TABLE}/0`),
    );
    expect(written(shadow)).toEqual([['a'], ['b'], ['c'], ['d'], 'base', ['X']]);
    expect(stored).toEqual([1n, 2n, 2n, 2n, 'base', 5n]);
    // Nothing of what was not stored was told to the broker.
    for (const commit of log.commits.slice(0, -1)) {
      expect(commit.get(`${TABLE}/0`) ?? 0n).toBeLessThanOrEqual(2n);
    }
  });

  it('says of which records a batch ahead is, and which transactions it holds whole', async () => {
    const { log, shadow, follower, run } = start({ frozen: true, batchEvents: 100 });
    // The second delivery of what waits is no reason to call it applied.
    const rows = ['a', 'b', 'X', 'c', 'X'];
    log.append(TABLE, 0, ...rows.map((id) => insert(id, id)));
    log.append(TRANSACTIONS, 0, ...rows.map((id) => end(id, 1)));
    void run();
    await follower.runToBarrier(await plan(log, (change) => idOf(change) !== 'X'));
    const [ends, starts] = [await log.ends(), await log.starts()];
    await follower.until(() => follower.caughtUp(ends, starts));
    const told = shadow.acts.flatMap((act) => (act.kind === 'apply' ? [act.batch] : []));
    const at = { topic: TABLE, partition: 0 };
    expect(told.map(({ ahead, delivered }) => ({ ahead, delivered }))).toEqual([
      {
        ahead: [
          { ...at, first: 0n, next: 2n },
          { ...at, first: 3n, next: 4n },
        ],
        delivered: ['a 1000', 'b 1000', 'c 1000'],
      },
      { ahead: undefined, delivered: ['a 1000', 'b 1000', 'X 1000', 'c 1000'] },
    ]);
  });

  it('leaves out what was applied ahead before, and passes its place', async () => {
    const at = { topic: TABLE, partition: 0 };
    const { log, shadow, follower, run } = start({ ahead: [{ ...at, first: 1n, next: 3n }] });
    log.append(TABLE, 0, insert('a'), insert('b'), insert('c'), insert('d'));
    void run();
    const [ends, starts] = [await log.ends(), await log.starts()];
    await follower.until(() => follower.caughtUp(ends, starts));
    expect(written(shadow)).toEqual([['a', 'd']]);
    expect(offsets(shadow)).toEqual({ [`${TABLE}/0`]: 4n });
  });

  it('waits until the log was read to the end it was given', async () => {
    const { log, shadow, follower, run } = start({ frozen: true });
    log.append(TABLE, 0, insert('a'));
    void run();
    const ends = new Map([[`${TABLE}/0`, 2n]]);
    const reached = follower.runToBarrier(await plan(log, () => true, ends));
    await until('a is applied', () => shadow.acts.length === 1);
    await sleep(20);
    expect(written(shadow)).toEqual([['a']]);
    log.append(TABLE, 0, insert('b'));
    await reached;
    expect(written(shadow)).toEqual([['a'], ['b'], 'base']);
  });

  it('is not reached before what was read last is applied', async () => {
    for (let chunks = 1; chunks < 40; chunks += 1) {
      const { log, shadow, follower, run } = start({ frozen: true });
      void run();
      const ends = new Map([[`${TABLE}/0`, BigInt(chunks)]]);
      const reached = follower.runToBarrier(await plan(log, () => true, ends));
      for (let n = 0; n < chunks; n += 1) {
        log.append(TABLE, 0, insert(`r${n}`));
        for (let turn = 0; turn < n % 8; turn += 1) await Promise.resolve();
      }
      expect(await reached).toMatchObject({ missing: 0 });
      expect(written(shadow).at(-1)).toBe('base');
      expect(written(shadow).flat()).toHaveLength(chunks + 1);
    }
  });

  it('counts what the snapshot saw and the log does not have whole', async () => {
    const { log, follower, run } = start({ frozen: true });
    log.append(TABLE, 0, insert('a', '1'), insert('b', '1', 2));
    void run();
    const outcome = await follower.runToBarrier(await plan(log, () => true));
    expect(outcome).toMatchObject({ deferredTransactions: 0, missing: 2 });
  });

  it('is not reached by a follower that stops', async () => {
    const { log, shadow, follower, run } = start({ frozen: true });
    log.append(TABLE, 0, insert('a'), insert('B'));
    const done = run();
    const ends = new Map([[`${TABLE}/0`, 9n]]);
    const reached = follower.runToBarrier(await plan(log, (c) => idOf(c) === 'a', ends));
    const failure = reached.catch((error: unknown) => error);
    await until('a is applied', () => shadow.acts.length === 1);
    follower.stop();
    await done;
    expect(await failure).toMatchObject({ code: 'PIN_FAILED' });
    // B is read again by the next follower; a too, which changes nothing, if they came together.
    expect([{}, { [`${TABLE}/0`]: 1n }]).toContainEqual(offsets(shadow));
  });

  it('is not reached by a log that ends before', async () => {
    const { log, follower, run } = start({ frozen: true });
    log.append(TABLE, 0, insert('a'));
    log.end();
    void run();
    const ends = new Map([[`${TABLE}/0`, 9n]]);
    await expect(follower.runToBarrier(await plan(log, () => true, ends))).rejects.toMatchObject({
      code: 'PIN_FAILED',
      message: 'following ended before the barrier',
    });
  });

  it('stands alone', async () => {
    const { log, follower, run } = start({ frozen: true });
    void run();
    const ends = new Map([[`${TABLE}/0`, 9n]]);
    const first = follower.runToBarrier(await plan(log, () => true, ends));
    first.catch(() => undefined);
    expect(() => follower.runToBarrier({ visible: () => true, ends, starts: ends })).toThrow(
      'already armed',
    );
  });
});

describe('a shadow that cannot be written to', () => {
  const blocked = (): Error => new UnderstudyError('APPLY_BLOCKED', 'a lock of the candidate');

  it('is tried again with the same batch until it lets it in', async () => {
    const { log, shadow, follower, run } = start();
    shadow.failures.push(blocked(), new UnderstudyError('SHADOW_UNREACHABLE', 'restarting'));
    log.append(TABLE, 0, insert('a'));
    const done = run();
    await until('it tries again', () => follower.state.kind === 'retrying');
    log.append(TABLE, 0, insert('b'));
    log.end();
    await done;
    expect(written(shadow)).toEqual([['a'], ['b']]);
    expect(follower.totals.events).toBe(2);
  });

  it('is given up after a while, and no position was passed', async () => {
    const { log, shadow, run } = start({ giveUpAfterMs: 80 });
    shadow.failures.push(...Array.from({ length: 50 }, blocked));
    log.append(TABLE, 0, insert('a'));
    await expect(run()).rejects.toMatchObject({ code: 'APPLY_BLOCKED' });
    expect(shadow.begun).toBeGreaterThan(1);
    expect(offsets(shadow)).toEqual({});
  });

  it('is given up at once for what trying again cannot help', async () => {
    const { log, shadow, run } = start();
    shadow.failures.push(new UnderstudyError('FENCED', 'another holder'));
    log.append(TABLE, 0, insert('a'));
    await expect(run()).rejects.toMatchObject({ code: 'FENCED' });
    expect(shadow.begun).toBe(1);
  });

  it('does not hold up a stop', async () => {
    const { log, shadow, follower, run } = start();
    shadow.failures.push(...Array.from({ length: 50 }, blocked));
    log.append(TABLE, 0, insert('a'));
    const done = run();
    await until('it tries again', () => follower.state.kind === 'retrying');
    const started = performance.now();
    follower.stop();
    await done.catch(() => undefined);
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});

describe('a log that cannot be read on', () => {
  it('ends it with the log’s own error, after what came was applied', async () => {
    const { log, shadow, run } = start();
    log.append(TABLE, 0, insert('a'));
    log.fail(new UnderstudyError('LOG_GAP', 'records are gone'));
    await expect(run()).rejects.toMatchObject({ code: 'LOG_GAP' });
    expect(written(shadow)).toEqual([['a']]);
  });

  it('wakes those who wait', async () => {
    const { log, follower, run } = start();
    const waiting = follower.until(() => false);
    log.fail(new UnderstudyError('KAFKA_UNREACHABLE', 'no broker'));
    await expect(run()).rejects.toMatchObject({ code: 'KAFKA_UNREACHABLE' });
    await waiting;
  });
});
