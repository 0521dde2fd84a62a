/**
 * Fills a trunk with rows copied from production. A range is one transaction { fence asserted, rows,
 * that the range is in }; the ranges of a table are of one snapshot. A table of which only some are in
 * when its snapshot is gone is emptied and copied anew.
 */
import { parsePartitionKey, partitionKey, type OffsetMap } from '../../../change/position.ts';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import {
  BACKUP_MARK,
  type AdoptedBackup,
  type BootstrapState,
  type CopyRange,
  type CopyTarget,
  type CopyWriter,
  type Refill,
  type RowBytes,
  type TableToCopy,
} from '../../copying.ts';
import type { Fence } from '../../dialect.ts';
import { prepareActs } from '../apply/apply.ts';
import { LENIENT } from '../production/copy-rows.ts';
import type { ServerAddress } from '../session/address.ts';
import { Client, LENIENT_MODE, SQL_MODE, transaction } from '../session/client.ts';
import { NOW_US } from '../session/clock.ts';
import { toUnderstudyError } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import { companionName, literal, MOST_WRITERS, quote, type HolderRole } from '../session/names.ts';
import { deadLetterTables } from './dead-letters.ts';
import { assertAlone, claimPresence } from './fence.ts';

/** Nobody else works in the trunk, but what a crash left may still end. */
const LOCK_WAIT_S = 30;
/** What a statement has beside its rows. */
const FRAME_BYTES = 64 * 1024;

export interface CopyTargetParts {
  readonly address: ServerAddress;
  readonly flavour: Flavour;
  readonly database: string;
  /** Of one moment, and writing nothing. */
  readonly read: <T>(doing: string, fn: (client: Client) => Promise<T>) => Promise<T>;
  /** One fenced transaction. */
  readonly act: (
    fence: Fence,
    doing: string,
    fn: (client: Client) => Promise<unknown>,
  ) => Promise<void>;
}

export class MySqlCopyTarget implements CopyTarget {
  readonly #parts: CopyTargetParts;
  readonly #writing = new Set<number>();

  constructor(parts: CopyTargetParts) {
    this.#parts = parts;
  }

  state(): Promise<BootstrapState | null> {
    return this.#parts.read('read how the copy stands', (client) =>
      readState(client, this.#parts.database),
    );
  }

  begin(
    fence: Fence,
    start: { readonly offsets: OffsetMap; readonly transaction: string },
  ): Promise<void> {
    const { act, database } = this.#parts;
    return act(fence, 'begin the copy', async (client) => {
      const { rows } = await client.run(
        `UPDATE ${this.#table('bootstrap')} SET mark = ? WHERE mark IS NULL`,
        [start.transaction],
      );
      if (rows !== 1)
        throw new UnderstudyError('INTERNAL', 'the copy was begun before', { database });
      await insertOffsets(client, this.#table('position'), start.offsets);
    });
  }

  refill(fence: Fence, refill: Refill): Promise<void> {
    return this.#parts.act(fence, 'begin to copy tables anew', async (client) => {
      const { tables, parts, topics, topicIds } = refill;
      if (tables.length > 0) {
        await this.#forget(client);
        await client.run(
          `INSERT INTO ${this.#table('bootstrap')} (started_us, mark) VALUES (${NOW_US}, ?)`,
          [refill.transaction],
        );
      }
      for (const { schema, name } of tables) {
        await client.run(`INSERT INTO ${this.#table('bootstrap_only')} VALUES (?, ?)`, [
          ...[schema, name],
        ]);
      }
      // What was applied ahead of a position is of that position.
      for (const topic of topics) {
        for (const name of ['position', 'ahead', 'topic']) {
          await client.run(`DELETE FROM ${this.#table(name)} WHERE topic = ?`, [topic]);
        }
      }
      await insertOffsets(client, this.#table('position'), refill.offsets);
      for (const [topic, id] of topicIds) {
        await client.run(`INSERT INTO ${this.#table('topic')} VALUES (?, ?)`, [topic, id]);
      }
      for (const { schema, name } of [...tables, ...parts])
        await this.#forgetDead(client, schema, name);
    });
  }

