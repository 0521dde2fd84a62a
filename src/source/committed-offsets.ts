/**
 * How far the connector has come, as Kafka Connect has committed it. Connect commits a source
 * offset only when the record it belongs to, and every earlier one, was acknowledged by Kafka; so
 * a committed offset at or past a position of production's log proves that everything before it
 * is in the topics (pin-proofs 2). Seeing some record proves nothing of the kind.
 *
 * Two implementations: Connect's REST interface (connect/) and its offsets topic (kafka/).
 */
import { filePosition } from '../change/position.ts';

export interface CommittedOffsets {
  /** For people: where it is read. */
  readonly description: string;
  /**
   * The connector's committed position in production's log, or null while it has none.
   * Errors: CONNECT_UNREACHABLE, KAFKA_UNREACHABLE.
   */
  committed(signal?: AbortSignal): Promise<bigint | null>;
}

export interface StoredOffsets extends CommittedOffsets {
  /** The committed offsets as Debezium stores them; none while there are none. Errors as above. */
  stored(signal?: AbortSignal): Promise<readonly StoredOffset[]>;
}

/** Fields of an offset, by Debezium's names. */
export type StoredOffset = Readonly<Record<string, unknown>>;

/**
 * The position (logPosition) in an offset as Debezium stores it: the larger of `lsn` and `lsn_commit`,
 * or `file` and `pos`, which are the start of a transaction that is not all delivered. Null if it
 * holds none, as before the first change, and during a snapshot: its position is where it began, while
 * its rows are still to come. One that fails begins anew further on, without a word.
 */
export function positionOf(offset: unknown): bigint | null {
  if (typeof offset !== 'object' || offset === null) return null;
  const fields = offset as Readonly<Record<string, unknown>>;
  const { snapshot = null } = fields;
  if (snapshot !== null && snapshot !== false && snapshot !== 'false') return null;
  const { file, pos } = fields;
  if (typeof file === 'string') return filePosition(file, wholeNumber(pos));
  const found = [fields['lsn'], fields['lsn_commit']]
    .map(wholeNumber)
    .filter((value) => value !== null);
  return found.reduce<bigint | null>((max, lsn) => (max === null || lsn > max ? lsn : max), null);
}

function wholeNumber(value: unknown): bigint | null {
  return typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : null;
}
