/** Brings net changes into the staging table of their table. */
import {
  imageValue,
  UNAVAILABLE,
  UNSURE,
  type ColumnValue,
  type KnownValue,
  type RowShape,
} from '../../../change/value.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { BagChange, NetChange } from '../../../order/change-batch.ts';
import { RowRefused } from '../../dead-letters.ts';
import { unreachable } from '../../../util/assert.ts';
import type { Client } from '../session/client.ts';
import { applyFailure } from './apply-error.ts';
import type { ApplyColumn, ApplyTable } from './apply-table.ts';
import { Misfit, NO_LABEL, renderLiteral, renderText } from './literal.ts';

/**
 * What a staged row asks for:
 * - `f`: the full image; insert it or overwrite what is there
 * - `p`: some columns; the others come from the row with the old key (`f1`, …), which must exist
 * - `q`: some columns; the others come from that row or, where it is absent, from their defaults
 * - `d`: no such row; in a table without key, one row of this image less
 */
export type StagedOp = 'f' | 'p' | 'q' | 'd';

/** Which columns the images of a step bring, where that is not all of them. */
export type Masks = ReadonlyMap<number, readonly boolean[]>;

export interface Staged {
  readonly masks: Masks;
  readonly counts: Readonly<Record<StagedOp, number>>;
}

/** Characters of one statement. Far below what any server takes, far above what a row costs. */
const CHUNK = 512 * 1024;
/** What a statement has beside its rows. */
const FRAME_BYTES = 64 * 1024;

/**
 * Fills the table's (empty) staging table. `seq` is the change's place in the list. `packetBytes`:
 * the longest statement the server takes. Errors: COLUMN_UNKNOWN, and APPLY_FAILED naming the key
 * and column the server refused.
 */
export async function stageChanges(
  client: Client,
  table: ApplyTable,
  changes: readonly (NetChange | BagChange)[],
  packetBytes: number,
): Promise<Staged> {
  const renderer = new RowRenderer(table);
  const targets = [
    ...table.columns.map((column) => column.staged),
    ...table.key.map((column) => column.from),
    ...['seq', 'op', 'mask'],
  ];
  // It has one unique key, so that no other row can be replaced.
  const head = `REPLACE INTO ${table.stage} (${targets.join(', ')}) VALUES `;
  let rows: string[] = [];
  let length = 0;
  let first = 0;
  const flush = async (): Promise<void> => {
    if (rows.length === 0) return;
    try {
      await client.run(head + rows.join(', '));
    } catch (error) {
      const begin = first;
      throw applyFailure(error, table.label, {
        key: (row) => {
          const change = changes[begin + row - 1];
          return change === undefined || !('key' in change)
            ? undefined
            : describeKey(table, change.key);
        },
        column: (staged) => table.columns.find((c) => c.staged === staged)?.schema.name,
      });
    }
    first += rows.length;
    rows = [];
    length = 0;
  };
  for (const [seq, change] of changes.entries()) {
    const row = renderer.render(change, seq);
    // Four bytes are the most that a character of UTF-16 becomes three of.
    if (row.length > (packetBytes - FRAME_BYTES) / 3) assertFits(table, change, row, packetBytes);
    if (length > 0 && length + row.length > CHUNK) await flush();
    rows.push(row);
    length += row.length;
  }
  await flush();
  for (const [column, seqs] of renderer.withoutLabel)
    await stageNoLabel(client, table, column, seqs);
  return { masks: renderer.masks, counts: renderer.counts };
}

function assertFits(
  table: ApplyTable,
  change: NetChange | BagChange,
  row: string,
  packetBytes: number,
): void {
  if (Buffer.byteLength(row) + FRAME_BYTES <= packetBytes) return;
  throw new RowRefused('a row is longer than a statement may be', {
    table: table.label,
    ...('key' in change && { key: describeKey(table, change.key) }),
    detail: `raise max_allowed_packet of the shadow server above ${String(packetBytes)}`,
  });
}

/**
 * An enum's index 0, which a strict session takes from no literal. IGNORE touches nothing but this
 * one column of the staging table; from there the value goes on as it is.
 */
async function stageNoLabel(
  client: Client,
  table: ApplyTable,
  column: ApplyColumn,
  seqs: readonly number[],
): Promise<void> {
  await client.run(
    `UPDATE IGNORE ${table.stage} SET ${column.staged} = '' WHERE seq IN (${seqs.join(', ')})`,
  );
}

/** Renders changes of one table as rows of a VALUES list. */
class RowRenderer {
  readonly masks = new Map<number, readonly boolean[]>();
  readonly counts: Record<StagedOp, number> = { f: 0, p: 0, q: 0, d: 0 };
  readonly withoutLabel = new Map<ApplyColumn, number[]>();
  readonly #table: ApplyTable;
  readonly #keyPosition: readonly number[];
  readonly #noFrom: readonly string[];
  readonly #checked = new WeakSet<RowShape>();
  readonly #maskNumbers = new Map<string, number>();

