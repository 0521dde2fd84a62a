/**
 * Writes changes of a table without key. A row is addressed by the text of all columns that were
 * sent, as PostgreSQL prints the row: that tells 1.0 from 1.00 and NULL from '', and works for types
 * without equality. Of several equal rows any one is taken.
 *
 * Candidates' writes to such tables are not captured. In a rollout a row that is not there any more
 * is therefore passed over: the candidate took or changed it.
 */
import type { RowShape } from '../../../change/value.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { BagChange } from '../../../order/change-batch.ts';
import { applyFailure } from './apply-error.ts';
import type { StepContext, StepOutcome } from './step.ts';
import { clearStage } from './apply-sql.ts';
import type { ApplyColumn, ApplyTable } from './apply-table.ts';
import { renderBag, stageBag } from './stage-bag.ts';
import { stageRelation } from './stage.ts';

/** In the caller's READ COMMITTED transaction, with an empty staging table. */
export async function applyBag(
  context: Pick<StepContext, 'client'>,
  table: ApplyTable,
  changes: readonly BagChange[],
  options: { readonly passOver: boolean },
): Promise<StepOutcome> {
  let rows = 0;
  for (const [i, part] of byShape(changes).entries()) {
    if (i > 0) await context.client.query(clearStage(table));
    rows += await applyPart(context, table, part, options);
  }
  return { rows, owned: 0, repairs: 0 };
}

/** Stretches of changes that bring the same columns. */
function byShape(changes: readonly BagChange[]): readonly (readonly BagChange[])[] {
  const parts: BagChange[][] = [];
  let last: RowShape | null = null;
  for (const change of changes) {
    const { shape } = change.image;
    const same = last !== null && (shape === last || sameColumns(shape, last));
    if (same) parts.at(-1)?.push(change);
    else parts.push([change]);
    last = shape;
  }
  return parts;
}

function sameColumns(a: RowShape, b: RowShape): boolean {
  return a.columns.length === b.columns.length && a.columns.every((name) => b.index.has(name));
}

/**
 * Rows that were added and then removed are none. What is left to remove was there before the
 * first addition, so removals go first.
 */
function withoutPassing(table: ApplyTable, changes: readonly BagChange[]): readonly BagChange[] {
  const added = new Map<string, BagChange[]>();
  const left = new Set<BagChange>();
  for (const change of changes) {
    const text = renderBag(table, change.image);
    const same = added.get(text) ?? [];
    added.set(text, same);
    if (change.kind === 'add') {
      same.push(change);
      left.add(change);
      continue;
    }
    const passing = same.pop();
    if (passing === undefined) left.add(change);
    else left.delete(passing);
  }
  return [...left];
}

async function applyPart(
  { client }: Pick<StepContext, 'client'>,
  table: ApplyTable,
  part: readonly BagChange[],
  { passOver }: { readonly passOver: boolean },
): Promise<number> {
  const changes = withoutPassing(table, part);
  const [first] = changes;
  if (first === undefined) return 0;
  const columns = table.columns.filter((column) => first.image.shape.index.has(column.schema.name));
  const removals = changes.filter((change) => change.kind === 'remove').length;
  await stageBag(client, table, changes);
  try {
    if (removals > 0) {
      const removed = await client.query(removeRows(table, columns));
      const count = removed.rowCount ?? 0;
      if (count < removals && !passOver) {
        throw new UnderstudyError('ROW_INCOMPLETE', 'a row that production removed is not here', {
          table: table.label,
          detail: `${removals - count} of ${removals}; the table has no key`,
        });
      }
    }
    if (removals < changes.length) await client.query(addRows(table, columns));
  } catch (error) {
    throw applyFailure(error, table.label);
  }
  return changes.length;
}

function rowText(columns: readonly ApplyColumn[], alias: 't' | 's'): string {
  const side = alias === 't' ? 'name' : 'staged';
  return `ROW(${columns.map((column) => `${alias}.${column[side]}`).join(', ')})::text`;
}

/** Each staged removal takes one row; of equal ones as many as there are removals. */
function removeRows(table: ApplyTable, columns: readonly ApplyColumn[]): string {
  return `WITH gone AS (
      SELECT ${rowText(columns, 's')} AS image, pg_catalog.count(*) AS times
      FROM ${stageRelation(table)} s WHERE s.op = 'd' GROUP BY 1
    ), found AS (
      SELECT t.tableoid AS part, t.ctid AS place, g.times,
        pg_catalog.row_number() OVER (PARTITION BY g.image) AS number
      FROM ${table.rows} t JOIN gone g ON g.image = ${rowText(columns, 't')}
    )
    DELETE FROM ${table.rows} t USING found f
      WHERE t.tableoid = f.part AND t.ctid = f.place AND f.number <= f.times`;
}

/** Columns that were not sent get the shadow's defaults. */
function addRows(table: ApplyTable, columns: readonly ApplyColumn[]): string {
  return `INSERT INTO ${table.relation} (${columns.map((c) => c.name).join(', ')})
    OVERRIDING SYSTEM VALUE
    SELECT ${columns.map((c) => `s.${c.staged}`).join(', ')}
    FROM ${stageRelation(table)} s WHERE s.op = 'f' ORDER BY s.seq`;
}
