/**
 * Writes changes of a table without key. A row is addressed by the digest of all columns that were
 * sent, each in a form that tells apart what the engine's own comparison does not: spellings that a
 * collation holds equal, 0 and -0, NULL and ''. Of several equal rows any one is taken.
 *
 * There is no index over such rows: a batch that removes some reads the table twice, and once more
 * for every removed row that has twins which stay.
 */
import type { RowShape } from '../../../change/value.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { BagChange } from '../../../order/change-batch.ts';
import type { ColumnType } from '../../../schema/table-schema.ts';
import { unreachable } from '../../../util/assert.ts';
import type { Client } from '../session/client.ts';
import { literal } from '../session/names.ts';
import { applyFailure } from './apply-error.ts';
import type { ApplyColumn, ApplyTable } from './apply-table.ts';
import { stageChanges } from './stage.ts';

/**
 * In the caller's READ COMMITTED transaction; returns how many changes. The staging table exists.
 * Nobody else writes to the table. ROW_INCOMPLETE if a row to be removed is not there.
 */
export async function applyBag(
  client: Client,
  table: ApplyTable,
  changes: readonly BagChange[],
  packetBytes: number,
): Promise<number> {
  for (const part of byShape(changes)) {
    await client.run(`DELETE FROM ${table.stage}`);
    await stageChanges(client, table, part, packetBytes);
    const sent = part[0]?.image.shape;
    const columns = table.columns.filter((column) => sent?.index.has(column.schema.name) === true);
    try {
      await applyPart(client, table, columns);
    } catch (error) {
      throw applyFailure(error, table.label);
    }
  }
  return changes.length;
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

async function applyPart(
  client: Client,
  table: ApplyTable,
  columns: readonly ApplyColumn[],
): Promise<void> {
  const staged = await client.rows<StagedChange>(
    `SELECT s.seq, s.op, ${digest(columns, 's')} AS digest FROM ${table.stage} s ORDER BY s.seq`,
  );
  const { additions, removals } = net(staged);
  if (removals.size > 0) await remove(client, table, { columns, removals });
  if (additions.size === 0) return;
  await client.run(
    `INSERT INTO ${table.relation} (${columns.map((column) => column.name).join(', ')})
      SELECT ${columns.map((column) => `s.${column.staged}`).join(', ')}
      FROM ${table.stage} s WHERE s.seq IN (${[...additions].join(', ')}) ORDER BY s.seq`,
  );
}

interface StagedChange {
  readonly seq: number;
  readonly op: 'f' | 'd';
  readonly digest: string;
}

/**
 * Rows that were added and then removed are none. What is left to remove was there before the
 * first addition, so removals go first.
 */
function net(staged: readonly StagedChange[]): {
  readonly additions: ReadonlySet<number>;
  /** How many, by digest. */
  readonly removals: ReadonlyMap<string, number>;
} {
  const added = new Map<string, number[]>();
  const additions = new Set<number>();
  const removals = new Map<string, number>();
  for (const { seq, op, digest: row } of staged) {
    const same = added.get(row) ?? [];
    added.set(row, same);
    if (op === 'f') {
      same.push(seq);
      additions.add(seq);
      continue;
    }
    const passing = same.pop();
    if (passing === undefined) removals.set(row, (removals.get(row) ?? 0) + 1);
    else additions.delete(passing);
  }
  return { additions, removals };
}

async function remove(
  client: Client,
  table: ApplyTable,
  what: {
    readonly columns: readonly ApplyColumn[];
    readonly removals: ReadonlyMap<string, number>;
  },
): Promise<void> {
  const { columns, removals } = what;
  const row = digest(columns, null);
  const there = await client.rows<{ digest: string; times: string | number }>(
    `SELECT ${row} AS digest, COUNT(*) AS times FROM ${table.relation}
      WHERE ${row} IN (${list(removals.keys())}) GROUP BY digest`,
  );
  const times = new Map(there.map((found) => [found.digest, Number(found.times)]));
  const whole: string[] = [];
  const some: [string, number][] = [];
  let missing = 0;
  for (const [image, wanted] of removals) {
    const found = times.get(image) ?? 0;
    missing += Math.max(wanted - found, 0);
    if (found === wanted) whole.push(image);
    else some.push([image, wanted]);
  }
  if (missing > 0) {
    const all = [...removals.values()].reduce((sum, wanted) => sum + wanted, 0);
    throw new UnderstudyError('ROW_INCOMPLETE', 'a row that production removed is not here', {
      table: table.label,
      detail: `${String(missing)} of ${String(all)}; the table has no key`,
    });
  }
  if (whole.length > 0) {
    await client.run(`DELETE FROM ${table.relation} WHERE ${row} IN (${list(whole)})`);
  }
  for (const [image, wanted] of some) {
    await client.run(
      `DELETE FROM ${table.relation} WHERE ${row} = ${literal(image)} LIMIT ${String(wanted)}`,
    );
  }
}

function list(digests: Iterable<string>): string {
  return Array.from(digests, literal).join(', ');
}

/** Of the columns of a staged row (`s`), or of one of the table's. */
function digest(columns: readonly ApplyColumn[], alias: 's' | null): string {
  const parts = columns.map((column) => {
    const name = alias === null ? column.name : `${alias}.${column.staged}`;
    return `COALESCE(${exactText(name, column.schema.type)}, '-')`;
  });
  return `SHA2(CONCAT_WS('|', ${parts.join(', ')}), 256)`;
}

/** A text without `|` that differs where values do, and is never `-`; NULL for NULL. */
function exactText(name: string, type: ColumnType): string {
  switch (type.kind) {
    case 'float32':
      // As text a float has six digits, but its sign even where it is 0.
      return `CONCAT(CAST(${name} AS CHAR), ' ', CAST(${name} + 0E0 AS CHAR))`;
    case 'float64':
    case 'boolean':
    case 'int16':
    case 'int32':
    case 'int64':
    case 'numeric':
    case 'money':
    case 'date':
    case 'time':
    case 'timetz':
    case 'timestamp':
    case 'timestamptz':
    case 'interval':
    case 'year':
      return `CAST(${name} AS CHAR)`;
    case 'enum':
    case 'set':
    case 'bits':
      // Their numbers: index 0 of an enum reads like an empty label.
      return `CAST(CAST(${name} AS UNSIGNED) AS CHAR)`;
    case 'json':
    case 'jsonb':
      return `SHA2(CAST(${name} AS CHAR), 256)`;
    case 'text':
    case 'char':
    case 'bytes':
    case 'geometry':
    case 'vector':
    case 'uuid':
    case 'xml':
    case 'composite':
    case 'range':
    case 'hstore':
    case 'point':
    case 'array':
    case 'other':
      // Bytes as they are stored, without a limit to their length.
      return `SHA2(${name}, 256)`;
    default:
      return unreachable(type.kind);
  }
}
