import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { imageValue, type RowImage } from '../../../change/value.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { BagChange } from '../../../order/change-batch.ts';
import { copyField, renderText } from '../session/types.ts';
import { applyFailure } from './apply-error.ts';
import type { ApplyTable } from './apply-table.ts';
import { stageRelation } from './stage.ts';

/** A whole row as COPY text: equal for equal rows of one decoder. */
export function renderBag(table: ApplyTable, image: RowImage): string {
  return table.columns
    .map(({ schema }) => {
      const value = imageValue(image, schema.name);
      return typeof value === 'symbol' ? '\\N' : copyField(renderText(value, schema.type));
    })
    .join('\t');
}

/**
 * Streams additions (`f`) and removals (`d`) of whole rows into the (empty) staging table of a
 * table without key. Errors: COLUMN_UNKNOWN, and APPLY_FAILED naming the column refused.
 */
export async function stageBag(
  client: ClientBase,
  table: ApplyTable,
  changes: readonly BagChange[],
): Promise<void> {
  const known = new Set(table.schema.columns.map((column) => column.name));
  for (const shape of new Set(changes.map((change) => change.image.shape))) {
    const column = shape.columns.find((name) => !known.has(name));
    if (column === undefined) continue;
    throw new UnderstudyError('COLUMN_UNKNOWN', 'an event has a column the table lacks', {
      table: table.label,
      column,
    });
  }
  const targets = table.columns.map((column) => column.staged).join(', ');
  const copy = client.query(
    copyFrom(`COPY ${stageRelation(table)} (${targets}, seq, op, own) FROM STDIN`),
  );
  const lines = function* (): Generator<string> {
    for (const [seq, { kind, image }] of changes.entries()) {
      yield `${renderBag(table, image)}\t${seq}\t${kind === 'add' ? 'f' : 'd'}\tf\n`;
    }
  };
  try {
    await pipeline(Readable.from(lines(), { objectMode: true }), copy);
  } catch (error) {
    throw applyFailure(error, table.label, {
      key: () => undefined,
      column: (staged) => table.columns.find((column) => column.staged === staged)?.schema.name,
    });
  }
}
