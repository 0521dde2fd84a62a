import { expect, test } from 'vitest';
import { START } from '../../../src/change/position.ts';
import type { ChangeEvent } from '../../../src/change/record.ts';
import { BatchBuilder } from '../../../src/order/batch-builder.ts';
import { changeEvent, image, textTable, unread } from '../../support/change-events.ts';

function unmarked(...changes: readonly ChangeEvent[]): number {
  const builder = new BatchBuilder({
    catalogue: new Map([['public.t', textTable('t', ['id'])]]),
    position: START,
  });
  builder.add({ changes, offsets: new Map(), transactionId: null, complete: true, bytes: 0 });
  return builder.build().unmarked;
}

test('counts changes whose transaction is not known, but no truncate, which is one of its own', () => {
  const row = image({ id: '1' });
  const insert = changeEvent({ op: 'create', key: row, after: row });
  expect(unmarked(insert, insert)).toBe(2);
  expect(unmarked({ ...insert, transaction: { id: '7', totalOrder: 1n } })).toBe(0);
  expect(unmarked({ ...insert, snapshot: 'initial' })).toBe(0);
  expect(unmarked(changeEvent({ op: 'truncate' }))).toBe(0);
});

test('takes no place in production’s log from what could not be read', () => {
  const row = image({ id: '1' });
  const insert = changeEvent({
    ...{ op: 'create', key: row, after: row, lsn: 9n, tx: { id: '7', totalOrder: 1 } },
  });
  const builder = new BatchBuilder({
    catalogue: new Map([['public.t', textTable('t', ['id'])]]),
    position: START,
  });
  const changes = [insert, unread(insert)];
  builder.add({ changes, offsets: new Map(), transactionId: null, complete: true, bytes: 0 });
  expect(builder.build([insert])).toMatchObject({
    ...{ unmarked: 0, events: 2, txIds: [7] },
    position: { source: { lsn: 9n }, eventTimeMs: 1_000 },
  });
  // Nobody may take it for a change that can be written.
  expect(() => builder.build()).toThrow('damaged');
});
