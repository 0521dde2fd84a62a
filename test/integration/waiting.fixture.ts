/** Production beside an idle candidate, with a model of it. */
import { deepStrictEqual } from 'node:assert/strict';
import { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { RowShape } from '../../src/change/value.ts';
import { waitingOf } from '../../src/dialect/waiting.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import { batchOf, openTrunk } from './mysql.fixture.ts';
import type { AnyRollout } from './rollout.fixture.ts';

export const TABLE = 'CREATE TABLE thing (id int PRIMARY KEY, n int, name varchar(40))';
const FULL = new RowShape(['id', 'n', 'name']);
export const PATCH = new RowShape(['id', 'n']);

export type Row = readonly [id: number, n: number, name: string];

/** As another process opens it. */
export async function reopened(at: AnyRollout): Promise<AnyRollout> {
  const database = (await openTrunk(at.server, at.name)) as AnyRollout['database'];
  const fence = await database.takeFence('another');
  if (fence === null) throw new Error('the fence was given back');
  const apply = async (...steps: readonly BatchStep[]): Promise<void> => {
    await database.apply(fence, batchOf(steps));
  };
  return { ...at, database, fence, apply };
}

/** Production, and the rollout's applier. */
export class Production {
  readonly rows = new Map<number, Row>();
  #at: AnyRollout;
  /** Of the batches. */
  readonly tookMs: number[] = [];

  constructor(at: AnyRollout) {
    this.#at = at;
  }

  follow(at: AnyRollout): void {
    this.#at = at;
  }

  put(id: number, n: number, name: string): NetChange {
    this.rows.set(id, [id, n, name]);
    const key = [String(id)];
    const image = { shape: FULL, values: [String(id), String(n), name] };
    return { kind: 'upsert', key, from: key, complete: true, image };
  }

  /** The name is left out. */
  patch(id: number, n: number, from = id): NetChange {
    const [, , name = ''] = this.rows.get(from) ?? [];
    this.rows.set(id, [id, n, name]);
    const image = { shape: PATCH, values: [String(id), String(n)] };
    return { kind: 'upsert', key: [String(id)], from: [String(from)], complete: false, image };
  }

  gone(id: number): NetChange {
    this.rows.delete(id);
    return { kind: 'delete', key: [String(id)] };
  }

  /** As a follower does. */
  async apply(...changes: readonly NetChange[]): Promise<void> {
    await this.steps(this.#at.step('thing', ...changes));
  }

  async together(...parts: readonly (readonly NetChange[])[]): Promise<void> {
    const { database, fence } = this.#at;
    const batches = parts.map((changes) => batchOf([this.#at.step('thing', ...changes)]));
    await database.applyTogether(fence, Readable.from(batches));
  }

  async steps(...steps: readonly BatchStep[]): Promise<void> {
    const begun = performance.now();
    for (;;) {
      try {
        await this.#at.apply(...steps);
        this.tookMs.push(performance.now() - begun);
        return;
      } catch (error) {
        if (!isUnderstudyError(error, 'APPLY_BLOCKED') || performance.now() - begun > 20_000) {
          throw error;
        }
        await pause(20);
      }
    }
  }

  /** What waited is written, as far as it can be. Returns how many keys wait still. */
  async settle(): Promise<number> {
    const waiting = waitingOf(this.#at.database);
    return (await waiting?.write(this.#at.fence))?.left ?? -1;
  }

  async waits(): Promise<number> {
    const counts = (await waitingOf(this.#at.database)?.counts()) ?? [];
    return counts.reduce((sum, { keys }) => sum + keys, 0);
  }

  async check(): Promise<void> {
    const image = await this.#at.production('thing', 'id, n, name');
    deepStrictEqual(
      image,
      [...this.rows.values()].toSorted(([a], [b]) => a - b),
    );
  }
}

export async function owned(at: AnyRollout): Promise<number> {
  const counts = await at.database.overlayCounts();
  return counts.reduce(
    (sum, { inserted, updated, deleted, blocked, equal }) =>
      sum + inserted + updated + deleted + blocked + equal,
    0,
  );
}

export const visible = (at: AnyRollout): Promise<readonly (readonly unknown[])[]> =>
  at.rows(`SELECT id, n, name FROM thing ORDER BY id`);

export async function begin(at: AnyRollout, keys = 100): Promise<Production> {
  const production = new Production(at);
  const ids = Array.from({ length: keys }, (_, i) => i + 1);
  await production.apply(...ids.map((id) => production.put(id, 0, `p${String(id)}`)));
  return production;
}
