/** Policies that write into rows the candidate owns: production wins, columns are merged, counters add up. */
import { expect, it } from 'vitest';
import { readOverlayConflicts } from '../../src/dialect/postgres/overlay/read.ts';
import { sweepOverlay } from '../../src/dialect/postgres/overlay/release.ts';
import { resolveOverlay } from '../../src/dialect/postgres/overlay/resolve.ts';
import { OVERLAY_WINS } from '../../src/overlay/policy.ts';
import { acting, applyUnder, content, rows, tables, user, useShop } from './apply.fixture.ts';
import {
  patch,
  policyTests,
  row,
  ROWS,
  SOURCE_WINS,
  TABLE,
  type PolicyScene,
} from './policies.fixture.ts';

useShop();

async function open(...more: readonly string[]): Promise<PolicyScene> {
  await tables([TABLE, ROWS, ...more].join('; '), true);
  return {
    write: (...statements) => user.query(statements.join('; ')),
    apply: (policy, ...changes) => applyUnder(policy, rows('t', ...changes)),
    truncate: (policy) =>
      applyUnder(policy, { kind: 'truncate', table: { schema: 'shop', name: 't' } }),
    sweep: (policy) => acting((session) => sweepOverlay(session, null), { policies: () => policy }),
    merge: () => acting((session) => resolveOverlay(session, {}, 'merge')),
    seen: () => content('SELECT * FROM shop.t ORDER BY id'),
    base: () => content('SELECT * FROM shop__production.t ORDER BY id'),
    owned: async () =>
      (await content('SELECT id FROM understudy."shop.t#journal" ORDER BY id')).flat(),
    outcomes: async () =>
      (await content('SELECT outcome, key FROM understudy.outcome ORDER BY key')).map((one) =>
        (one as unknown[]).flat().join(' '),
      ),
    conflicts: async () =>
      (await readOverlayConflicts(user, 100))
        .map(
          ({ key, kind, columns }) =>
            `${key.join()} ${kind} ${columns.map(({ column }) => column).join()}`,
        )
        .toSorted(),
  };
}

policyTests(open, `CREATE UNIQUE INDEX ON t (lower(b)) WHERE b = 'theirs'`);

it('source-wins makes no row of both, where production’s is not known here', async () => {
  const at = await open();
  await at.write(`INSERT INTO t VALUES (4, 'mine', 'secret', 1, 'four')`);
  await at.apply(SOURCE_WINS, patch(4, { a: 'theirs' }));
  expect((await at.base()).length).toBe(3);
  expect(await content('SELECT key FROM understudy.parked')).toEqual([[['4']]]);
});

it('source-wins forgets nothing of what is not known of rows that it only puts back', async () => {
  const at = await open();
  await at.apply(OVERLAY_WINS, patch(4, { a: 'theirs' }));
  await at.write(`INSERT INTO t VALUES (4, 'mine', 'mine', 1, 'held')`);
  await at.apply(SOURCE_WINS, row(1, 'a', 'b', '1', 'held'));
  expect(await content('SELECT key FROM understudy.parked')).toEqual([[['4']]]);
  expect((await at.seen()).map((one) => (one as unknown[])[0])).toEqual([1, 2, 3]);
});
