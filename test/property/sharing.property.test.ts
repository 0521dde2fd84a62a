/**
 * Several processes that follow some partitions each, in memory: what each releases, in any interleaving,
 * is what one process would have made of the log. Keys change between partitions, with a column that
 * the events do not repeat, and tables are emptied.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { partitionKey, type OffsetMap } from '../../src/change/position.ts';
import type { RowChange } from '../../src/change/record.ts';
import { UNAVAILABLE, type RowImage } from '../../src/change/value.ts';
import { TransactionAssembler } from '../../src/order/assembler.ts';
import { coalesce } from '../../src/order/coalesce.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { keyText } from '../../src/order/key-text.ts';
import { changeEvent, image, textTable } from '../support/change-events.ts';

const TOPIC = 'p.public.t';
const PARTITIONS = 3;
const KEYS = 5;
const CATALOGUE = new Map([['public.t', textTable('t', ['id', 'n', 'kept'])]]);
const all = Array.from({ length: PARTITIONS }, (_, n) => n);
const key = (partition: number): string => partitionKey(TOPIC, partition);

/** For what the test itself has put there. */
function there<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error('it is not there');
  return value;
}

interface Row {
  readonly n: string;
  readonly kept: string;
}
type Table = Map<string, Row>;

type Write =
  | { readonly do: 'put'; readonly key: number }
  | { readonly do: 'remove'; readonly key: number }
  | { readonly do: 'move'; readonly key: number; readonly to: number }
  | { readonly do: 'empty'; readonly in: number };

/** What production did, and what of it is in the log: one place of its own log for each write. */
class Production {
  readonly table: Table = new Map();
  readonly log: RowChange[][] = all.map(() => []);
  #lsn = 0;

  write(write: Write): void {
    this.#lsn += 1;
    const n = String(this.#lsn);
    switch (write.do) {
      case 'put': {
        const id = String(write.key);
        const old = this.table.get(id);
        const kept = old?.kept ?? `kept ${n}`;
        const after = image({ id, n, kept: old === undefined ? kept : UNAVAILABLE });
        this.table.set(id, { n, kept });
        const op = old === undefined ? 'create' : 'update';
        this.#send(write.key % PARTITIONS, { op, key: image({ id }), after });
        return;
      }
      case 'remove': {
        const id = String(write.key);
        if (!this.table.delete(id)) return;
        this.#send(write.key % PARTITIONS, { op: 'delete', key: image({ id }) });
        return;
      }
      case 'move': {
        const [id, to] = [String(write.key), String(write.to)];
        const old = this.table.get(id);
        if (old === undefined || this.table.has(to)) return;
        this.table.delete(id);
        this.table.set(to, { n, kept: old.kept });
        const [oldKey, newKey] = [image({ id }), image({ id: to })];
        this.#send(write.key % PARTITIONS, { op: 'delete', key: oldKey, newKey });
        const after = image({ id: to, n, kept: UNAVAILABLE });
        this.#send(write.to % PARTITIONS, { op: 'create', key: newKey, oldKey, after });
        return;
      }
      default:
        this.table.clear();
        this.#send(write.in, { op: 'truncate' });
    }
  }

  #send(
    partition: number,
    event: Pick<RowChange, 'op'> & Partial<Pick<RowChange, 'key' | 'after' | 'oldKey' | 'newKey'>>,
  ): void {
    const events = there(this.log[partition]);
    const place = { topic: TOPIC, partition, offset: events.length, lsn: BigInt(this.#lsn) };
    events.push(changeEvent({ ...event, ...place }));
  }

  /** Where the partitions end once so much is in the log. */
  ends(lsn: number): OffsetMap {
    const upto = (events: readonly RowChange[]): bigint =>
      BigInt(events.filter(({ source }) => lsnOf(source) <= lsn).length);
    return new Map(all.map((n) => [key(n), upto(this.log[n] ?? [])]));
  }

  get lsn(): number {
    return this.#lsn;
  }
}

function lsnOf(source: RowChange['source']): number {
  return source.connector === 'postgresql' ? Number(source.lsn) : 0;
}

/** The shadow: rows and positions, written together. */
class Shadow {
  readonly table: Table = new Map();
  readonly at = new Map<string, bigint>();

  write(steps: readonly BatchStep[], offsets: OffsetMap): void {
    for (const step of steps) {
      if (step.kind === 'truncate') this.table.clear();
      if (step.kind !== 'rows') continue;
      const before = new Map(this.table);
      for (const change of step.changes) this.table.delete(keyText(change.key));
      for (const change of step.changes) {
        if (change.kind === 'delete') continue;
        const from = before.get(keyText(change.from));
        const value = (column: 'n' | 'kept'): string => {
          const found = valueIn(change.image, column);
          if (typeof found === 'string') return found;
          return there(from?.[column]);
        };
        this.table.set(keyText(change.key), { n: value('n'), kept: value('kept') });
      }
    }
    for (const [partition, next] of offsets) this.at.set(partition, next);
  }
}

function valueIn({ shape, values }: RowImage, column: string): unknown {
  return values[shape.index.get(column) ?? -1];
}

/** The world in which processes run: the log so far, and a clock. */
interface World {
  readonly production: Production;
  readonly shadow: Shadow;
  visible: number;
  nowMs: number;
}

class Process {
  readonly #world: World;
  readonly #own: ReadonlySet<number>;
  readonly #read: Map<string, bigint>;
  readonly assembler: TransactionAssembler;

  constructor(world: World, own: readonly number[]) {
    this.#world = world;
    this.#own = new Set(own);
    this.#read = new Map(world.shadow.at);
    this.assembler = new TransactionAssembler({
      ...{ mode: 'key', isSubscribed: () => true, now: () => world.nowMs },
      ...{ pairs: true, isShared: own.length < PARTITIONS },
      sourceOrder: {
        isBefore: (a, b) => lsnOf(a) < lsnOf(b),
        ends: () => Promise.resolve(world.production.ends(world.visible)),
        from: new Map(world.shadow.at),
        transactionsToo: false,
      },
    });
  }

  /** Reads a few records of a partition: its own, or one that it watches (runtime/watch-others.ts). */
  read(partition: number, count: number): void {
    const { production, visible } = this.#world;
    const from = this.#read.get(key(partition)) ?? 0n;
    const end = production.ends(visible).get(key(partition)) ?? 0n;
    const next = from + BigInt(count) < end ? from + BigInt(count) : end;
    const events = (production.log[partition] ?? []).slice(Number(from), Number(next));
    if (this.#own.has(partition)) {
      for (const event of events) this.assembler.push(event);
      this.assembler.advance(TOPIC, partition, next);
    } else {
      const last = events.findLast(({ op }) => op !== 'truncate');
      const told = events.filter((event) => event.op === 'truncate' || event === last);
      this.assembler.watched(key(partition), told, next);
    }
    this.#read.set(key(partition), next);
  }

  /** Writes what can go. */
  write(): void {
    const release = this.assembler.take();
    if (release === undefined) return;
    if (!release.complete) throw new Error('it went for having waited too long');
    this.#world.shadow.write(coalesce(release.changes, CATALOGUE), release.offsets);
  }

  get isStuck(): boolean {
    return this.assembler.stuck !== null;
  }
}

const keys = fc.nat(KEYS - 1);
const writes = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), key: keys }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), key: keys }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('move' as const), key: keys, to: keys }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('empty' as const), in: fc.nat(PARTITIONS - 1) }),
    },
  ),
  { minLength: 5, maxLength: 40 },
);
/** Who has which partition, each time that they are shared out. */
const splits = fc.array(fc.tuple(...all.map(() => fc.nat(1))), { minLength: 1, maxLength: 8 });

