import { RowShape } from '../../src/change/value.ts';
import type { RowChange } from '../../src/change/record.ts';

const SHAPE = new RowShape(['id', 'value']);

/** A change of table public.t, of which a test says what matters to it. */
export function sampleChange(
  parts: Partial<RowChange> & { readonly txId?: number | null; readonly lsn?: bigint | null },
): RowChange {
  const { txId = 1, lsn = 1n, ...rest } = parts;
  return {
    kind: 'change',
    op: 'update',
    table: { schema: 'public', name: 't' },
    at: { topic: 'p.public.t', partition: 0, offset: 0n },
    key: { shape: new RowShape(['id']), values: ['1'] },
    before: null,
    after: { shape: SHAPE, values: ['1', 'a'] },
    oldKey: null,
    newKey: null,
    source: { connector: 'postgresql', lsn, lastCommitLsn: 0n, txId },
    snapshot: 'no',
    eventTimeMs: null,
    transaction: null,
    bytes: 100,
    ...rest,
  };
}
