import { describe, expect, it } from 'vitest';
import {
  decide,
  type ApplyDecision,
  type OwnedState,
  type UpstreamChange,
} from '../../../src/overlay/decide.ts';

const STATES: readonly OwnedState[] = ['none', 'inserted', 'updated', 'same', 'deleted', 'void'];
const CHANGES: readonly UpstreamChange[] = ['upsert', 'patch', 'delete'];

/** The two facts a state stands for; null where production's row is the visible one. */
function facts(state: OwnedState): {
  readonly base: boolean | null;
  readonly visible: boolean | null;
} {
  switch (state) {
    case 'none':
      return { base: null, visible: null };
    case 'inserted':
      return { base: false, visible: true };
    case 'updated':
    case 'same':
      return { base: true, visible: true };
    case 'deleted':
      return { base: true, visible: false };
    case 'void':
      return { base: false, visible: false };
    default:
      throw new Error('no state');
  }
}

const NOTHING_LEFT: readonly OwnedState[] = ['none', 'same', 'void'];

/** All that is decided over states in which something is left of what the candidate did. */
function decisions(): readonly {
  readonly change: UpstreamChange;
  readonly state: OwnedState;
  readonly meets: boolean;
  readonly decision: ApplyDecision;
}[] {
  return STATES.filter((state) => !NOTHING_LEFT.includes(state)).flatMap((state) =>
    CHANGES.flatMap((change) =>
      [false, true].map((meets) => ({
        ...{ change, state, meets },
        decision: decide(change, state, meets),
      })),
    ),
  );
}

describe('overlay-wins', () => {
  it('writes rows that nobody owns, or of which nothing is left of what the candidate did', () => {
    for (const state of NOTHING_LEFT) {
      for (const change of CHANGES) {
        for (const meets of [false, true]) {
          expect(decide(change, state, meets)).toEqual({ kind: 'write', next: 'none' });
        }
      }
    }
  });

  it('never changes whether the candidate sees a row it owns', () => {
    for (const { state, decision } of decisions()) {
      expect(decision.kind).not.toBe('write');
      if (decision.kind === 'converge') continue;
      expect(facts(decision.next).visible).toBe(facts(state).visible);
    }
  });

  it('moves the base image to what production says', () => {
    for (const { change, decision } of decisions()) {
      if (decision.kind !== 'move-base') continue;
      expect(facts(decision.next).base).toBe(change !== 'delete');
    }
  });

  it('gives up what production comes to, and nothing else', () => {
    for (const { change, state, meets, decision } of decisions()) {
      const isSeen = facts(state).visible === true;
      const isAlike = change === 'delete' ? !isSeen : isSeen && meets && decision.kind !== 'park';
      expect(decision.kind === 'converge').toBe(isAlike);
    }
  });

  it('parks a patch of a row that is not known, and changes nothing', () => {
    for (const { change, state, decision } of decisions()) {
      const isLacking = change === 'patch' && facts(state).base === false;
      expect(decision.kind === 'park').toBe(isLacking);
      expect(decision.kind === 'park' ? decision.next : state).toBe(state);
    }
  });
});
