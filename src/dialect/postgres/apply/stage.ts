import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { imageValue, UNSURE, type RowShape } from '../../../change/value.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { NetChange } from '../../../order/change-batch.ts';
import type { ColumnType } from '../../../schema/table-schema.ts';
import { unreachable } from '../../../util/assert.ts';
import type { ApplyTable } from './apply-table.ts';
import { applyFailure } from './apply-error.ts';
import { copyField, renderText } from '../session/types.ts';

/**
 * What a staged row asks for:
 * - `f`: the full image; insert it or overwrite what is there
 * - `s`: some columns, by the mask; the row is there and keeps the others
 * - `m`: some columns under a new key; the others come from the row with the old key (`f1`, …)
 * - `q`: a new row without some columns; if there is one already, by its old key (`f1`, … where it
 *   is another) or by its own, it keeps them; else the table's defaults stand
 * - `d`: no such row; with a mask: production has one, but it is parked (see parked-sql.ts)
 *
 * `mask` says which columns are known (null: all), `doubt` which of them, or of the kept ones, may
 * be NULL as well (null: none; see unknown-sql.ts).
 */
export type StagedOp = 'f' | 's' | 'm' | 'q' | 'd';

export type StagedCounts = Readonly<Record<StagedOp, number>>;

export interface Staged {
  readonly counts: StagedCounts;
  /** Rows with a column in doubt. */
  readonly doubts: number;
  /** Numbers (seq) of rows of kind `m` whose key was another row's: see NetChange. */
  readonly replacing: readonly number[];
}

/**
 * Name of a table's staging table: a temporary table of the session. It holds the shape, so that
 * a changed table gets a new one.
 */
function stageName(table: ApplyTable): string {
  const shape = [
    table.label,
    table.columns.map((column) => [column.schema.name, column.schema.type]),
    table.key.map((column) => column.schema.name),
  ];
  const hash = createHash('sha256').update(JSON.stringify(shape)).digest('hex').slice(0, 16);
  return table.aside ? `understudy_stage_${hash}_w` : `understudy_stage_${hash}`;
}

/** As statements name it. */
export function stageRelation(table: ApplyTable): string {
  return `pg_temp.${stageName(table)}`;
}

/** Names of staging tables, by what is known of them. */
export interface KnownStages {
  /** Committed: they stay as long as the session. */
  readonly known: Set<string>;
  /** Labels of tables of which one was filled in this transaction: a rollback may take it away. */
  readonly used: ReadonlySet<string>;
  /** Likewise, but by their names: made in it. */
  readonly made: Set<string>;
}

/**
 * Makes the staging tables that the session lacks, in the caller's transaction. A table that lost
 * columns, because somebody dropped their type with CASCADE, is made anew: at once, or when a
 * statement found them gone and the session was opened anew.
 */
export async function ensureStages(
  client: ClientBase,
  tables: readonly ApplyTable[],
  stages: KnownStages,
): Promise<void> {
  const unknown = tables.filter((table) => !stages.known.has(stageName(table)));
  if (unknown.length === 0) return;
  const there = await client.query<{ name: string; columns: number }>(
    `SELECT c.relname AS name, pg_catalog.count(*)::int4 AS columns
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() AND c.relname = ANY ($1)
       AND a.attnum > 0 AND NOT a.attisdropped GROUP BY c.relname`,
    [unknown.map(stageName)],
  );
  const columns = new Map(there.rows.map((row) => [row.name, row.columns]));
  for (const table of unknown) {
    const name = stageName(table);
    if (columns.get(name) === table.columns.length + table.key.length + STAGE_EXTRAS) {
      const isOld = !stages.used.has(table.label) && !stages.made.has(name);
      if (isOld) stages.known.add(name);
      continue;
    }
    if (columns.has(name)) await client.query(`DROP TABLE ${stageRelation(table)}`);
    await client.query(createStage(table));
    stages.made.add(name);
  }
}

/** seq, op, mask, doubt, own, what release-sql.ts notes: seen, held, freed; and blocked-sql.ts: refused, detail,
 * evicted, kept; and policy-sql.ts: restored. */
const STAGE_EXTRAS = 13;

/**
 * Types and collations are the table's own, so that keys compare as in the table; a domain is
 * replaced by its type, because deletes stage no more than the key.
 */
function createStage(table: ApplyTable): string {
  if (table.aside) {
    // The table itself may be held, so that it cannot be asked.
    return `CREATE TEMPORARY TABLE ${stageName(table)} ON COMMIT DELETE ROWS
      AS SELECT * FROM ${stageRelation({ ...table, aside: false })} WITH NO DATA`;
  }
  const columns = table.columns.map(({ name, staged, schema }) => {
    const cast = schema.type.domainOf === undefined ? '' : `::${schema.type.domainOf}`;
    return `t.${name}${cast} AS ${staged}`;
  });
  const from = table.key.map(({ name, from: staged, schema }) => {
    const cast = schema.type.domainOf === undefined ? '' : `::${schema.type.domainOf}`;
    return `t.${name}${cast} AS ${staged}`;
  });
  return `CREATE TEMPORARY TABLE ${stageName(table)} ON COMMIT DELETE ROWS AS
    SELECT ${[...columns, ...from].join(', ')}, 0::int4 AS seq, 'f'::"char" AS op,
      NULL::varbit AS mask, NULL::varbit AS doubt, false AS own,
      false AS seen, false AS held, false AS freed, NULL::text AS refused, NULL::text AS detail,
      false AS evicted, NULL::jsonb AS kept, false AS restored
    FROM ${table.rows} t WITH NO DATA`;
}

