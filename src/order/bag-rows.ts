/**
 * Changes of a table without key, where a row is known by all its columns and nothing else: what is
 * added to the multiset of its rows, and what is taken from it.
 */
import { errorOf } from '../change/dead-cause.ts';
import type { ChangeEvent } from '../change/record.ts';
import type { RowImage } from '../change/value.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { BagChange } from './change-batch.ts';
import { whereOf } from './net-rows.ts';

const CURE =
  'it has no key: run ALTER TABLE … REPLICA IDENTITY FULL in production, so that events say which ' +
  'row was changed, or give it a key';

const MARKS =
  'it has no key: set provide.transaction.metadata=true in the connector, so that a row that is ' +
  'delivered a second time is known as such, or give the table a key';

const TWICE =
  'it has no key, so an incremental snapshot would bring rows that are there a second time: give it ' +
  'a key, or make the trunk anew';

export class BagRows {
  readonly #changes: BagChange[] = [];

  /**
   * Takes one more change, in production's order. Not for truncates. KEY_MISSING if an update or
   * delete does not bring the whole old row, and for a change of the stream without transaction:
   * nothing would tell its second delivery from a second row. Nor would anything for a row that an
   * incremental snapshot reads.
   */
  add(event: ChangeEvent): void {
    if (event.op === 'unread') throw errorOf(event.cause, whereOf(event));
    if (event.snapshot === 'no' && event.transaction === null) throw unaddressable(event, MARKS);
    if (event.snapshot === 'incremental') throw unaddressable(event, TWICE);
    switch (event.op) {
      case 'create':
      case 'read':
        this.#changes.push({ kind: 'add', image: wholeRow(event, event.after) });
        return;
      case 'update':
        this.#changes.push({ kind: 'remove', image: wholeRow(event, event.before) });
        this.#changes.push({ kind: 'add', image: wholeRow(event, event.after) });
        return;
      case 'delete':
        this.#changes.push({ kind: 'remove', image: wholeRow(event, event.before) });
        return;
      case 'truncate':
        throw new UnderstudyError('INTERNAL', 'a truncate is no change of a row', whereOf(event));
    }
  }

  changes(): readonly BagChange[] {
    return this.#changes;
  }
}

function wholeRow(event: ChangeEvent, image: RowImage | null): RowImage {
  if (image !== null && image.values.every((value) => typeof value !== 'symbol')) return image;
  throw unaddressable(event, CURE);
}

function unaddressable(event: ChangeEvent, detail: string): UnderstudyError {
  return new UnderstudyError('KEY_MISSING', 'rows of this table cannot be addressed', {
    ...whereOf(event),
    detail,
  });
}
