import { describe, expect, it } from 'vitest';
import { conflictOf, type ConflictKind } from '../../../src/overlay/conflict.ts';
import type { RowState, UpstreamChange } from '../../../src/overlay/decide.ts';

describe('conflictOf', () => {
  it('names what both sides did to a row, and nothing else', () => {
    const states: readonly RowState[] = [
      ...(['none', 'inserted', 'updated', 'same', 'deleted', 'void', 'blocked'] as const),
    ];
    const named = new Map<string, ConflictKind>();
    for (const state of states) {
      for (const change of ['upsert', 'patch', 'delete'] satisfies UpstreamChange[]) {
        for (const differs of [false, true]) {
          for (const overlaps of differs ? [false, true] : [false]) {
            const kind = conflictOf(change, state, { differs, overlaps });
            if (kind === null) continue;
            const facts = `${differs ? ' differs' : ''}${overlaps ? ' overlaps' : ''}`;
            named.set(`${state} ${change}${facts}`, kind);
          }
        }
      }
    }
    expect(Object.fromEntries(named)).toEqual({
      'inserted upsert differs overlaps': 'insert_exists',
      'updated upsert differs overlaps': 'update_differs',
      'updated patch differs overlaps': 'update_differs',
      'updated delete': 'update_deleted',
      'updated delete differs': 'update_deleted',
      'updated delete differs overlaps': 'update_deleted',
      'deleted upsert differs': 'delete_updated',
      'deleted upsert differs overlaps': 'delete_updated',
      'deleted patch differs': 'delete_updated',
      'deleted patch differs overlaps': 'delete_updated',
    });
  });
});
