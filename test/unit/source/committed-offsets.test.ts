import { expect, test } from 'vitest';
import { positionOf } from '../../../src/source/committed-offsets.ts';

test.each([
  [{ lsn_proc: 5, messageType: 'UPDATE', lsn_commit: 40, lsn: 41, txId: 7 }, 41n],
  [{ lsn_commit: 50, lsn: 41 }, 50n],
  // As Debezium 3 writes it, as 2 did, and after a snapshot.
  [{ lsn: 41, last_snapshot_record: false, snapshot: 'INITIAL' }, null],
  [{ lsn: 41, last_snapshot_record: true, snapshot: true }, null],
  [{ lsn: 41, snapshot: false }, 41n],
  [{ lsn_proc: 5 }, null],
  [{ lsn: '41' }, null],
  [{ lsn: 1e300 }, null],
  // A binlog connector's: mid-way in a transaction, and after a snapshot.
  [{ file: 'binlog.000002', pos: 1024, gtids: 'x:1-4', event: 3 }, (2n << 40n) + 1024n],
  [{ file: 'binlog.000002', pos: 4, snapshot: true }, null],
  [{ file: 'binlog.000002' }, null],
  [{ file: 'binlog', pos: 4 }, null],
  [null, null],
  ['41', null],
])('the position in %j is %s', (offset, position) => {
  expect(positionOf(offset)).toBe(position);
});
