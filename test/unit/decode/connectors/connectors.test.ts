import { expect, test } from 'vitest';
import type { SourcePosition } from '../../../../src/change/position.ts';
import { connectorNamed } from '../../../../src/decode/connectors/connectors.ts';

function pg(lastCommitLsn: bigint | null, lsn: bigint | null): SourcePosition {
  return { connector: 'postgresql', lastCommitLsn, lsn, txId: 1 };
}

function binlog(
  connector: 'mysql' | 'mariadb',
  gtid: string | null,
  file: string | null = null,
  pos: bigint | null = null,
  row = 0,
): SourcePosition {
  return { connector, gtid, file, pos, row };
}

test.each([
  ['interleaved transactions go by commit', pg(20n, 5n), pg(10n, 15n), 'after'],
  ['within a commit by LSN', pg(10n, 11n), pg(10n, 12n), 'before'],
  ['the same', pg(null, 11n), pg(0n, 11n), 'equal'],
  ['incremental rows have none', pg(10n, null), pg(10n, 12n), 'incomparable'],
  ['GTIDs of one server', binlog('mysql', 'u:9'), binlog('mysql', 'u:10'), 'before'],
  ['GTIDs of two servers', binlog('mysql', 'u:9'), binlog('mysql', 'v:10'), 'incomparable'],
  ['one domain, two servers', binlog('mariadb', '0-1-10'), binlog('mariadb', '0-2-9'), 'after'],
  ['files by number', binlog('mysql', null, 'b.10', 4n), binlog('mysql', null, 'b.9', 8n), 'after'],
  [
    'rows of a place',
    binlog('mysql', null, 'b.9', 8n, 0),
    binlog('mysql', null, 'b.9', 8n, 1),
    'before',
  ],
  [
    'renamed logs',
    binlog('mysql', null, 'b.9', 8n),
    binlog('mysql', null, 'c.9', 8n),
    'incomparable',
  ],
  ['two connectors', binlog('mysql', 'u:9'), binlog('mariadb', 'u:9'), 'incomparable'],
] as const)('%s', (_, a, b, expected) => {
  expect(connectorNamed(a.connector).compare(a, b)).toBe(expected);
});
