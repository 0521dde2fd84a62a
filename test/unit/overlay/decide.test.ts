import { describe, expect, it } from 'vitest';
import { decide, type OwnedState, type UpstreamChange } from '../../../src/overlay/decide.ts';

const STATES: readonly OwnedState[] = ['none', 'inserted', 'updated', 'deleted', 'void'];
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
      return { base: true, visible: true };
    case 'deleted':
      return { base: true, visible: false };
    case 'void':
      return { base: false, visible: false };
  }
}

describe('overlay-wins', () => {
  it('writes rows that nobody owns', () => {
    for (const change of CHANGES) {
      expect(decide(change, 'none')).toEqual({ kind: 'write', next: 'none' });
    }
  });

  it('never changes whether the candidate sees a row it owns', () => {
    for (const state of STATES.filter((s) => s !== 'none')) {
      for (const change of CHANGES) {
        const decision = decide(change, state);
        expect(decision.kind).not.toBe('write');
        expect(facts(decision.next).visible).toBe(facts(state).visible);
      }
    }
  });

  it('moves the base image to what production says', () => {
    for (const state of STATES.filter((s) => s !== 'none')) {
      for (const change of CHANGES) {
        const decision = decide(change, state);
        if (decision.kind !== 'move-base') continue;
        expect(facts(decision.next).base).toBe(change !== 'delete');
      }
    }
  });

  it('parks a patch of a row that is not known, and changes nothing', () => {
    for (const state of STATES) {
      const decision = decide('patch', state);
      expect(decision.kind === 'park').toBe(facts(state).base === false);
      if (decision.kind === 'park') expect(decision.next).toBe(state);
    }
  });
});
