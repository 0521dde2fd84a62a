import fc from 'fast-check';
import { expect, it } from 'vitest';
import { MemoryCredit } from '../../src/apply/memory-credit.ts';

type Act =
  | { readonly kind: 'hold'; readonly bytes: number }
  | { readonly kind: 'free'; readonly share: number }
  | { readonly kind: 'lend' };

const act: fc.Arbitrary<Act> = fc.oneof(
  fc.record({ kind: fc.constant('hold' as const), bytes: fc.nat(1_000) }),
  fc.record({
    kind: fc.constant('free' as const),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  fc.record({ kind: fc.constant('lend' as const) }),
);

it('never hands back more than was held, all of it in the end, and at a loan all at once', () => {
  fc.assert(
    fc.property(fc.array(act, { maxLength: 100 }), (acts) => {
      let released = 0;
      let held = 0;
      let freed = 0;
      const atLoans: number[] = [];
      const credit = new MemoryCredit((bytes) => {
        expect(bytes).toBeGreaterThan(0);
        released += bytes;
      });
      for (const one of acts) {
        switch (one.kind) {
          case 'hold':
            held += one.bytes;
            credit.hold(one.bytes);
            break;
          case 'free': {
            const bytes = Math.floor((held - freed) * one.share);
            freed += bytes;
            credit.free(bytes);
            break;
          }
          case 'lend':
            credit.lend();
            atLoans.push(released - held);
            break;
        }
        expect(credit.heldBytes).toBe(held - freed);
        expect(released).toBeLessThanOrEqual(held);
        expect(released).toBeGreaterThanOrEqual(freed);
      }
      expect(atLoans.every((missing) => missing === 0)).toBe(true);
      credit.free(held - freed);
      expect(released).toBe(held);
      expect(credit.heldBytes).toBe(0);
    }),
  );
});
