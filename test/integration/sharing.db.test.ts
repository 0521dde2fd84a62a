/**
 * A database that several processes follow at once. The promise: whoever believes what of the shares,
 * every record of the log is written once, and the database is what one process would have made of it.
 */
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { partitionKey, START } from '../../src/change/position.ts';
import type { RowChange } from '../../src/change/record.ts';
import type { Fence, HolderNote } from '../../src/dialect/dialect.ts';
import { shareFence, type SharedShadow } from '../../src/dialect/sharing.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import { BatchBuilder } from '../../src/order/batch-builder.ts';
import type { ChangeBatch, NetChange } from '../../src/order/change-batch.ts';
import { changeEvent, image } from '../support/change-events.ts';
import { gone, put } from './mysql.fixture.ts';
import { ENGINES, sharedTrunk, type SharedTrunk } from './sharing.fixture.ts';

const LEASE_MS = 150;
/** A server that is asked more often gives the same answer again. */
const RARELY = { interval: 250 };
const NOTE: HolderNote = { state: 'following', oldestTransactionMs: null, degraded: 0 };
const TOPIC = 'prod.public.item';
const key = (partition: number): string => partitionKey(TOPIC, partition);

async function opened(trunk: SharedTrunk, leaseMs?: number): Promise<SharedShadow> {
  const database = await trunk.open(leaseMs);
  onTestFinished(() => database[Symbol.asyncDispose]());
  return database;
}

async function taken(database: SharedShadow, holder: string): Promise<Fence> {
  const fence = await database.takeFence(holder);
  if (fence === null) throw new Error(`${holder} could not take the fence`);
  return fence;
}

async function given(database: SharedShadow, member: bigint): Promise<Fence> {
  const grants = await database.sharing.visit(member, NOTE);
  if (grants === null) throw new Error('it is no member');
  return shareFence({ number: member, name: 'm' }, grants);
}

/** That a partition is read to an offset, by who does not say where it began. */
function moved(offsets: Readonly<Record<number, number>>): ChangeBatch {
  const next = Object.entries(offsets).map(([n, at]) => [key(Number(n)), BigInt(at)] as const);
  const nothing = { steps: [], txIds: [], unmarked: 0, events: 0, transactions: 0, bytes: 0 };
  return { ...nothing, position: { ...START, offsets: new Map(next) } };
}

/** The same, and changes of a table. */
function write(
  partition: number,
  at: number,
  name: string,
  ...changes: readonly NetChange[]
): ChangeBatch {
  const table = { schema: 'public', name };
  return { ...moved({ [partition]: at }), steps: [{ kind: 'rows', table, changes }] };
}

const item = (id: string): NetChange => put(['id'], { id, name: 'there' });

/** For what the test itself has put there. */
function there<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error('it is not there');
  return value;
}

async function* batches(...all: readonly ChangeBatch[]): AsyncGenerator<ChangeBatch> {
  yield* all;
}

const FENCED = { code: 'FENCED' };

// ---- any interleaving ------------------------------------------------------------------------

const PARTITIONS = 4;
const RECORDS = 24;
const ACTORS = 3;

/** What stands at a place of the log: a row that comes, changes or goes. */
function eventAt(partition: number, offset: number): RowChange {
  const id = String(partition + PARTITIONS * (offset % 3));
  const gone = offset % 7 === 6;
  return changeEvent({
    ...{ table: 'item', topic: TOPIC, partition, offset, lsn: BigInt(offset * 10) },
    op: gone ? 'delete' : 'update',
    key: image({ id }),
    after: gone ? null : image({ id, name: `${String(partition)}@${String(offset)}` }),
  });
}

/** What one process makes of the log up to these offsets. */
function rowsAt(offsets: ReadonlyMap<string, bigint>): Map<bigint, string> {
  const rows = new Map<bigint, string>();
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    for (let offset = 0n; offset < (offsets.get(key(partition)) ?? 0n); offset += 1n) {
      const { after, key: of } = eventAt(partition, Number(offset));
      const id = BigInt(of?.values[0] as string);
      if (after === null) rows.delete(id);
      else rows.set(id, after.values[1] as string);
    }
  }
  return rows;
}

