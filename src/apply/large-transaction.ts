/** A source transaction that is too large to be held: its parts, written in one of the shadow's. */
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import type { TransactionAssembler } from '../order/assembler.ts';
import type { Release } from '../order/release.ts';
import type { BatchWriter } from './batch-writer.ts';
import type { MemoryCredit } from './memory-credit.ts';

export interface LargeTransactionParts {
  readonly assembler: Pick<TransactionAssembler, 'take'>;
  readonly writer: Pick<BatchWriter, 'writeTogether'>;
  readonly credit: MemoryCredit;
  readonly logger: Logger;
  /** What of a release is to be applied. */
  readonly admit: (release: Release) => Release;
  /**
   * Called when nothing can go: resolves when there may be more. Rejects when nothing will come, or
   * it is to be stopped.
   */
  readonly more: () => Promise<void>;
}

/**
 * Writes a transaction from its first part to its last, with what has to go between them, whole.
 * Rejects with nothing written; what was read of it is gone then.
 */
export async function writeLarge(first: Release, parts: LargeTransactionParts): Promise<void> {
  const what = 'a source transaction is too large to be held and is written as it comes';
  parts.logger.info(what, { transaction: first.transactionId });
  await parts.writer.writeTogether(partsFrom(first, parts));
}

async function* partsFrom(
  first: Release,
  { assembler, credit, admit, more }: LargeTransactionParts,
): AsyncGenerator<Release, void> {
  for (let release: Release | undefined = first; ; release = assembler.take()) {
    if (release === undefined) {
      await more();
      continue;
    }
    if (release.isLate === true) {
      // It takes its place when this is read again, and must not go among parts of what is after it.
      throw new UnderstudyError(
        'APPLY_BLOCKED',
        'a truncate came late, within a large transaction',
      );
    }
    yield admit(release);
    credit.free(release.bytes);
    if (release.part === 'last') return;
  }
}

/**
 * A transaction could not be written in parts that are committed together, for the reason in
 * `cause`. Following has to begin again at the stored position.
 */
export class LargeUnwritten extends Error {
  override readonly name = 'LargeUnwritten';
  readonly transactionId: string;

  constructor(transactionId: string, cause: unknown) {
    super('a large transaction could not be written', { cause });
    this.transactionId = transactionId;
  }
}
