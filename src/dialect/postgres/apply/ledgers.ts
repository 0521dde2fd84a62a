/**
 * What a database does not know of production: unknown values and parked keys (unknown-sql.ts,
 * parked-sql.ts), as one table's step meets them. A batch that brings no value in doubt, of tables
 * without entries, costs no statement here.
 */
import type { ClientBase } from 'pg';
import { tableName } from '../../../change/table-id.ts';
import type { ApplyTable } from './apply-table.ts';
import { readImageTables } from '../overlay/images.ts';
import { imageId } from '../session/names.ts';
import { meltParked, PARKED, parkRows, releaseImages, releaseParked } from './parked-sql.ts';
import { queryAll } from '../session/query-all.ts';
import { judgeDoubts, saveUnknown, UNKNOWN_VALUE } from './unknown-sql.ts';
import type { StagedCounts } from './stage.ts';

/** What a session knows of the ledgers. Nobody but the fence's holder writes them. */
export interface Ledgers {
  /** Tables (by `tableName()`) that may have entries; only ever too many. */
  readonly tables: Set<string>;
  /** Names of the tables with images of rows that are set aside; only ever too many. */
  readonly images: Set<string>;
  /** The server can tell a compressed value (PostgreSQL 14). */
  readonly judges: boolean;
}

/** Reads which tables have entries. A database without our tables has none. */
export async function readLedgers(client: ClientBase): Promise<Ledgers> {
  const { rows } = await client.query<{ there: boolean; judges: boolean }>(
    `SELECT pg_catalog.to_regclass('${UNKNOWN_VALUE}') IS NOT NULL AS there,
       pg_catalog.to_regproc('pg_catalog.pg_column_compression') IS NOT NULL AS judges`,
  );
  const judges = rows[0]?.judges === true;
  const images = await readImageTables(client);
  if (rows[0]?.there !== true) return { tables: new Set(), images, judges };
  const found = await client.query<{ schema: string; name: string }>(
    `SELECT table_schema AS schema, table_name AS name FROM ${UNKNOWN_VALUE}
     UNION SELECT table_schema, table_name FROM ${PARKED}`,
  );
  return { tables: new Set(found.rows.map(tableName)), images, judges };
}

/** The ledgers' part of one step over staged rows: see apply-rows.ts for when each is called. */
export class StepLedgers {
  readonly #client: ClientBase;
  readonly #table: ApplyTable;
  readonly #ledgers: Ledgers;
  readonly #source: string | null;
  readonly #doubts: boolean;

  constructor(
    parts: {
      readonly client: ClientBase;
      readonly ledgers: Ledgers;
      readonly source: string | null;
    },
    table: ApplyTable,
    doubts: number,
  ) {
    this.#client = parts.client;
    this.#table = table;
    this.#ledgers = parts.ledgers;
    this.#source = parts.source;
    this.#doubts = doubts > 0;
  }

  /** There is something to do: entries of the table, or values in doubt. */
  get concerned(): boolean {
    return this.#doubts || this.#ledgers.tables.has(this.#table.label);
  }

  /** Before the old keys' rows are asked for: melts what is parked, judges by the old keys. */
  async beforeMoves(counts: StagedCounts): Promise<void> {
    if (!this.concerned) return;
    const { tables, judges } = this.#ledgers;
    const known = tables.has(this.#table.label);
    if (known && counts.m > 0) await this.#melt('m');
    if (known && counts.s > 0) await this.#melt('s');
    if (counts.m > 0) await this.#client.query(judgeDoubts(this.#table, 'm', judges));
  }

  /** After them: judges the rest by its own keys. */
  async afterMoves(): Promise<void> {
    if (!this.concerned) return;
    await this.#client.query(judgeDoubts(this.#table, 's', this.#ledgers.judges));
  }

  async #melt(op: 'm' | 's'): Promise<void> {
    const results = await queryAll(this.#client, [meltParked(this.#table, op)]);
    const rows = (results.at(-1)?.rows ?? []) as { readonly seq: number }[];
    await this.park(rows.map((row) => row.seq));
  }

  /** Parks staged rows, by their numbers. */
  async park(seqs: readonly number[]): Promise<void> {
    if (seqs.length === 0) return;
    this.#ledgers.tables.add(this.#table.label);
    await this.#client.query(parkRows(this.#table, seqs, this.#source));
  }

  /** When all is written. */
  async save(): Promise<void> {
    if (!this.concerned) return;
    this.#ledgers.tables.add(this.#table.label);
    const statements = [saveUnknown(this.#table, this.#source), releaseParked(this.#table)];
    const images = imageId(this.#table.schema.id);
    if (this.#ledgers.images.has(images.name)) statements.push(releaseImages(this.#table));
    await this.#client.query(statements.join('; '));
  }
}