/** A process: what it believes it may write, and where it believes partitions stand. */
class Actor {
  readonly #trunk: SharedTrunk;
  #database: SharedShadow | null = null;
  /** Records that it wrote, or that had been written as it would have. */
  written = 0;
  member: bigint | null = null;
  fence: Fence | null = null;
  /** Beside a share: it holds the database. */
  held: Fence | null = null;
  #at = new Map<string, bigint>();

  constructor(trunk: SharedTrunk) {
    this.#trunk = trunk;
  }

  async open(): Promise<void> {
    this.#database = await this.#trunk.open();
  }

  get database(): SharedShadow {
    return there(this.#database);
  }

  /** Dies, and another one comes in its place. */
  async die(): Promise<void> {
    await this.database[Symbol.asyncDispose]();
    await this.open();
    [this.member, this.fence, this.held] = [null, null, null];
  }

  /** Learns what it may write, and where that stands. */
  async look(): Promise<void> {
    if (this.held !== null) this.fence = this.held;
    else {
      this.member ??= await this.database.sharing.join('m');
      const grants = await this.database.sharing.visit(this.member, NOTE);
      if (grants === null) this.member = null;
      else this.fence = shareFence({ number: this.member, name: 'm' }, grants);
    }
    this.#at = new Map((await this.database.resumePoint()).position.offsets);
  }

  async take(): Promise<void> {
    this.held = (await this.database.takeFence('h')) ?? this.held;
  }

  /** As the holder, gives partitions to members: the nth to whom the nth number says. */
  async assign(to: readonly number[], members: readonly (bigint | null)[]): Promise<void> {
    if (this.held === null) return;
    const wanted = new Map<string, bigint>();
    to.forEach((who, partition) => {
      const member = members[who] ?? null;
      if (member !== null) wanted.set(key(partition), member);
    });
    await this.database.sharing.assign(this.held, wanted);
  }

  /** Writes some records of some partitions, from where it believes that they stand. */
  async write(partitions: readonly number[], records: number): Promise<void> {
    const { fence } = this;
    if (fence === null) return;
    const own = partitions.filter((n) => fence.share?.partitions.has(key(n)) ?? true);
    const from = new Map([...this.#at].filter(([k]) => own.some((n) => key(n) === k)));
    const catalogue = await this.database.catalogue();
    const position = { ...START, offsets: from };
    const builder = new BatchBuilder({ catalogue, position });
    for (const partition of own) {
      const first = Number(from.get(key(partition)) ?? 0n);
      const last = Math.min(first + records, RECORDS);
      const changes = Array.from({ length: last - first }, (_, n) => eventAt(partition, first + n));
      const offsets = new Map([[key(partition), BigInt(last)]]);
      builder.add({ changes, offsets, transactionId: null, complete: true, bytes: 0 });
    }
    const batch = builder.build();
    await this.database.apply(fence, { ...batch, after: { offsets: from, ahead: null } });
    this.written += batch.events;
    for (const [k, next] of batch.position.offsets) this.#at.set(k, next);
  }
}

const COMMANDS = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('write' as const), n: fc.nat(5) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('look' as const), n: fc.nat(0) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('assign' as const), n: fc.nat(63) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('take' as const), n: fc.nat(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('die' as const), n: fc.nat(0) }) },
);