  constructor(table: ApplyTable) {
    this.#table = table;
    this.#keyPosition = table.columns.map((column) =>
      table.key.findIndex((key) => key.schema.name === column.schema.name),
    );
    this.#noFrom = table.key.map(() => 'NULL');
  }

  render(change: NetChange | BagChange, seq: number): string {
    switch (change.kind) {
      case 'delete': {
        const key = this.#keyLiterals(change.key, change.key);
        const fields = this.#keyPosition.map((at) => (at < 0 ? 'NULL' : (key[at] ?? 'NULL')));
        return this.#row('d', fields, this.#noFrom, seq, 0);
      }
      case 'upsert':
        return this.#upsert(change, seq);
      case 'add':
      case 'remove':
        return this.#bag(change, seq);
      default:
        return unreachable(change);
    }
  }

  #upsert(change: Extract<NetChange, { kind: 'upsert' }>, seq: number): string {
    this.#checkColumns(change.image.shape);
    const key = this.#keyLiterals(change.key, change.key);
    const mask: boolean[] = [];
    const fields = this.#table.columns.map((column, i) => {
      const at = this.#keyPosition[i] ?? -1;
      if (at >= 0) {
        mask.push(true);
        return key[at] ?? 'NULL';
      }
      const value = imageValue(change.image, column.schema.name);
      mask.push(value !== UNAVAILABLE);
      return value === UNAVAILABLE ? 'NULL' : this.#field(value, column, change.key, seq);
    });
    if (!mask.includes(false)) return this.#row('f', fields, this.#noFrom, seq, 0);
    const from = this.#keyLiterals(change.from, change.key);
    return this.#row(change.complete ? 'q' : 'p', fields, from, seq, this.#maskNumber(mask));
  }

  /** Columns that were not sent are NULL here, and neither compared nor written. */
  #bag({ kind, image }: BagChange, seq: number): string {
    this.#checkColumns(image.shape);
    const fields = this.#table.columns.map((column) => {
      const value = imageValue(image, column.schema.name);
      return value === UNAVAILABLE ? 'NULL' : this.#field(value, column, [], seq);
    });
    return this.#row(kind === 'add' ? 'f' : 'd', fields, this.#noFrom, seq, 0);
  }

  #keyLiterals(key: NetChange['key'], named: NetChange['key']): readonly string[] {
    return this.#table.key.map((column, i) => {
      const text = this.#literal(key[i] ?? null, column, named);
      return text === NO_LABEL ? `''` : text;
    });
  }

  #field(
    value: Exclude<ColumnValue, typeof UNAVAILABLE>,
    column: ApplyColumn,
    key: NetChange['key'],
    seq: number,
  ): string {
    // No value of this engine is ever left out, so that a NULL in doubt is a NULL.
    const text = this.#literal(value === UNSURE ? null : value, column, key);
    if (text !== NO_LABEL) return text;
    const seqs = this.withoutLabel.get(column) ?? [];
    seqs.push(seq);
    this.withoutLabel.set(column, seqs);
    return 'NULL';
  }

  #literal(
    value: KnownValue,
    column: ApplyColumn,
    key: NetChange['key'],
  ): string | typeof NO_LABEL {
    try {
      return renderLiteral(value, column.schema.type);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      throw new RowRefused('a value does not fit its column', {
        table: this.#table.label,
        column: column.schema.name,
        ...(key.length > 0 && { key: describeKey(this.#table, key) }),
        detail: error.message,
      });
    }
  }

  #row(
    op: StagedOp,
    fields: readonly string[],
    from: readonly string[],
    seq: number,
    mask: number,
  ): string {
    this.counts[op] += 1;
    return `(${[...fields, ...from].join(', ')}, ${String(seq)}, '${op}', ${String(mask)})`;
  }

  #maskNumber(mask: readonly boolean[]): number {
    const text = mask.map(Number).join('');
    const known = this.#maskNumbers.get(text);
    if (known !== undefined) return known;
    const number = this.#maskNumbers.size + 1;
    this.#maskNumbers.set(text, number);
    this.masks.set(number, mask);
    return number;
  }

  /** An image may lack columns, but must not bring one the table has not. */
  #checkColumns(shape: RowShape): void {
    if (this.#checked.has(shape)) return;
    const known = new Set(this.#table.schema.columns.map((column) => column.name));
    for (const column of shape.columns) {
      if (known.has(column)) continue;
      throw new UnderstudyError('COLUMN_UNKNOWN', 'an event has a column the table lacks', {
        table: this.#table.label,
        column,
      });
    }
    this.#checked.add(shape);
  }
}

/** A key for messages: `id=7` or `a=1, b=x`. */
export function describeKey(table: ApplyTable, key: readonly KnownValue[]): string {
  return table.key
    .map((column, i) => `${column.schema.name}=${renderText(key[i] ?? null) ?? 'null'}`)
    .join(', ');
}
