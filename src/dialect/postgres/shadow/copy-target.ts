/**
 * Fills a trunk with rows copied from production. A range is one transaction { fence asserted,
 * rows, that the range is in }; the ranges of a table are of one snapshot. A table of which only
 * some are in when its snapshot is gone is emptied and copied anew.
 */
import type pg from 'pg';
import { escapeIdentifier } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { pipeline } from 'node:stream/promises';
import { parsePartitionKey, partitionKey, type OffsetMap } from '../../../change/position.ts';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import {
  BACKUP_MARK,
  type AdoptedBackup,
  type BootstrapState,
  type CopiedTable,
  type CopyRange,
  type CopyTarget,
  type CopyWriter,
  type Refill,
  type RowBytes,
  type TableToCopy,
} from '../../copying.ts';
import type { Fence } from '../../dialect.ts';
import { applierSession } from '../apply/apply.ts';
import { assertFollows, readApplierRights, readSparedAccount } from '../apply/applier-rights.ts';
import { truncateTrunk } from '../apply/apply-truncate.ts';
import { PARKED } from '../apply/parked-sql.ts';
import { UNKNOWN_VALUE } from '../apply/unknown-sql.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { prepareComparison } from '../compare/comparison-session.ts';
import { toUnderstudyError } from '../session/errors.ts';
import { relation } from '../session/names.ts';
import { Connection, openSession, transaction, type ServerAddress } from '../session/session.ts';
import { putIndexesBack, setIndexesAside } from './copy-indexes.ts';
import { deadLetterTables } from './dead-letters.ts';
import { assertFence, showPresence } from './fence.ts';

/** Nobody else works in the trunk, but vacuum and what a crash left may still end. */
const LOCK_TIMEOUT = '30s';

export class PgCopyTarget implements CopyTarget, AsyncDisposable {
  readonly #address: ServerAddress;
  readonly #database: string;
  readonly #acts: Connection;
  #shown: { readonly client: pg.Client; readonly generation: bigint } | null = null;

  constructor(address: ServerAddress, database: string) {
    this.#address = address;
    this.#database = database;
    this.#acts = new Connection({ address, database, role: 'bootstrap', prepare: prepareCopy });
  }

