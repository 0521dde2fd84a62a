/**
 * The short way of new rows: copied into their table itself, without a staging table. A hint says
 * that they are new (see NetChange), and the table's own constraints say whether it was right: a row
 * that is there already refuses the copy, which is undone, and they go the long way.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { DatabaseError, type ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { KnownValue, RowShape } from '../../../change/value.ts';
import type { NetChange } from '../../../order/change-batch.ts';
import { copyField, renderText } from '../session/types.ts';
import { applyFailure, isOfTheRow } from './apply-error.ts';
import type { ApplyTable } from './apply-table.ts';
import { inChunks } from './stage.ts';

type Upsert = Extract<NetChange, { kind: 'upsert' }>;

const SAVEPOINT = 'understudy_fresh';

/** After so many batches at the latest it is tried again whether a table's rows are new. */
const MAX_PASSED = 64;

/** Of one session: which tables' rows were not new when it was tried last. */
export class FreshTables {
  readonly #tables = new Map<string, { penalty: number; left: number }>();

  /** Whether it is worth trying with this batch. */
  mayCopy({ label }: ApplyTable): boolean {
    const table = this.#tables.get(label);
    if (table === undefined || table.left === 0) return true;
    table.left -= 1;
    return false;
  }

  /** A copy costs what it wrote until it was refused: the more often it is, the seldomer it is tried. */
  tried({ label }: ApplyTable, wereNew: boolean): void {
    if (wereNew) {
      this.#tables.delete(label);
      return;
    }
    const penalty = Math.min(MAX_PASSED, (this.#tables.get(label)?.penalty ?? 1) * 2);
    this.#tables.set(label, { penalty, left: penalty });
  }
}

/**
 * Whether all changes are of rows that seem new, with every column, in a table that anything in
 * their way is noticed in: a session in replica role checks no deferrable constraint.
 */
export function areFresh(table: ApplyTable, changes: readonly NetChange[]): boolean {
  if (table.journal !== null || table.keyDeferrable || table.unchecked.length > 0) return false;
  const whole = new WeakSet<RowShape>();
  const isWhole = (shape: RowShape): boolean => {
    if (whole.has(shape)) return true;
    if (shape.columns.length < table.columns.length) return false;
    if (!table.columns.every(({ schema }) => shape.index.has(schema.name))) return false;
    const known = new Set(table.schema.columns.map(({ name }) => name));
    if (!shape.columns.every((name) => known.has(name))) return false;
    whole.add(shape);
    return true;
  };
  return changes.every(
    (change) =>
      change.kind === 'upsert' &&
      change.fresh === true &&
      change.complete &&
      change.doubted === undefined &&
      isWhole(change.image.shape),
  );
}

/**
 * Copies rows for which `areFresh` holds, in the caller's transaction. False if the table refused
 * them for what they hold: then nothing was written. Errors: APPLY_BLOCKED, SHADOW_UNREACHABLE,
 * APPLY_FAILED.
 */
export async function copyFresh(
  client: ClientBase,
  table: ApplyTable,
  changes: readonly NetChange[],
): Promise<boolean> {
  const columns = table.columns.map(({ name }) => name).join(', ');
  const copy = client.query(
    copyFrom(`SAVEPOINT ${SAVEPOINT}; COPY ${table.relation} (${columns}) FROM STDIN;
      RELEASE SAVEPOINT ${SAVEPOINT}`),
  );
  try {
    await pipeline(Readable.from(inChunks(lines(table, changes)), { objectMode: true }), copy);
  } catch (error) {
    if (!(error instanceof DatabaseError) || !isOfTheRow(error)) {
      throw applyFailure(error, table.label);
    }
    await client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}; RELEASE SAVEPOINT ${SAVEPOINT}`);
    return false;
  }
  return true;
}

function* lines(table: ApplyTable, changes: readonly NetChange[]): Generator<string> {
  const known = new Map<RowShape, readonly number[]>();
  // The key's own words, as on the long way.
  const ofKey = table.columns.map(({ schema }) => table.schema.key.indexOf(schema.name));
  const types = table.columns.map(({ schema }) => schema.type);
  for (const change of changes as readonly Upsert[]) {
    const { shape, values } = change.image;
    let places = known.get(shape);
    if (places === undefined) {
      places = table.columns.map(({ schema }) => shape.index.get(schema.name) ?? -1);
      known.set(shape, places);
    }
    let line = '';
    for (let i = 0; i < types.length; i += 1) {
      const at = ofKey[i] ?? -1;
      const value = at >= 0 ? change.key[at] : values[places[i] ?? -1];
      if (i > 0) line += '\t';
      line += copyField(renderText((value ?? null) as KnownValue, types[i]));
    }
    yield `${line}\n`;
  }
}
