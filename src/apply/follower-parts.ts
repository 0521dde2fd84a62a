/** What a follower is made of. */
import type { OffsetRange } from '../change/offset-ranges.ts';
import type { OffsetMap, Position } from '../change/position.ts';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../change/record.ts';
import type { Fence, ShadowDatabase } from '../dialect/dialect.ts';
import type { Logger } from '../observability/logger.ts';
import type { TransactionAssembler } from '../order/assembler.ts';
import type { BatchBuilder } from '../order/batch-builder.ts';
import type { Release } from '../order/release.ts';
import type { ChangeSource, SourceState } from '../source/change-source.ts';
import type { DeadLetterRules } from './batch-writer.ts';

export interface FollowerLimits {
  readonly batchEvents: number;
  readonly batchBytes: number;
  readonly budgetBytes: number;
  /** How long a blocked or unreachable shadow is retried before the follower gives up. */
  readonly giveUpAfterMs: number;
}

export interface PrepareOptions {
  readonly signal: AbortSignal;
  readonly onState: (state: SourceState | null) => void;
}

export interface FollowerParts {
  readonly database: Pick<ShadowDatabase, 'name' | 'apply' | 'applyTogether' | 'openBaseSnapshot'>;
  readonly fence: Fence;
  readonly source: ChangeSource;
  /**
   * Fetches what decoding a record needs; null, mostly, where nothing is lacking. `onState` is
   * told while that cannot be had, and null when it can again.
   */
  readonly prepare?: (record: LogRecord, options: PrepareOptions) => Promise<void> | null;
  readonly decode: (record: LogRecord) => DecodedRecord;
  readonly mask: (event: ChangeEvent) => ChangeEvent;
  readonly assembler: TransactionAssembler;
  /** Takes out of a release what must not be applied. Default: all is applied. */
  readonly trim?: (release: Release) => Release;
  /**
   * Rows of before `until` that production wrote after a truncate that comes late, to be written again
   * behind it; null if that cannot be told. Default: it cannot.
   */
  readonly rowsAfter?: (
    truncate: ChangeEvent,
    until: OffsetMap,
    signal: AbortSignal,
  ) => Promise<readonly ChangeEvent[] | null>;
  /** Ids of the topics that the position is of. Default: not known. */
  readonly topicIds?: ReadonlyMap<string, string> | undefined;
  /** What was applied before beyond the position. Default: nothing. */
  readonly ahead?: readonly OffsetRange[];
  readonly builder: (position: Position) => BatchBuilder;
  /** Source transactions that are not written in parts that are committed together. Default: none. */
  readonly apart?: ReadonlySet<string>;
  /** What is refused is set aside by these. Default: it stops the follower. */
  readonly dead?: DeadLetterRules | null;
  readonly limits: FollowerLimits;
  /** Names the database in all its lines. */
  readonly logger: Logger;
}

/** How records are read that are followed. `onState` is told while one has to wait for what it needs. */
export function decodingOf(
  { prepare, decode, mask }: Pick<FollowerParts, 'prepare' | 'decode' | 'mask'>,
  signal: AbortSignal,
  onState: PrepareOptions['onState'],
): {
  readonly prepare: (record: LogRecord) => Promise<void> | null;
  readonly decode: (record: LogRecord) => DecodedRecord;
} {
  return {
    prepare: (record) => prepare?.(record, { signal, onState }) ?? null,
    decode: (record) => {
      const decoded = decode(record);
      return decoded.kind === 'change' ? mask(decoded) : decoded;
    },
  };
}