  state(): Promise<BootstrapState | null> {
    const what = { doing: 'read how the copy stands', otherwise: 'READ_FAILED' } as const;
    return this.#acts.use(what, (client) =>
      transaction(
        client,
        () => readState(client),
        'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY',
      ),
    );
  }

  begin(
    fence: Fence,
    start: { readonly offsets: OffsetMap; readonly transaction: string },
  ): Promise<void> {
    return this.#act(fence, 'begin the copy', async (client) => {
      const { rowCount } = await client.query(
        'UPDATE understudy.bootstrap SET mark = $1 WHERE mark IS NULL',
        [start.transaction],
      );
      if (rowCount !== 1) {
        throw new UnderstudyError('INTERNAL', 'the copy was begun before', {
          database: this.#database,
        });
      }
      await insertOffsets(
        client,
        'understudy.position (topic, partition, next_offset)',
        start.offsets,
      );
    });
  }

  refill(fence: Fence, refill: Refill): Promise<void> {
    return this.#act(fence, 'begin to copy tables anew', async (client) => {
      const { rows } = await client.query('SELECT FROM understudy.share LIMIT 1');
      if (rows.length > 0) {
        const what = 'partitions are given to other processes: end these, and one `run` by itself';
        throw new UnderstudyError('FENCE_HELD', what, { database: this.#database });
      }
      await beginRefill(client, refill);
    });
  }

  startTables(
    fence: Fence,
    snapshot: { readonly snapshot: string; readonly marker: bigint },
    tables: readonly TableToCopy[],
  ): Promise<void> {
    return this.#act(fence, 'start to copy tables', async (client) => {
      const ids = tables.map(({ table }) => table);
      await emptyTables(client, ids);
      for (const id of ids) await setIndexesAside(client, id);
      const { rows } = await client.query<{ id: number }>(
        `INSERT INTO understudy.bootstrap_snapshot (snapshot, marker) VALUES ($1, $2) RETURNING id`,
        [snapshot.snapshot, snapshot.marker],
      );
      await client.query(
        `INSERT INTO understudy.bootstrap_table (table_schema, table_name, snapshot, ranges, bytes)
          SELECT g.schema, g.name, $1, g.ranges, g.bytes
          FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]),
            pg_catalog.unnest($4::int[]), pg_catalog.unnest($5::int8[]))
            AS g (schema, name, ranges, bytes)
          ON CONFLICT (table_schema, table_name) DO UPDATE SET snapshot = excluded.snapshot,
            ranges = excluded.ranges, bytes = excluded.bytes, done = false, ranges_done = 0,
            rows = 0, bytes_done = 0`,
        [
          rows[0]?.id,
          tables.map(({ table }) => table.schema),
          tables.map(({ table }) => table.name),
          tables.map(({ ranges }) => ranges),
          tables.map(({ bytes }) => bytes),
        ],
      );
    });
  }

  async openWriter(fence: Fence): Promise<CopyWriter> {
    const client = await openSession(this.#address, this.#database, 'copy');
    try {
      await prepareCopy(client);
      await showPresence(client, fence.generation);
    } catch (error) {
      await client.end();
      throw this.#failure('prepare a session for the copy', 'APPLY_FAILED', error);
    }
    return {
      write: async (range, columns, rows) => {
        try {
          return await writeRange(client, {
            fence,
            database: this.#database,
            range,
            columns,
            rows,
          });
        } catch (error) {
          throw this.#failure('write copied rows', 'APPLY_FAILED', error, range.table);
        }
      },
      [Symbol.asyncDispose]: () => client.end(),
    };
  }

  async finishTable(fence: Fence, table: TableId): Promise<void> {
    await this.#act(fence, 'finish a table', async (client) => {
      await putIndexesBack(client, table);
      await client.query(
        `UPDATE understudy.bootstrap_table SET done = true
          WHERE table_schema = $1 AND table_name = $2 AND ranges_done = ranges`,
        [table.schema, table.name],
      );
    });
    // So that the first batches find their rows by plans made for what is there.
    await this.#act(fence, 'analyse a table', (client) =>
      client.query(`ANALYZE ${relation(table)}`),
    );
  }

  handOver(fence: Fence, ends: OffsetMap): Promise<void> {
    return this.#act(fence, 'hand over to the stream', async (client) => {
      await insertOffsets(client, 'understudy.bootstrap_end (topic, partition, end_offset)', ends);
      await client.query('UPDATE understudy.bootstrap SET copied = true');
    });
  }

  adopt(fence: Fence, backup: AdoptedBackup): Promise<void> {
    return this.#act(fence, 'take over a backup', async (client) => {
      const { rowCount } = await client.query(
        'UPDATE understudy.bootstrap SET copied = true WHERE mark = $1 AND NOT copied',
        [BACKUP_MARK],
      );
      if (rowCount !== 1) {
        const database = this.#database;
        throw new UnderstudyError('INTERNAL', 'no backup is to be taken over', { database });
      }
      const { offsets, ends, snapshot, marker, tables } = backup;
      await insertOffsets(client, 'understudy.position (topic, partition, next_offset)', offsets);
      await insertOffsets(client, 'understudy.bootstrap_end (topic, partition, end_offset)', ends);
      await client.query(
        `WITH source AS (INSERT INTO understudy.bootstrap_snapshot (snapshot, marker)
            VALUES ($1, $2) RETURNING id)
          INSERT INTO understudy.bootstrap_table
            (table_schema, table_name, snapshot, done, ranges, bytes)
          SELECT g.schema, g.name, source.id, true, 0, 0 FROM source,
            ROWS FROM (pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]))
              AS g (schema, name)`,
        [snapshot, marker, tables.map(({ schema }) => schema), tables.map(({ name }) => name)],
      );
    });
  }

  async forget(fence: Fence): Promise<void> {
    await this.#act(fence, 'forget the copy', (client) => client.query(FORGET));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#acts[Symbol.asyncDispose]();
  }

  #act(fence: Fence, doing: string, fn: (client: pg.Client) => Promise<unknown>): Promise<void> {
    return this.#acts.use({ doing, otherwise: 'APPLY_FAILED' }, async (client) => {
      if (this.#shown?.client !== client || this.#shown.generation !== fence.generation) {
        await showPresence(client, fence.generation);
        this.#shown = { client, generation: fence.generation };
      }
      await transaction(client, async () => {
        await assertFence(client, fence, this.#database);
        await fn(client);
      });
    });
  }

  #failure(doing: string, otherwise: ErrorCode, error: unknown, table?: TableId): UnderstudyError {
    const context = {
      database: this.#database,
      ...(table === undefined ? {} : { table: tableName(table) }),
    };
    const address = this.#address.describe(this.#database);
    return toUnderstudyError(error, { doing, address, context, otherwise });
  }
}

