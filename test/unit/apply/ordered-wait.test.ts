/**
 * Changes that wait for nothing but the log's ends, which tell their place between the partitions:
 * they go when the ends are known, not at the follower's next look around.
 */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Follower } from '../../../src/apply/follower.ts';
import { START, type OffsetMap, type SourcePosition } from '../../../src/change/position.ts';
import { connectorNamed } from '../../../src/decode/connectors/connectors.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { TransactionAssembler } from '../../../src/order/assembler.ts';
import { BatchBuilder } from '../../../src/order/batch-builder.ts';
import { changeEvent, image, textTable } from '../../support/change-events.ts';
import { MemoryLog, MemoryShadow, type Entry } from '../../support/memory-log.ts';

const TABLE = 'p.public.t';
const CATALOGUE = new Map([['public.t', textTable('t', ['id', 'v'])]]);
const { compare } = connectorNamed('postgresql');

function insert(id: string, lsn: number): Entry {
  return (at) =>
    changeEvent({
      ...{ op: 'create', topic: at.topic, partition: at.partition, offset: Number(at.offset) },
      ...{ key: image({ id }), after: image({ id, v: 'x' }), lsn: BigInt(lsn) },
    });
}

/** A log that answers when it is told to. */
class SlowLog extends MemoryLog {
  readonly #asked: (() => void)[] = [];

  get asked(): number {
    return this.#asked.length;
  }

  answer(): void {
    for (const answer of this.#asked.splice(0)) answer();
  }

  async endsLater(): Promise<OffsetMap> {
    // As the log is when it is asked.
    const ends = await this.ends();
    await new Promise<void>((resolve) => {
      this.#asked.push(resolve);
    });
    return ends;
  }
}

let log: SlowLog;
let shadow: MemoryShadow;
let follower: Follower;
let done: Promise<void>;

// No timer fires unless it is told to: what goes on was woken.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  log = new SlowLog();
  shadow = new MemoryShadow();
  follower = new Follower(
    {
      database: shadow,
      fence: { generation: 1n, holder: 'test' },
      source: log,
      decode: (record) => log.decode(record),
      mask: (event) => event,
      assembler: new TransactionAssembler({
        mode: 'key',
        isSubscribed: () => true,
        sourceOrder: {
          isBefore: (a: SourcePosition, b: SourcePosition) => compare(a, b) === 'before',
          ends: () => log.endsLater(),
          from: new Map(),
          transactionsToo: false,
        },
      }),
      builder: (position) => new BatchBuilder({ catalogue: CATALOGUE, position }),
      limits: { batchEvents: 100, batchBytes: 1e9, budgetBytes: 1e9, giveUpAfterMs: 60_000 },
      logger: silentLogger,
    },
    START,
  );
  // A partition that nothing was sent to: it may bring something earlier, for all that is known.
  log.append(TABLE, 1);
});

afterEach(async () => {
  follower.stop();
  log.answer();
  vi.useRealTimers();
  await done;
});

function run(): void {
  done = follower.run();
}

/** All that goes on without the clock has gone on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

const written = (): readonly string[] =>
  shadow.acts.flatMap((act) =>
    act.kind === 'base'
      ? []
      : act.batch.steps.flatMap((step) =>
          step.kind === 'rows' ? step.changes.map((change) => String(change.key[0])) : [],
        ),
  );

it('go at once when the ends are known', async () => {
  log.append(TABLE, 0, insert('a', 1));
  run();
  await settle();
  expect(written()).toEqual([]);
  expect(log.asked).toBe(1);
  log.answer();
  await settle();
  expect(written()).toEqual(['a']);
});

it('that came after the ends were asked for are asked for again, 30 ms after the first', async () => {
  log.append(TABLE, 0, insert('a', 1));
  run();
  await settle();
  log.append(TABLE, 0, insert('b', 2));
  await settle();
  log.answer();
  await settle();
  expect(written()).toEqual(['a']);
  expect(log.asked).toBe(0);
  vi.advanceTimersByTime(30);
  await settle();
  expect(log.asked).toBe(1);
  log.answer();
  await settle();
  expect(written()).toEqual(['a', 'b']);
});

it('are not left out by who waits until all before now is applied', async () => {
  log.append(TABLE, 0, insert('a', 1));
  run();
  await settle();
  const [ends, starts] = [await log.ends(), await log.starts()];
  expect(follower.consumed.get(`${TABLE}/0`)).toBe(1n);
  expect(follower.caughtUp(ends, starts)).toBe(false);
  log.answer();
  await settle();
  expect(follower.caughtUp(ends, starts)).toBe(true);
});

it('go before a barrier that was read to', async () => {
  log.append(TABLE, 0, insert('a', 1));
  run();
  const [ends, starts] = [await log.ends(), await log.starts()];
  const reached = follower.runToBarrier({ visible: () => true, ends, starts });
  await settle();
  expect(shadow.acts.filter((act) => act.kind === 'base')).toEqual([]);
  expect(written()).toEqual([]);
  log.answer();
  await reached;
  expect(written()).toEqual(['a']);
  expect(shadow.acts.at(-1)?.kind).toBe('base');
});

it('go before the follower of a log that ended does', async () => {
  log.append(TABLE, 0, insert('a', 1));
  log.end();
  run();
  await settle();
  log.answer();
  await settle();
  expect(written()).toEqual(['a']);
  expect(follower.state.kind).toBe('stopped');
});
