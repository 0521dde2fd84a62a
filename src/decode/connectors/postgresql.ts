import type { SourcePosition } from '../../change/position.ts';
import { DigitPair } from '../envelope/change-text.ts';
import { optionalInteger } from '../envelope/exact-number.ts';
import { Problem } from '../problem.ts';
import { order, type Connector, type SourceBlock } from './connector.ts';
import { requiredText } from './source-fields.ts';

type PostgresqlPosition = Extract<SourcePosition, { connector: 'postgresql' }>;

/** END lists transactional messages under the name of a Java object. */
const MESSAGES = 'io.debezium.connector.postgresql.LogicalDecodingMessageMonitor$';

/**
 * PostgreSQL: transactions come in commit order, so the last commit before a change orders
 * before its own LSN (which goes back and forth between interleaved transactions).
 */
export const postgresql: Connector<PostgresqlPosition> = {
  name: 'postgresql',
  schemaField: 'schema',
  table: (source) => ({
    schema: requiredText(source, 'schema'),
    name: requiredText(source, 'table'),
  }),
  position: (source) => {
    const { txId } = source;
    return {
      connector: 'postgresql',
      lsn: optionalInteger(source['lsn']),
      lastCommitLsn: lastCommit(source),
      txId: isUnsigned32(txId) ? txId : unsigned32(optionalInteger(txId)),
    };
  },
  compare: (a, b) => {
    if (a.lsn === null || b.lsn === null) return 'incomparable';
    const commits = order(a.lastCommitLsn ?? 0n, b.lastCommitLsn ?? 0n);
    return commits === 'equal' ? order(a.lsn, b.lsn) : commits;
  },
  compareInLog: (a, b) =>
    // A connector that starts anew has seen no commit yet.
    a.lastCommitLsn === null || b.lastCommitLsn === null
      ? 'incomparable'
      : postgresql.compare(a, b),
  // `529795:4115907712`: the part after the colon is the LSN of the event at hand.
  transactionId: (id) => {
    const colon = id.indexOf(':');
    return colon < 0 ? id : id.slice(0, colon);
  },
  // Of an END the event is the commit, and the LSN its end.
  committedAt: (id) => {
    const lsn = /:(\d+)$/.exec(id)?.[1];
    return lsn === undefined ? null : BigInt(lsn);
  },
  countsRows: (collection) => !collection.startsWith(MESSAGES),
  truncatesAreMarked: true,
  // REPLICA IDENTITY DEFAULT fills the other columns with zeros and defaults.
  deletedRowIsReal: false,
};

/** The usual case, which needs no bigint. */
function isUnsigned32(value: unknown): value is number {
  return typeof value === 'number' && value >>> 0 === value;
}

function unsigned32(value: bigint | null): number | null {
  return value === null ? null : Number(BigInt.asUintN(32, value));
}

const SEQUENCE = /^\[(null|"(\d+)"),(?:null|"\d+")\]$/;

/** The first of `["lastCommitLsn","lsn"]`, which may have been parsed (see change-text). */
function lastCommit(source: SourceBlock): bigint | null {
  const { sequence } = source;
  if (sequence instanceof DigitPair) return BigInt(sequence.first);
  if (typeof sequence !== 'string') return null;
  const match = SEQUENCE.exec(sequence);
  if (match === null) throw new Problem('RECORD_CORRUPT', 'the source sequence is unreadable');
  return match[2] === undefined ? null : BigInt(match[2]);
}