test('what processes that share the partitions write is what one would have written', async () => {
  let gathered = 0;
  await fc.assert(
    fc.asyncProperty(
      writes,
      splits,
      fc.infiniteStream(fc.nat(1_000)),
      async (script, of, chance) => {
        const production = new Production();
        for (const write of script) production.write(write);
        const world: World = { production, shadow: new Shadow(), visible: 0, nowMs: 0 };
        const pick = (n: number): number => (chance.next().value as number) % n;
        let shares = 0;
        const share = (): Process[] => {
          const owners = of[shares % of.length] ?? [];
          shares += 1;
          return [0, 1]
            .map((who) => all.filter((n) => owners[n] === who))
            .filter((own) => own.length > 0)
            .map((own) => new Process(world, own));
        };
        let processes = share();
        let alone = 0;
        const end = production.ends(production.lsn);
        const isDone = (): boolean =>
          [...end].every(([partition, next]) => (world.shadow.at.get(partition) ?? 0n) >= next);
        for (let step = 0; !isDone(); step += 1) {
          if (step > 20_000) throw new Error('it does not end');
          world.nowMs += 12;
          if (pick(4) === 0 && world.visible < production.lsn) world.visible += 1;
          const process = there(processes[pick(processes.length)]);
          if (pick(2) === 0) process.read(pick(PARTITIONS), 1 + pick(3));
          else process.write();
          await Promise.resolve();
          await Promise.resolve();
          if (processes.some(({ isStuck }) => isStuck)) {
            // One has all of it, for a while.
            gathered += 1;
            processes = [new Process(world, all)];
            alone = 60 + pick(60);
          } else if (alone > 0) {
            alone -= 1;
            if (alone === 0) processes = share();
          } else if (pick(80) === 0) processes = share();
        }
        expect(world.shadow.table).toEqual(production.table);
      },
    ),
    { numRuns: 2_000 },
  );
  expect(gathered).toBeGreaterThan(1_000);
});