  startTables(
    fence: Fence,
    { snapshot, marker }: { readonly snapshot: string; readonly marker: bigint },
    tables: readonly TableToCopy[],
  ): Promise<void> {
    return this.#parts.act(fence, 'start to copy tables', async (client) => {
      for (const { table, ranges, bytes } of tables) {
        const relation = quote(this.#parts.database, table.name);
        // What a crash left. Not by TRUNCATE, which would commit, and be of no fence.
        const filled = await client.rows(`SELECT 1 AS filled FROM ${relation} LIMIT 1`);
        if (filled.length > 0) await client.run(`DELETE FROM ${relation}`);
        await client.run(
          `REPLACE INTO ${this.#table('bootstrap_table')}
            (table_schema, table_name, snapshot, marker, ranges, bytes) VALUES (?, ?, ?, ?, ?, ?)`,
          [table.schema, table.name, snapshot, marker, ranges, bytes],
        );
      }
    });
  }

  async openWriter(fence: Fence): Promise<CopyWriter> {
    const { address, database, flavour } = this.#parts;
    const place = this.#freePlace();
    let client: Client | null = null;
    try {
      client = await Client.connect(address, database);
      await prepareActs(client, flavour);
      await client.run(`SET SESSION innodb_lock_wait_timeout = ${String(LOCK_WAIT_S)}`);
      const role: HolderRole = `copy${place}`;
      await claimPresence(client, database, fence, role);
      const { bytes } = await client.row<{ bytes: string }>('SELECT @@max_allowed_packet AS bytes');
      return this.#writer(client, fence, { place, packetBytes: Number(bytes) });
    } catch (error) {
      client?.destroy();
      this.#writing.delete(place);
      throw this.#failure('prepare a session for the copy', error);
    }
  }

  finishTable(fence: Fence, table: TableId): Promise<void> {
    return this.#parts.act(fence, 'finish a table', (client) =>
      client.run(
        `UPDATE ${this.#table('bootstrap_table')} SET done = 1
          WHERE table_schema = ? AND table_name = ? AND ranges_done = ranges`,
        [table.schema, table.name],
      ),
    );
  }

  handOver(fence: Fence, ends: OffsetMap): Promise<void> {
    return this.#parts.act(fence, 'hand over to the stream', async (client) => {
      await insertOffsets(client, this.#table('bootstrap_end'), ends);
      await client.run(`UPDATE ${this.#table('bootstrap')} SET copied = 1`);
    });
  }

  adopt(fence: Fence, backup: AdoptedBackup): Promise<void> {
    const { act, database } = this.#parts;
    return act(fence, 'take over a backup', async (client) => {
      const { rows } = await client.run(
        `UPDATE ${this.#table('bootstrap')} SET copied = 1 WHERE mark = ? AND copied = 0`,
        [BACKUP_MARK],
      );
      if (rows !== 1) {
        throw new UnderstudyError('INTERNAL', 'no backup is to be taken over', { database });
      }
      const { offsets, ends, snapshot, marker, tables } = backup;
      await insertOffsets(client, this.#table('position'), offsets);
      await insertOffsets(client, this.#table('bootstrap_end'), ends);
      for (const { schema, name } of tables) {
        await client.run(
          `INSERT INTO ${this.#table('bootstrap_table')}
            (table_schema, table_name, snapshot, marker, done, ranges, bytes)
            VALUES (?, ?, ?, ?, 1, 0, 0)`,
          [schema, name, snapshot, marker],
        );
      }
    });
  }

  forget(fence: Fence): Promise<void> {
    return this.#parts.act(fence, 'forget the copy', (client) => this.#forget(client));
  }

  async #forget(client: Client): Promise<void> {
    for (const name of ['bootstrap_table', 'bootstrap_end', 'bootstrap_only', 'bootstrap']) {
      await client.run(`DELETE FROM ${this.#table(name)}`);
    }
  }

  /** None of the table's rows is parked or set aside any more. */
  async #forgetDead(client: Client, schema: string, name: string): Promise<void> {
    const where = `table_schema = ${literal(schema)} AND table_name = ${literal(name)}`;
    await client.run(`DELETE FROM ${this.#table('parked')} WHERE ${where}`);
    const letters = await client.rows<{ readonly id: string }>(
      `SELECT id FROM ${this.#table('dead_letter')} WHERE ${where}`,
    );
    const ids = letters.map(({ id }) => id);
    await deadLetterTables(client, this.#parts.database).remove(ids);
  }

  #writer(
    client: Client,
    fence: Fence,
    { place, packetBytes }: { readonly place: number; readonly packetBytes: number },
  ): CopyWriter {
    const { database } = this.#parts;
    return {
      write: async (range, columns, rows) => {
        try {
          return await transaction(client, async () => {
            await assertAlone(client, fence, { doing: 'copy rows', database });
            const count = await writeRows(client, rows, {
              ...{ table: range.table, columns, database, packetBytes },
            });
            await this.#noteRange(client, range, count);
            return count;
          });
        } catch (error) {
          throw this.#failure('write copied rows', error, range.table);
        }
      },
      [Symbol.asyncDispose]: async () => {
        await client.end();
        this.#writing.delete(place);
      },
    };
  }

  async #noteRange(client: Client, { table, bytes }: CopyRange, rows: number): Promise<void> {
    await client.run(
      `UPDATE ${this.#table('bootstrap_table')}
        SET ranges_done = ranges_done + 1, \`rows\` = \`rows\` + ?, bytes_done = bytes_done + ?
        WHERE table_schema = ? AND table_name = ?`,
      [rows, bytes, table.schema, table.name],
    );
  }

  #freePlace(): number {
    for (let place = 0; place < MOST_WRITERS; place += 1) {
      if (this.#writing.has(place)) continue;
      this.#writing.add(place);
      return place;
    }
    throw new UnderstudyError('INTERNAL', 'more writers than can be');
  }

  #table(name: string): string {
    return quote(companionName(this.#parts.database), name);
  }

  #failure(doing: string, error: unknown, table?: TableId): UnderstudyError {
    const { address, database } = this.#parts;
    const context = { database, ...(table !== undefined && { table: tableName(table) }) };
    return toUnderstudyError(error, {
      ...{ doing, context, otherwise: 'APPLY_FAILED', address: address.describe(database) },
    });
  }
}

