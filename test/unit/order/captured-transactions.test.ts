import { expect, test } from 'vitest';
import { TransactionAssembler } from '../../../src/order/assembler.ts';
import type { Release } from '../../../src/order/release.ts';
import { BatchBuilder } from '../../../src/order/batch-builder.ts';
import type { DecodedRecord, LogRecord } from '../../../src/change/record.ts';
import { START } from '../../../src/change/position.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
} from '../../support/debezium-records.ts';

/** The tables that the captured schema can hold at the end of the capture. */
const DECODABLE = ['cpk', 'pku', 'pku_full', 'trunc1', 'trunc2', 'tx1', 'tx2', 'del_def'];

test('the transactions of a real connector are put together and melt into batches', () => {
  const catalogue = capturedCatalogue('behaviour');
  const decoder = captureDecoder('obs_beh', catalogue);
  const assembler = new TransactionAssembler({
    mode: 'transaction',
    isSubscribed: (collection) => DECODABLE.includes(collection.replace('public.', '')),
    now: () => 0,
  });
  const releases: Release[] = [];
  let transactional = 0;
  const push = (decoded: DecodedRecord): void => {
    assembler.push(decoded);
    for (let next = assembler.take(); next !== undefined; next = assembler.take()) {
      releases.push(next);
    }
  };
  for (const record of capturedRecords('pg.behaviour.default')) {
    const table = record.topic.split('.').at(-1) ?? '';
    if (!record.topic.includes('.public.') || !DECODABLE.includes(table)) continue;
    const decoded = decoder.decode(record);
    if (decoded.kind === 'change' && decoded.transaction !== null) transactional += 1;
    push(decoded);
  }
  boundariesInOrder().forEach((record, i) => {
    push(decoder.decode({ ...record, partition: 0, offset: BigInt(i) }));
  });
  expect(assembler.held()).toMatchObject({ transactions: 0, events: 0 });
  expect(releases.every((release) => release.complete)).toBe(true);
  const whole = releases.filter((release) => release.transactionId !== null);
  expect(whole.reduce((sum, release) => sum + release.changes.length, 0)).toBe(transactional);

  // 3 → 99, 10 → 3, 99 → 10 in one transaction: the rows change places.
  const swap = whole.find((release) => release.changes.filter((c) => c.oldKey).length === 3);
  const builder = new BatchBuilder({ catalogue, position: START });
  builder.add(swap ?? never());
  const batch = builder.build();
  expect(batch.steps).toHaveLength(1);
  const [step] = batch.steps;
  expect(
    step?.kind === 'rows' &&
      step.changes.map((change) => [
        change.kind,
        change.key[0],
        change.kind === 'upsert' ? change.from[0] : null,
      ]),
  ).toEqual([
    ['upsert', '3', '10'],
    ['delete', '99', null],
    ['upsert', '10', '3'],
  ]);
  expect(batch).toMatchObject({ events: 6, transactions: 1, txIds: [expect.any(Number)] });
});

/**
 * The capture's transaction topic had four partitions; this is the order it was written in: by
 * the END's LSN. (A BEGIN has its first row's, which may lie before an earlier commit.)
 */
function boundariesInOrder(): readonly LogRecord[] {
  const all = [...capturedRecords('pg.behaviour.default')]
    .filter((record) => record.topic === 'obs_beh.transaction')
    .map((record) => {
      const text = record.value?.toString() ?? '';
      const [, id = '', lsn = ''] = /"id":"(\d+):(\d+)"/.exec(text) ?? [];
      return { record, id, lsn: Number(lsn), end: text.includes('"END"') };
    });
  const ends = new Map(all.filter(({ end }) => end).map(({ id, lsn }) => [id, lsn]));
  const place = ({ id, end }: (typeof all)[number]): number =>
    (ends.get(id) ?? 0) * 2 + Number(end);
  return all.toSorted((a, b) => place(a) - place(b)).map(({ record }) => record);
}

function never(): never {
  throw new Error('is missing in the capture');
}