/** As the applier's, with one text form of every value and time to wait for locks. */
async function prepareCopy(client: pg.Client): Promise<void> {
  const spared = await readSparedAccount(client);
  const { deadlockTimeout, ...rights } = await readApplierRights(client);
  assertFollows({ deadlockTimeout, ...rights }, spared);
  await prepareComparison(client);
  await client.query(applierSession({ replica: spared === null, deadlockTimeout: false }));
  await client.query(`SET lock_timeout = '${LOCK_TIMEOUT}'`);
}

async function writeRange(
  client: pg.Client,
  parts: {
    readonly fence: Fence;
    readonly database: string;
    readonly range: CopyRange;
    readonly columns: readonly string[];
    readonly rows: RowBytes;
  },
): Promise<number> {
  const { table, bytes } = parts.range;
  return await transaction(client, async () => {
    await assertFence(client, parts.fence, parts.database);
    const list = parts.columns.map((column) => escapeIdentifier(column)).join(', ');
    const columns = list === '' ? '' : ` (${list})`;
    const copy = client.query(copyFrom(`COPY ${relation(table)}${columns} FROM STDIN`));
    await pipeline(parts.rows, copy);
    await client.query(
      `UPDATE understudy.bootstrap_table
        SET ranges_done = ranges_done + 1, rows = rows + $3, bytes_done = bytes_done + $4
        WHERE table_schema = $1 AND table_name = $2`,
      [table.schema, table.name, copy.rowCount, bytes],
    );
    return copy.rowCount;
  });
}

/** Of tables not copied whole: what a crash left. */
async function emptyTables(client: pg.Client, ids: readonly TableId[]): Promise<void> {
  const filled: TableId[] = [];
  for (const id of ids) {
    const { rows } = await client.query<{ filled: boolean }>(
      `SELECT EXISTS (SELECT FROM ${relation(id)}) AS filled`,
    );
    if (rows[0]?.filled === true) filled.push(id);
  }
  if (filled.length > 0) await truncateTrunk(client, await readCatalogue(client), filled);
}

const FORGET = `DELETE FROM understudy.bootstrap_table; DELETE FROM understudy.bootstrap_end;
  DELETE FROM understudy.bootstrap_snapshot; DELETE FROM understudy.bootstrap_only;
  DELETE FROM understudy.bootstrap`;

