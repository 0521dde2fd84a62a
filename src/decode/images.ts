/** What an event has of rows and their keys. */
import type { RowImage } from '../change/value.ts';

/** The keys of an event. */
export interface Keys {
  readonly key: RowImage | null;
  readonly oldKey: RowImage | null;
  readonly newKey: RowImage | null;
  /** The row had another key before: what it lacks, an old row under that key may have. */
  readonly moved: boolean;
  /** The old row that was sent is known to be real in its key only. */
  readonly onlyKeyIsReal: boolean;
}

/** The keys and rows of an event. */
export interface Images extends Pick<Keys, 'key' | 'oldKey' | 'newKey'> {
  readonly before: RowImage | null;
  readonly after: RowImage | null;
}

export const NO_KEYS: Keys = {
  key: null,
  oldKey: null,
  newKey: null,
  moved: false,
  onlyKeyIsReal: false,
};
