/**
 * An idle transaction of the candidate stalls its own keys only: these wait, in order, and production's image is
 * exact for them meanwhile.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { RowShape } from '../../src/change/value.ts';
import { waitingOf } from '../../src/dialect/waiting.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import { anyRollout, type AnyRollout } from './rollout.fixture.ts';

const ENGINES = ['postgresql'] as const;

const TABLE = 'CREATE TABLE thing (id int PRIMARY KEY, n int, name varchar(40))';
const FULL = new RowShape(['id', 'n', 'name']);
const PATCH = new RowShape(['id', 'n']);

type Row = readonly [id: number, n: number, name: string];

/** Production, and the rollout's applier. */
class Production {
  readonly rows = new Map<number, Row>();
  readonly #at: AnyRollout;
  /** Of the batches. */
  readonly tookMs: number[] = [];

  constructor(at: AnyRollout) {
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
    expect(image).toEqual([...this.rows.values()].toSorted(([a], [b]) => a - b));
  }
}

const visible = (at: AnyRollout): Promise<readonly (readonly unknown[])[]> =>
  at.rows(`SELECT id, n, name FROM thing ORDER BY id`);

async function begin(at: AnyRollout, keys = 100): Promise<Production> {
  const production = new Production(at);
  const ids = Array.from({ length: keys }, (_, i) => i + 1);
  await production.apply(...ids.map((id) => production.put(id, 0, `p${String(id)}`)));
  return production;
}

describe.each(ENGINES)('on %s', (engine) => {
  it.each(['COMMIT', 'ROLLBACK'] as const)(
    'an idle transaction stalls its own keys only, until its %s',
    async (end) => {
      const at = await anyRollout(engine, TABLE);
      const production = await begin(at);
      const candidate = await at.session();
      await candidate('BEGIN');
      await candidate(`UPDATE thing SET name = 'mine' WHERE id = 1`);
      await candidate(`INSERT INTO thing VALUES (500, 7, 'mine')`);
      await candidate('DELETE FROM thing WHERE id = 3');
      const until = performance.now() + 5_000;
      for (let round = 1; performance.now() < until; round += 1) {
        const others = Array.from({ length: 20 }, (_, i) => 10 + ((round * 7 + i) % 80));
        await production.apply(
          production.put(1, round, `theirs${String(round)}`),
          production.put(500, round, `new${String(round)}`),
          production.patch(3, round),
          ...others.map((id) => production.patch(id, round)),
        );
        await production.check();
        expect(await production.waits()).toBe(3);
        if (round % 10 === 0) expect(await production.settle()).toBe(3);
        await pause(50);
      }
      const [first = 0, ...rest] = production.tookMs.slice(1);
      expect(first).toBeLessThan(4_000);
      // Flat: no batch waits for a lock again.
      expect(rest.toSorted((a, b) => b - a)[1]).toBeLessThan(500);
      expect(rest.length).toBeGreaterThan(20);
      await candidate(end);
      expect(await production.settle()).toBe(0);
      expect(await production.waits()).toBe(0);
      await production.check();
      const seen = new Map<number, Row>(production.rows);
      if (end === 'COMMIT') {
        seen.set(1, [1, 0, 'mine']);
        seen.set(500, [500, 7, 'mine']);
        seen.delete(3);
      }
      expect(await visible(at)).toEqual([...seen.values()].toSorted(([a], [b]) => a - b));
      // A key that waited follows as any does.
      await production.apply(production.gone(1), production.put(3, 1, 'again'));
      await production.check();
      expect(await production.waits()).toBe(0);
    },
  );
});
