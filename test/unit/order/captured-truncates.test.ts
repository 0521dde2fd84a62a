/** MariaDB marks a truncate as a part of a transaction that gets a BEGIN and never an END. */
import { expect, test } from 'vitest';
import type { DecodedRecord, LogRecord } from '../../../src/change/record.ts';
import { imageValue } from '../../../src/change/value.ts';
import { connectorNamed } from '../../../src/decode/connectors/connectors.ts';
import { TransactionAssembler } from '../../../src/order/assembler.ts';
import type { Release } from '../../../src/order/release.ts';
import type { TableSchema } from '../../../src/schema/table-schema.ts';
import { DEFAULT_MODES, captureDecoder, capturedRecords } from '../../support/debezium-records.ts';

const TABLE: TableSchema = {
  id: { schema: 'obs_mabeh', name: 'trunc1' },
  columns: [
    ...(['id', 'v'] as const).map((name) => ({
      name,
      type:
        name === 'id' ? { sql: 'int(11)', kind: 'int32' } : { sql: 'varchar(20)', kind: 'text' },
      nullable: name === 'v',
      generated: 'no',
      identity: 'no',
      toastable: false,
    })),
  ] as TableSchema['columns'],
  key: ['id'],
  uniques: [],
  foreignKeys: [],
  partitioned: false,
};
const CATALOGUE = new Map([['obs_mabeh.trunc1', TABLE]]);
const { compare } = connectorNamed('mariadb');

/** The rows' partition first, then the boundaries, then the truncate's partition. */
function captured(): readonly DecodedRecord[] {
  const decoder = captureDecoder(
    'obs_mabeh',
    CATALOGUE,
    DEFAULT_MODES,
    null,
    'debezium',
    'mariadb',
  );
  const records = [...capturedRecords('mariadb.truncate')];
  const of = (topic: string): readonly LogRecord[] => records.filter((r) => r.topic === topic);
  const rows = of('obs_mabeh.obs_mabeh.trunc1');
  // The capture's transaction topic had four partitions; by number it is in the order of sending.
  const boundaries = of('obs_mabeh.transaction')
    .toSorted((a, b) => numberOf(a) - numberOf(b))
    .map((record, i) => ({ ...record, partition: 0, offset: BigInt(i) }));
  return [
    ...rows.filter(({ partition }) => partition !== 0),
    ...boundaries,
    ...rows.filter(({ partition }) => partition === 0),
  ].map((record) => decoder.decode(record));
}

function numberOf({ value }: LogRecord): number {
  return Number(/"id":"0-12-(\d+)"/.exec(value?.toString() ?? '')?.[1]);
}

test('a truncate carries no mark, for its transaction never ends', () => {
  const truncates = captured().filter((r) => r.kind === 'change' && r.op === 'truncate');
  expect(truncates).toMatchObject([{ transaction: null, key: null }]);
});

test('a truncate between the rows of other partitions goes in its place, and nothing is degraded', async () => {
  const records = captured();
  const releases: Release[] = [];
  const ends = new Map<string, bigint>();
  for (const { at } of records) ends.set(`${at.topic}/${at.partition}`, at.offset + 1n);
  const assembler = new TransactionAssembler({
    mode: 'transaction',
    isSubscribed: () => true,
    now: () => 0,
    sourceOrder: {
      isBefore: (a, b) => compare(a, b) === 'before',
      ends: () => Promise.resolve(ends),
      from: new Map(),
      transactionsToo: true,
    },
  });
  const take = (): void => {
    for (let next = assembler.take(); next !== undefined; next = assembler.take()) {
      releases.push(next);
    }
  };
  for (const record of records) {
    assembler.push(record);
    take();
  }
  // The truncate's place is known when the ends are.
  await Promise.resolve();
  await Promise.resolve();
  take();
  expect(assembler.held()).toMatchObject({ transactions: 0, events: 0 });
  expect(releases.every(({ complete }) => complete)).toBe(true);
  const changes = releases.flatMap((release) => release.changes);
  expect(
    changes.map(({ op, after }) => [op, after === null ? null : imageValue(after, 'v')]),
  ).toEqual([
    ['read', 'a'],
    ['truncate', null],
    ['create', 'b'],
    ['delete', null],
  ]);
  // The last BEGIN may yet get its END; the one of the truncate is passed.
  const passed = releases.flatMap(({ offsets }) => offsets.get('obs_mabeh.transaction/0') ?? []);
  expect(passed.at(-1)).toBe(5n);
});