/** Bytes of COPY text handed to the connection at a time. */
const CHUNK = 64 * 1024;

/**
 * Streams changes into the table's (empty) staging table. `seq` is the change's place in the list.
 * Errors: COLUMN_UNKNOWN, and APPLY_FAILED naming the key and column the server refused.
 */
export async function stageChanges(
  client: ClientBase,
  table: ApplyTable,
  changes: readonly NetChange[],
): Promise<Staged> {
  const counts: Record<StagedOp, number> = { f: 0, s: 0, m: 0, q: 0, d: 0 };
  const line = new StageLine(table);
  const targets = [
    ...table.columns.map((column) => column.staged),
    ...table.key.map((column) => column.from),
  ];
  const copy = client.query(
    copyFrom(
      `COPY ${stageRelation(table)} (${targets.join(', ')}, seq, op, mask, doubt, own) FROM STDIN`,
    ),
  );
  try {
    const lines = stageLines(line, changes, counts);
    await pipeline(Readable.from(inChunks(lines), { objectMode: true }), copy);
  } catch (error) {
    if (error instanceof UnderstudyError) throw error;
    throw applyFailure(error, table.label, {
      key: (line) => {
        const change = changes[line - 1];
        return change === undefined ? undefined : describeKey(table, change);
      },
      column: (staged) => table.columns.find((column) => column.staged === staged)?.schema.name,
    });
  }
  const replacing = changes.flatMap((change, seq) =>
    change.kind === 'upsert' && change.replaces === true && !change.complete ? [seq] : [],
  );
  return { counts, doubts: line.doubts, replacing };
}

function* stageLines(
  line: StageLine,
  changes: readonly NetChange[],
  counts: Record<StagedOp, number>,
): Generator<string> {
  for (const [seq, change] of changes.entries()) {
    const { op, text } = line.render(change, seq);
    counts[op] += 1;
    yield text;
  }
}

/** Lines put together, so that each piece is worth a write. */
export function* inChunks(lines: Iterable<string>): Generator<string> {
  let chunk = '';
  for (const line of lines) {
    chunk += line;
    if (chunk.length >= CHUNK) {
      yield chunk;
      chunk = '';
    }
  }
  if (chunk !== '') yield chunk;
}

/** Neither mask nor doubt. */
const NO_BITS = '\\N\t\\N';

/** Renders changes of one table as lines of COPY text. */
class StageLine {
  readonly #table: ApplyTable;
  readonly #keyPosition: readonly number[];
  readonly #noFrom: string;
  readonly #checked = new WeakSet<RowShape>();
  /** Rows rendered so far that have a column in doubt. */
  doubts = 0;

  constructor(table: ApplyTable) {
    this.#table = table;
    this.#keyPosition = table.columns.map((column) =>
      table.key.findIndex((key) => key.schema.name === column.schema.name),
    );
    this.#noFrom = '\t\\N'.repeat(table.key.length);
  }

  render(change: NetChange, seq: number): { readonly op: StagedOp; readonly text: string } {
    const key = this.#keyFields(change.key);
    switch (change.kind) {
      case 'delete': {
        const fields = this.#keyPosition.map((at) => (at < 0 ? '\\N' : (key[at] ?? '\\N')));
        return this.#line('d', fields, this.#noFrom, seq);
      }
      case 'upsert': {
        this.#checkColumns(change.image.shape);
        let mask = '';
        let doubt = '';
        const fields = this.#table.columns.map((column, i) => {
          const at = this.#keyPosition[i] ?? -1;
          const value = at < 0 ? imageValue(change.image, column.schema.name) : null;
          const known = typeof value !== 'symbol';
          mask += known ? '1' : '0';
          const doubted = value === UNSURE || change.doubted?.has(column.schema.name) === true;
          doubt += doubted ? '1' : '0';
          if (at >= 0) return key[at] ?? '\\N';
          return known ? field(value, column.schema.type) : '\\N';
        });
        const doubtful = doubt.includes('1');
        if (doubtful) this.doubts += 1;
        const bits = doubtful ? `${mask}\t${doubt}` : `${mask}\t\\N`;
        if (!mask.includes('0')) {
          return this.#line('f', fields, this.#noFrom, seq, doubtful ? bits : NO_BITS);
        }
        const from = this.#keyFields(change.from);
        const moved = from.some((text, i) => text !== key[i]);
        const op = change.complete ? 'q' : moved ? 'm' : 's';
        const fromFields = moved ? from.map((text) => `\t${text}`).join('') : this.#noFrom;
        return this.#line(op, fields, fromFields, seq, bits);
      }
      default:
        return unreachable(change);
    }
  }

  #keyFields(key: NetChange['key']): readonly string[] {
    return this.#table.key.map((column, i) => field(key[i] ?? null, column.schema.type));
  }

  #line(
    op: StagedOp,
    fields: readonly string[],
    from: string,
    seq: number,
    bits: string = NO_BITS,
  ): { readonly op: StagedOp; readonly text: string } {
    return { op, text: `${fields.join('\t')}${from}\t${seq}\t${op}\t${bits}\tf\n` };
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

function field(value: Parameters<typeof renderText>[0], type: ColumnType): string {
  return copyField(renderText(value, type));
}

/** A key for messages: `id=7` or `a=1, b=x`. */
function describeKey(table: ApplyTable, change: NetChange): string {
  return table.key
    .map((column, i) => {
      const text = renderText(change.key[i] ?? null, column.schema.type) ?? 'null';
      return `${column.schema.name}=${text}`;
    })
    .join(', ');
}