async function writeRows(
  client: Client,
  rows: RowBytes,
  into: {
    readonly table: TableId;
    readonly columns: readonly string[];
    readonly database: string;
    readonly packetBytes: number;
  },
): Promise<number> {
  const { table, columns, database, packetBytes } = into;
  const list = columns.map((column) => quote(column)).join(', ');
  const head = `INSERT INTO ${quote(database, table.name)} (${list}) VALUES `;
  let written = 0;
  for await (const piece of rows) {
    if (piece.length + FRAME_BYTES > packetBytes) {
      throw new UnderstudyError('APPLY_FAILED', 'a row is longer than a statement may be', {
        table: tableName(table),
        detail: `raise max_allowed_packet of the shadow server above ${String(packetBytes)}`,
      });
    }
    const sql = head + Buffer.from(piece.buffer, piece.byteOffset + 1, piece.length - 1).toString();
    const lenient = piece[0] === LENIENT;
    if (lenient) await client.run(`SET SESSION sql_mode = '${LENIENT_MODE}'`);
    written += (await client.run(sql)).rows;
    if (lenient) await client.run(`SET SESSION sql_mode = '${SQL_MODE}'`);
  }
  return written;
}

async function insertOffsets(client: Client, into: string, offsets: OffsetMap): Promise<void> {
  if (offsets.size === 0) return;
  const values = [...offsets].map(([key, offset]) => {
    const { topic, partition } = parsePartitionKey(key);
    return `(${literal(topic)}, ${String(partition)}, ${String(offset)})`;
  });
  // In the tables' own order of columns.
  await client.run(`INSERT INTO ${into} VALUES ${values.join(', ')}`);
}

interface TableRow {
  readonly schema: string;
  readonly name: string;
  readonly snapshot: string;
  readonly marker: string;
  readonly done: number;
  readonly ranges: number;
  readonly rangesDone: number;
  readonly rows: string;
  readonly bytes: string;
  readonly bytesDone: string;
}

async function readState(client: Client, database: string): Promise<BootstrapState | null> {
  const companion = companionName(database);
  const [row] = await client.rows<{ startedMs: string; mark: string | null; copied: number }>(
    `SELECT started_us DIV 1000 AS startedMs, mark, copied FROM ${quote(companion, 'bootstrap')}`,
  );
  if (row === undefined) return null;
  const tables = await client.rows<TableRow>(
    `SELECT table_schema AS \`schema\`, table_name AS name, snapshot, marker, done, ranges,
        ranges_done AS rangesDone, \`rows\`, bytes, bytes_done AS bytesDone
      FROM ${quote(companion, 'bootstrap_table')} ORDER BY 1, 2`,
  );
  const ends = await client.rows<{ topic: string; partition: number; end: string }>(
    `SELECT topic, \`partition\`, end_offset AS \`end\` FROM ${quote(companion, 'bootstrap_end')}`,
  );
  const only = await client.rows<{ readonly schema: string; readonly name: string }>(
    `SELECT table_schema AS \`schema\`, table_name AS name
      FROM ${quote(companion, 'bootstrap_only')} ORDER BY 1, 2`,
  );
  return {
    startedAt: new Date(Number(row.startedMs)),
    mark: row.mark,
    tables: tables.map(({ schema, name, ...table }) => ({
      ...{ ...table, table: { schema, name }, marker: BigInt(table.marker) },
      done: table.done === 1,
      rows: Number(table.rows),
      bytes: Number(table.bytes),
      bytesDone: Number(table.bytesDone),
    })),
    only: only.length === 0 ? null : only.map(({ schema, name }) => ({ schema, name })),
    ends:
      row.copied === 1
        ? new Map(ends.map((end) => [partitionKey(end.topic, end.partition), BigInt(end.end)]))
        : null,
  };
}
