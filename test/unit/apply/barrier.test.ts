import { expect, it } from 'vitest';
import { Barrier } from '../../../src/apply/barrier.ts';
import type { ChangeEvent } from '../../../src/change/record.ts';
import type { Release } from '../../../src/order/release.ts';
import { changeEvent, image } from '../../support/change-events.ts';

/** Upper case letters are not in the snapshot. */
const isVisible = (change: ChangeEvent): boolean => /[a-z]/.test(idOf(change));

const idOf = (change: ChangeEvent): string => String(change.key?.values[0]);

/** A release of one change per letter, which leads to `next`. */
function release(ids: string, next: number, extraBytes = 0): Release {
  const changes = [...ids].map((id) => changeEvent({ op: 'create', key: image({ id }) }));
  return {
    changes,
    offsets: new Map([['t/0', BigInt(next)]]),
    transactionId: ids,
    complete: true,
    bytes: changes.length * 100 + extraBytes,
  };
}

function barrier(): Barrier {
  return new Barrier({ visible: isVisible, ends: new Map(), starts: new Map() });
}

const text = (releases: readonly Release[]): readonly string[] =>
  releases.map(({ changes }) => changes.map(idOf).join(''));

const bytes = (releases: readonly Release[]): number =>
  releases.reduce((sum, { bytes: some }) => sum + some, 0);

it('lets everything through, with its position, while nothing must wait', () => {
  const releases = [release('ab', 2), release('c', 3)];
  const at = barrier();
  expect(at.admit(releases)).toEqual({ releases, holdPosition: false });
  expect(at.deferred).toEqual([]);
});

it('splits a release, and holds the position from then on', () => {
  const at = barrier();
  const first = at.admit([release('a', 1), release('bXc', 4)]);
  expect(text(first.releases)).toEqual(['a', 'bc']);
  expect(first.holdPosition).toBe(true);
  expect(text(at.deferred)).toEqual(['', 'X']);
  // Nothing of this one waits, but its place lies behind something that does.
  const second = at.admit([release('d', 5)]);
  expect(text(second.releases)).toEqual(['d']);
  expect(second.holdPosition).toBe(true);
  expect(at.deferred.at(-1)?.offsets.get('t/0')).toBe(5n);
});

it('stores how far partitions came with the position, and not before it', () => {
  const at = barrier();
  const places = new Map([['t/0', 'place {}']]);
  const noted = (ids: string, next: number): Release => ({ ...release(ids, next), places });
  expect(at.admit([noted('a', 1)]).releases[0]?.places).toBe(places);
  const held = at.admit([noted('X', 2), noted('b', 3)]);
  expect(held.releases.map((one) => one.places?.size)).toEqual([0, 0]);
  expect(at.deferred.map((one) => one.places)).toEqual([places, places]);
});

it('accounts for every byte once', () => {
  const at = barrier();
  const all = [release('aX', 2, 7), release('Y', 3), release('b', 4), release('', 5, 11)];
  const now = all.flatMap((one) => at.admit([one]).releases);
  expect(bytes(now) + bytes(at.deferred)).toBe(bytes(all));
});

it('counts transactions that wait, not changes', async () => {
  const at = barrier();
  at.admit([release('XYZ', 3), release('a', 4), release('W', 5)]);
  at.reach('base', [...release('aBc', 9).changes]);
  expect(await at.reached).toEqual({ base: 'base', deferredTransactions: 2, missing: 2 });
});

it('tells why it is not reached', async () => {
  const at = barrier();
  at.fail(new Error('gone'));
  await expect(at.reached).rejects.toThrow('gone');
});