/** Indexes that an earlier copy has set aside stay so: who finishes the table makes them again. */
async function beginRefill(client: pg.Client, refill: Refill): Promise<void> {
  const { tables, parts, topics, topicIds } = refill;
  const all = [...tables, ...parts];
  const named = `(table_schema, table_name) IN
    (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])))`;
  const names = (of: readonly TableId[]): readonly unknown[] => [
    of.map(({ schema }) => schema),
    of.map(({ name }) => name),
  ];
  if (tables.length > 0) {
    await client.query(FORGET);
    await client.query('INSERT INTO understudy.bootstrap (mark) VALUES ($1)', [refill.transaction]);
    await client.query(
      `INSERT INTO understudy.bootstrap_only (table_schema, table_name)
        SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))`,
      [...names(tables)],
    );
  }
  // What was applied ahead of a position is of that position.
  for (const table of ['position', 'ahead', 'topic']) {
    await client.query(`DELETE FROM understudy.${table} WHERE topic = ANY ($1)`, [topics]);
  }
  const into = 'understudy.position (topic, partition, next_offset)';
  await insertOffsets(client, into, refill.offsets);
  await client.query(
    `INSERT INTO understudy.topic (topic, id)
      SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))`,
    [[...topicIds.keys()], [...topicIds.values()]],
  );
  for (const ledger of [PARKED, UNKNOWN_VALUE]) {
    await client.query(`DELETE FROM ${ledger} WHERE ${named}`, [...names(all)]);
  }
  const letters = await client.query<{ id: string }>(
    `SELECT id FROM understudy.dead_letter WHERE ${named}`,
    [...names(all)],
  );
  await deadLetterTables(client).remove(letters.rows.map(({ id }) => id));
}

async function insertOffsets(client: pg.Client, into: string, offsets: OffsetMap): Promise<void> {
  const entries = [...offsets].map(([key, offset]) => ({ ...parsePartitionKey(key), offset }));
  await client.query(
    `INSERT INTO ${into} SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]),
      pg_catalog.unnest($2::int[]), pg_catalog.unnest($3::int8[]))`,
    [
      entries.map((entry) => entry.topic),
      entries.map((entry) => entry.partition),
      entries.map((entry) => entry.offset),
    ],
  );
}

interface TableRow {
  readonly schema: string;
  readonly name: string;
  readonly snapshot: string;
  readonly marker: bigint;
  readonly done: boolean;
  readonly ranges: number;
  readonly rangesDone: number;
  readonly rows: bigint;
  readonly bytes: bigint;
  readonly bytesDone: bigint;
}

async function readState(client: pg.Client): Promise<BootstrapState | null> {
  const { rows } = await client.query<{ startedAt: string; mark: string | null; copied: boolean }>(
    `SELECT (EXTRACT(epoch FROM started_at) * 1000)::int8::text AS "startedAt", mark, copied
      FROM understudy.bootstrap`,
  );
  const [row] = rows;
  if (row === undefined) return null;
  const tables = await client.query<TableRow>(
    `SELECT t.table_schema AS schema, t.table_name AS name, s.snapshot, s.marker, t.done, t.ranges,
        t.ranges_done AS "rangesDone", t.rows, t.bytes, t.bytes_done AS "bytesDone"
      FROM understudy.bootstrap_table t JOIN understudy.bootstrap_snapshot s ON s.id = t.snapshot
      ORDER BY 1, 2`,
  );
  const ends = await client.query<{ topic: string; partition: number; end: bigint }>(
    `SELECT topic, partition, end_offset AS end FROM understudy.bootstrap_end ORDER BY 1, 2`,
  );
  const only = await client.query<{ schema: string; name: string }>(
    'SELECT table_schema AS schema, table_name AS name FROM understudy.bootstrap_only ORDER BY 1, 2',
  );
  return {
    startedAt: new Date(Number(row.startedAt)),
    mark: row.mark,
    tables: tables.rows.map(toCopied),
    only: only.rows.length === 0 ? null : only.rows,
    ends: row.copied
      ? new Map(ends.rows.map((end) => [partitionKey(end.topic, end.partition), end.end]))
      : null,
  };
}

function toCopied({ schema, name, ...row }: TableRow): CopiedTable {
  return {
    ...row,
    table: { schema, name },
    rows: Number(row.rows),
    bytes: Number(row.bytes),
    bytesDone: Number(row.bytesDone),
  };
}
