import { describe, expect, it } from 'vitest';
import { mergedColumns } from '../../../src/overlay/merge.ts';

describe('mergedColumns', () => {
  const values = [null, 'x', 'y', 'z'];

  it('takes what production alone changed, for every combination of values', () => {
    for (const base of values) {
      for (const theirs of values) {
        for (const ours of values) {
          const taken = mergedColumns(
            { c: base, k: '1' },
            { c: theirs, k: '1' },
            { c: ours, k: '1' },
          );
          const isClash = theirs !== base && ours !== base && theirs !== ours;
          expect(taken, `${base}, ${theirs}, ${ours}`).toEqual(
            isClash ? null : theirs !== base && ours === base ? ['c'] : [],
          );
        }
      }
    }
  });

  it('of a base that is not known takes nothing that differs', () => {
    expect(mergedColumns(null, { c: 'x' }, { c: 'x' })).toEqual([]);
    expect(mergedColumns(null, { c: 'x' }, { c: null })).toBeNull();
    // A column that came since.
    expect(mergedColumns({ c: 'x' }, { c: 'y', d: '1' }, { c: 'x', d: '2' })).toBeNull();
  });
});
