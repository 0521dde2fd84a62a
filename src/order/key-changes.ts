/**
 * Brings the two halves of a key change together where there are no transactions: the delete of the
 * old key and the create of the new one lie in two partitions, and each alone would lose what the
 * event does not repeat of the row.
 *
 * Invariant: halves that are among the partitions that are read go together, the delete first, when
 * both are at the heads of theirs. As production's key changes stand in the same order in all
 * partitions, the earliest that waits can always go.
 *
 * A half is known by its place in production's log: one event there makes both. A connector that goes
 * back at its restart delivers them again, in the same order, so that of several the first ones belong
 * together.
 */
import type { SourcePosition } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { Lane, Waiting } from './lane.ts';

/** One half, and where it waits. */
export interface Half {
  readonly lane: Lane<ChangeEvent>;
  readonly item: Waiting<ChangeEvent>;
}

interface Change {
  readonly deletes: Half[];
  readonly creates: Half[];
}

/** Is it one half of a key change, of which the other is an event of its own, and can be told? */
export function isHalf({ op, oldKey, newKey, source }: ChangeEvent): boolean {
  if (op !== 'delete' && op !== 'create') return false;
  return (op === 'delete' ? newKey : oldKey) !== null && placeOf(source) !== null;
}

export class KeyChanges {
  readonly #changes = new Map<string, Change>();

  came(lane: Lane<ChangeEvent>, item: Waiting<ChangeEvent>): void {
    if (!isHalf(item.record)) return;
    const id = idOf(item.record);
    let change = this.#changes.get(id);
    if (change === undefined) {
      change = { deletes: [], creates: [] };
      this.#changes.set(id, change);
    }
    halvesLike(change, item.record).push({ lane, item });
  }

  /** The other half of the one at the head of a lane; undefined if it is not here. */
  partnerOf(record: ChangeEvent): Half | undefined {
    const change = this.#changes.get(idOf(record));
    if (change === undefined) return undefined;
    return (record.op === 'delete' ? change.creates : change.deletes)[0];
  }

  /** To be called for each half that went. */
  went(record: ChangeEvent): void {
    if (!isHalf(record)) return;
    const id = idOf(record);
    const change = this.#changes.get(id);
    if (change === undefined) return;
    halvesLike(change, record).shift();
    if (change.deletes.length + change.creates.length === 0) this.#changes.delete(id);
  }
}

function halvesLike(change: Change, { op }: ChangeEvent): Half[] {
  return op === 'delete' ? change.deletes : change.creates;
}

function idOf({ table, source }: ChangeEvent): string {
  return `${tableName(table)} ${String(placeOf(source))}`;
}

/** Null where the record does not tell it. */
function placeOf(source: SourcePosition): string | null {
  if ('lsn' in source) return source.lsn === null ? null : String(source.lsn);
  const { file, pos, row, gtid } = source;
  return pos === null ? null : `${String(file)} ${String(pos)} ${row} ${String(gtid)}`;
}
