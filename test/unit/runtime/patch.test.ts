import { describe, expect, it } from 'vitest';
import { assertAllThere } from '../../../src/runtime/patch.ts';

describe('a patch', () => {
  const rows = (name: string, count: number) =>
    Array.from({ length: count }, () => ({ table: { schema: 'public', name } }));

  it('is made of tables that are whole in it, and of no part of one', () => {
    expect(() => assertAllThere([...rows('a', 3), ...rows('b', 3)], 3, '')).not.toThrow();
    expect(() => assertAllThere([...rows('a', 3), ...rows('b', 4)], 3, '')).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        context: expect.objectContaining({ table: 'public.b' }) as unknown,
      }),
    );
  });
});