describe.each(ENGINES)('partitions of a trunk on %s', (engine) => {
  test('who lost a partition moves it no more, not even when it was given it again', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, b] = [await opened(trunk), await opened(trunk)];
    const fence = await taken(a, 'a');
    const member = await b.sharing.join('b');
    await a.sharing.assign(fence, new Map([[key(0), member]]));
    const first = await given(b, member);
    await b.apply(first, moved({ 0: 1 }));
    await expect(b.apply(first, moved({ 1: 1 }))).rejects.toMatchObject(FENCED);
    await a.sharing.assign(fence, new Map());
    await expect(b.apply(first, moved({ 0: 2 }))).rejects.toMatchObject(FENCED);
    await a.apply(fence, moved({ 0: 2 }));
    await a.sharing.assign(fence, new Map([[key(0), member]]));
    await expect(b.apply(first, moved({ 0: 3 }))).rejects.toMatchObject(FENCED);
    await b.apply(await given(b, member), moved({ 0: 3 }));
    expect((await a.progress()).position.offsets).toEqual(new Map([[key(0), 3n]]));
  });

  test('who takes a partition back waits for what is being written', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, b] = [await opened(trunk), await opened(trunk)];
    const fence = await taken(a, 'a');
    const member = await b.sharing.join('b');
    await a.sharing.assign(fence, new Map([[key(0), member]]));
    const act = await trunk.act(await given(b, member));
    const taking = a.sharing.assign(fence, new Map());
    await expect.poll(() => trunk.waiting(), RARELY).toBe(1);
    await act.commit();
    expect(await taking).toEqual(new Map());
  });

  test('nothing is given away while an act of the holder runs, of whose end it was not told', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, b] = [await opened(trunk), await opened(trunk)];
    const fence = await taken(a, 'a');
    const member = await b.sharing.join('b');
    const act = await trunk.act(fence);
    const wanted = new Map([[key(0), member]]);
    const giving = a.sharing.assign(fence, wanted);
    await expect.poll(() => trunk.waiting(), RARELY).toBe(1);
    expect(await b.sharing.visit(member, NOTE)).toEqual(new Map());
    await act.commit();
    expect(await giving).toEqual(wanted);
  });

  test('who moves some partitions does not wait for who moves others', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, b] = [await opened(trunk), await opened(trunk)];
    const fence = await taken(a, 'a');
    const member = await b.sharing.join('b');
    const all = Object.fromEntries([0, 1, 2, 3].map((n) => [n, 1]));
    await a.apply(fence, moved(all));
    await a.sharing.assign(fence, new Map([0, 2, 9].map((n) => [key(n), member])));
    const act = await trunk.act(await given(b, member));
    await act.move(moved({ 0: 2, 2: 2, 9: 2 }));
    await act.run(`INSERT INTO item VALUES (1, 'of the member')`);
    await a.apply(fence, moved({ 1: 2, 3: 2, 8: 1 }));
    await act.commit();
    const { position } = await a.progress();
    expect(position.offsets).toEqual(
      new Map(
        [
          [0, 2n],
          [1, 2n],
          [2, 2n],
          [3, 2n],
          [8, 1n],
          [9, 2n],
        ].map(([n, at]) => [key(Number(n)), at]),
      ),
    );
  });

  test('rows of parents and children are written by two, in any order, and nothing cascades', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, b] = [await opened(trunk), await opened(trunk)];
    const fence = await taken(a, 'a');
    const member = await b.sharing.join('b');
    await a.sharing.assign(fence, new Map([[key(0), member]]));
    const share = await given(b, member);
    const part = (id: string, item: string) => put(['id'], { id, item });
    await b.apply(share, write(0, 1, 'part', part('1', '1'), part('2', '2')));
    await a.apply(fence, write(1, 1, 'item', item('1'), item('2')));
    const act = await trunk.act(fence);
    await act.run('DELETE FROM item WHERE id = 2');
    await b.apply(share, write(0, 2, 'part', part('3', '2'), part('4', '5')));
    await act.commit();
    await a.apply(fence, write(1, 2, 'item', gone('1')));
    const parts = ['1 1', '2 2', '3 2', '4 5'].map((text) => text.split(' '));
    expect(await trunk.rows('part')).toEqual(
      new Map(parts.map(([id, of]) => [BigInt(id ?? ''), of])),
    );
    expect((await trunk.rows()).size).toBe(0);
  });

  test('who meets a row that another has locked for long writes its batch again', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, b] = [await opened(trunk), await opened(trunk)];
    const fence = await taken(a, 'a');
    const member = await b.sharing.join('b');
    await a.apply(fence, write(1, 1, 'item', item('7')));
    await a.sharing.assign(fence, new Map([[key(0), member]]));
    const act = await trunk.act(fence);
    await act.run(`UPDATE item SET name = 'elsewhere' WHERE id = 7`);
    const writing = b.apply(await given(b, member), write(0, 1, 'item', item('7')));
    await expect.poll(() => trunk.waiting(), RARELY).toBe(1);
    // Longer than a statement waits.
    await act.run(trunk.pause);
    await act.commit();
    await writing;
    expect(await trunk.rows()).toEqual(new Map([[7n, 'there']]));
  });

  test('of a batch of which another wrote a part nothing is written', async () => {
    const trunk = await sharedTrunk(engine);
    const a = await opened(trunk);
    const fence = await taken(a, 'a');
    const after = { offsets: new Map(), ahead: null };
    await a.apply(fence, { ...moved({ 0: 2 }), after });
    const stale = { ...moved({ 0: 2, 1: 2 }), after };
    await expect(a.apply(fence, stale)).rejects.toMatchObject({ code: 'SHADOW_REWOUND' });
    expect((await a.progress()).position.offsets).toEqual(new Map([[key(0), 2n]]));
  });

  test('what is given away the holder leaves alone, and while anything is it does nothing else', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, b] = [await opened(trunk), await opened(trunk)];
    const fence = await taken(a, 'a');
    const member = await b.sharing.join('b');
    await a.sharing.assign(fence, new Map([[key(0), member]]));
    await a.apply(fence, moved({ 1: 1 }));
    await expect(a.apply(fence, moved({ 0: 1 }))).rejects.toMatchObject(FENCED);
    const alone = { code: 'INTERNAL', message: expect.stringContaining('are shared') as string };
    const acts: ((database: SharedShadow, by: Fence) => Promise<unknown>)[] = [
      (database, by) => database.deadLetters.discard(by, ['x']),
      (database, by) => database.topics.keep(by, new Map([['x', 'y']])),
      (database, by) => database.applyTogether(by, batches(moved({ 5: 1 }))),
      ...(engine === 'postgres'
        ? [
            (database: SharedShadow, by: Fence) => database.resetOverlay(by, {}),
            (database: SharedShadow, by: Fence) => database.proveVisible(by, [1]),
          ]
        : []),
    ];
    const share = await given(b, member);
    for (const act of acts) {
      await expect(act(a, fence)).rejects.toMatchObject(alone);
      await expect(act(b, share)).rejects.toMatchObject(alone);
    }
    await b.sharing.leave(member);
    // Nothing is given any more, though the holder has not looked.
    await a.topics.keep(fence, new Map([['x', 'y']]));
    await expect(b.apply(share, moved({ 0: 1 }))).rejects.toMatchObject(FENCED);
  });

  test('whoever takes the fence begins alone; a member helps the next holder too', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, b, c] = [await opened(trunk), await opened(trunk), await opened(trunk)];
    const fence = await taken(a, 'a');
    const member = await b.sharing.join('b');
    await a.sharing.assign(fence, new Map([[key(0), member]]));
    const share = await given(b, member);
    await a.releaseFence(fence);
    // Nobody holds it: what was given goes on.
    await b.apply(share, moved({ 0: 1 }));
    const next = await taken(c, 'c');
    await expect(b.apply(share, moved({ 0: 2 }))).rejects.toMatchObject(FENCED);
    await expect(a.sharing.assign(fence, new Map())).rejects.toMatchObject(FENCED);
    await c.apply(next, moved({ 0: 2 }));
    await c.sharing.assign(next, new Map([[key(0), member]]));
    await b.apply(await given(b, member), moved({ 0: 3 }));
  });

  test('a member that is gone loses all, and is told when it comes back', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, dead] = [await opened(trunk), await opened(trunk)];
    const fence = await taken(a, 'a');
    const member = await dead.sharing.join('dead');
    await a.sharing.assign(fence, new Map([[key(0), member]]));
    await dead[Symbol.asyncDispose](); // as kill -9 does it: sessions end, nothing is given back
    await expect.poll(async () => (await a.sharing.members())[0]?.gone).toBe(true);
    expect(await a.sharing.assign(fence, new Map([[key(0), member]]))).toEqual(new Map());
    expect(await (await opened(trunk)).sharing.visit(member, NOTE)).toBeNull();
  });

  test('a stopped member with an open transaction is ended, and woken commits nothing', async () => {
    const trunk = await sharedTrunk(engine);
    const [a, b] = [await opened(trunk, LEASE_MS), await opened(trunk, LEASE_MS)];
    const fence = await taken(a, 'a');
    const member = await b.sharing.join('b');
    await a.sharing.assign(fence, new Map([[key(0), member]]));
    const share = await given(b, member);
    const act = await trunk.act(share, { shown: true });
    await act.run(`INSERT INTO item VALUES (1, 'of the stopped')`);
    await expect.poll(async () => (await a.sharing.members())[0]?.gone).toBe(true);
    expect(await a.sharing.assign(fence, new Map())).toEqual(new Map());
    await expect(act.commit()).rejects.toBeInstanceOf(Error);
    expect((await trunk.rows()).size).toBe(0);
  });

  test('in any interleaving every record is written once, and the rows are those of one process', async () => {
    const trunk = await sharedTrunk(engine);
    const all = Array.from({ length: PARTITIONS }, (_, n) => n);
    let refused = 0;
    let byMembers = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(ACTORS - 1), COMMANDS, fc.boolean()), {
          ...{ minLength: 30, maxLength: 60 },
        }),
        async (script) => {
          for (const sql of [
            `DELETE FROM ${trunk.item}`,
            ...['position', 'share', 'member'].map((name) => `DELETE FROM ${trunk.ours}${name}`),
            `UPDATE ${trunk.ours}fence SET holder = NULL`,
            `UPDATE ${trunk.ours}progress SET unmarked = 0`,
          ]) {
            await trunk.run(sql);
          }
          const actors = Array.from({ length: ACTORS }, () => new Actor(trunk));
          for (const actor of actors) await actor.open();
          await actors[0]?.take();
          for (const actor of actors) await actor.look();
          const run = async (who: number, { do: what, n }: { do: string; n: number }) => {
            const actor = there(actors[who]);
            const before = actor.written;
            const to = [n % 4, (n >> 2) % 4, (n >> 4) % 4, n % 3];
            const members = actors.map(({ member }) => member);
            switch (what) {
              case 'write':
                await actor.write(all, n + 1);
                if (actor.fence?.share !== undefined) byMembers += actor.written - before;
                break;
              case 'look':
                await actor.look();
                break;
              case 'assign':
                await actor.assign(to, members);
                break;
              case 'take':
                await actor.take();
                break;
              default:
                await actor.die();
            }
          };
          // Several at once, but each process one after the other.
          let together: Promise<void>[] = [];
          const busy = new Set<number>();
          for (const [who, command, alone] of script) {
            if (alone || busy.has(who)) {
              await Promise.all(together);
              together = [];
              busy.clear();
            }
            busy.add(who);
            together.push(
              run(who, command).catch((error: unknown) => {
                // What it believed was not so: it learns that when it looks.
                if (!isUnderstudyError(error, 'FENCED', 'SHADOW_REWOUND', 'APPLY_BLOCKED')) {
                  throw error;
                }
                refused += 1;
              }),
            );
          }
          await Promise.all(together);
          const { position, unmarked } = await there(actors[0]).database.progress();
          expect(await trunk.rows()).toEqual(rowsAt(position.offsets));
          // Counted in the transactions that wrote them.
          expect(unmarked).toBe([...position.offsets.values()].reduce((a, b) => a + Number(b), 0));
          for (const actor of actors) await actor.database[Symbol.asyncDispose]();
        },
      ),
      { numRuns: 20, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: true },
    );
    // It must have been about something; how much is chance.
    expect(refused).toBeGreaterThan(5);
    expect(byMembers).toBeGreaterThan(5);
  });
});
