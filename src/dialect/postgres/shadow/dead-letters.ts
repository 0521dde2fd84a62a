/** What is set aside in a shadow database: written with the batch that sets it aside, and read. */
import type pg from 'pg';
import type { LogOffset } from '../../../change/position.ts';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import type { ChangeBatch } from '../../../order/change-batch.ts';
import type { DeadState } from '../../../order/dead-keys.ts';
import type { DeadNotes } from '../../../order/dead-notes.ts';
import { RowRefused, type DeadLetter, type DeadLetterBox } from '../../dead-letters.ts';
import type { Fence } from '../../dialect.ts';
import { applyBatch, type ApplySession } from '../apply/apply.ts';
import { PARKED } from '../apply/parked-sql.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { isExact, readComparisons } from '../catalogue/key-facts.ts';
import { renderText } from '../session/types.ts';

export interface BoxParts {
  readonly read: <T>(doing: string, fn: (client: pg.Client) => Promise<T>) => Promise<T>;
  /** One fenced transaction. */
  readonly act: <T>(
    fence: Fence,
    options: { readonly doing: string; readonly otherwise: ErrorCode },
    fn: (client: pg.Client) => Promise<T>,
  ) => Promise<T>;
  readonly session: (client: pg.Client, fence: Fence) => Promise<ApplySession>;
}

export class PgDeadLetters implements DeadLetterBox {
  readonly #parts: BoxParts;

  constructor(parts: BoxParts) {
    this.#parts = parts;
  }

  state(): Promise<DeadState> {
    return this.#parts.read('read what is set aside', readState);
  }

  list(ids?: readonly string[]): Promise<readonly DeadLetter[]> {
    return this.#parts.read('read what is set aside', (client) => readLetters(client, ids ?? null));
  }

  queue(ids: readonly string[]): Promise<readonly LogOffset[]> {
    return this.#parts.read('read what is set aside', async (client) => {
      const { rows } = await client.query<LogOffset>(
        `SELECT topic, partition, at_offset AS offset FROM understudy.dead_event
          WHERE letter = ANY ($1) ORDER BY seq`,
        [ids],
      );
      return rows;
    });
  }

  rehearse(fence: Fence, batch: ChangeBatch): Promise<RowRefused | null> {
    const what = { doing: 'try a batch', otherwise: 'APPLY_FAILED' } as const;
    return this.#parts.act(fence, what, async (client) => {
      const session = await this.#parts.session(client, fence);
      await client.query('SAVEPOINT understudy_rehearsal');
      let refused: RowRefused | null = null;
      try {
        await applyBatch(session, batch);
      } catch (error) {
        if (!(error instanceof RowRefused)) throw error;
        refused = error;
      }
      await client.query('ROLLBACK TO SAVEPOINT understudy_rehearsal');
      return refused;
    });
  }

  discard(fence: Fence, ids: readonly string[]): Promise<number> {
    const what = { doing: 'discard what is set aside', otherwise: 'APPLY_FAILED' } as const;
    return this.#parts.act(fence, what, async (client) => {
      const session = await this.#parts.session(client, fence);
      const { rows } = await client.query<{ schema: string; name: string }>(
        `INSERT INTO ${PARKED} AS p (table_schema, table_name, key, reason)
          SELECT table_schema, table_name, key, 'its events were discarded'
            FROM understudy.dead_key WHERE letter = ANY ($1) AND key IS NOT NULL
          ON CONFLICT (table_schema, table_name, key) DO UPDATE SET image = '{}'
          RETURNING table_schema AS schema, table_name AS name`,
        [ids],
      );
      for (const row of rows) session.ledgers.tables.add(tableName(row));
      return remove(client, ids);
    });
  }
}

/** Returns how many of the letters there were. */
async function remove(client: pg.Client, ids: readonly string[]): Promise<number> {
  await client.query('DELETE FROM understudy.dead_event WHERE letter = ANY ($1)', [ids]);
  await client.query('DELETE FROM understudy.dead_key WHERE letter = ANY ($1)', [ids]);
  const gone = await client.query('DELETE FROM understudy.dead_letter WHERE id = ANY ($1)', [ids]);
  return gone.rowCount ?? 0;
}

/** In the transaction that writes their events: the letters are gone. False if one was not there. */
export async function takeReplayed(client: pg.Client, ids: readonly string[]): Promise<boolean> {
  const found = await client.query('SELECT FROM understudy.dead_letter WHERE id = ANY ($1)', [ids]);
  if (found.rowCount !== ids.length) return false;
  await remove(client, ids);
  return true;
}

/** In the transaction of the batch that sets it aside. */
export async function saveDeadNotes(client: pg.Client, notes: DeadNotes): Promise<void> {
  for (const { from, into } of notes.merged) {
    for (const table of ['dead_event', 'dead_key']) {
      await client.query(`UPDATE understudy.${table} SET letter = $2 WHERE letter = $1`, [
        from,
        into,
      ]);
    }
    await client.query('DELETE FROM understudy.dead_letter WHERE id = $1', [from]);
  }
  if (notes.cleared.length > 0) await remove(client, notes.cleared);
  for (const { id, table, code, message, at, transactionId } of notes.letters) {
    await client.query(
      `INSERT INTO understudy.dead_letter (id, table_schema, table_name, code, message, topic,
          partition, at_offset, transaction_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [
        ...[id, table.schema, table.name, code, message],
        ...[at.topic, at.partition, at.offset, transactionId],
      ],
    );
  }
  for (const { letter, table, id, key } of notes.keys) {
    const text = key?.map((value) => renderText(value)) ?? null;
    await client.query(
      `INSERT INTO understudy.dead_key (table_schema, table_name, id, key, letter)
        VALUES ($1, $2, $3, $4, $5)`,
      [table.schema, table.name, id, text, letter],
    );
  }
  const { events } = notes;
  if (events.length === 0) return;
  await client.query(
    `INSERT INTO understudy.dead_event
        (letter, topic, partition, at_offset, table_schema, table_name, unread)
      SELECT letter, topic, part, place, schema, name, unread
        FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]),
          pg_catalog.unnest($3::int[]), pg_catalog.unnest($4::int8[]), pg_catalog.unnest($5::text[]),
          pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::bool[])) WITH ORDINALITY
          AS g (letter, topic, part, place, schema, name, unread, n)
        ORDER BY n`,
    [
      ...[events.map((e) => e.letter), events.map((e) => e.at.topic)],
      ...[events.map((e) => e.at.partition), events.map((e) => e.at.offset)],
      ...[events.map((e) => e.table.schema), events.map((e) => e.table.name)],
      events.map((e) => e.unread),
    ],
  );
}

async function readState(client: pg.Client): Promise<DeadState> {
  const letters = await client.query<
    { id: string } & TableRow & Readonly<Record<'tables' | 'unread', readonly string[][]>>
  >(
    `SELECT l.id, l.table_schema AS schema, l.table_name AS name,
        ARRAY(SELECT DISTINCT ARRAY[e.table_schema, e.table_name]
          FROM understudy.dead_event e WHERE e.letter = l.id) AS tables,
        ARRAY(SELECT DISTINCT ARRAY[e.topic, e.partition::text]
          FROM understudy.dead_event e WHERE e.letter = l.id AND e.unread) AS unread
      FROM understudy.dead_letter l`,
  );
  const keys = await client.query<{ letter: string; id: string } & TableRow>(
    `SELECT letter, id, table_schema AS schema, table_name AS name FROM understudy.dead_key`,
  );
  return {
    exact: await readExact(client),
    letters: letters.rows.map(({ id, tables, unread, ...table }) => ({
      id,
      table: { schema: table.schema, name: table.name },
      tables: tables.map(([schema = '', name = '']) => ({ schema, name })),
      unread: unread.map(([topic = '', partition]) => ({ topic, partition: Number(partition) })),
    })),
    keys: keys.rows.map(({ letter, id, schema, name }) => ({
      letter,
      id,
      table: { schema, name },
    })),
  };
}

interface TableRow {
  readonly schema: string;
  readonly name: string;
}

/** Tables whose keys are equal only if their texts are. */
async function readExact(client: pg.Client): Promise<ReadonlySet<string>> {
  const [catalogue, comparisons] = [await readCatalogue(client), await readComparisons(client)];
  const exact = new Set<string>();
  for (const [name, table] of catalogue) {
    const compared = comparisons.get(name);
    const told = table.key.every((column) => {
      const schema = table.columns.find((candidate) => candidate.name === column);
      const comparison = compared?.get(column);
      return schema !== undefined && comparison !== undefined && isExact(schema, comparison);
    });
    if (table.key.length > 0 && told) exact.add(name);
  }
  return exact;
}

async function readLetters(
  client: pg.Client,
  ids: readonly string[] | null,
): Promise<readonly DeadLetter[]> {
  const { rows } = await client.query<
    Omit<DeadLetter, 'table' | 'keys' | 'at' | 'since'> &
      TableRow &
      LogOffset & { sinceMs: number; keys: readonly (readonly string[] | null)[] }
  >(
    `SELECT l.id, l.table_schema AS schema, l.table_name AS name, l.code, l.message, l.topic,
        l.partition, l.at_offset AS offset, l.transaction_id AS "transactionId",
        EXTRACT(EPOCH FROM l.at)::float8 * 1000 AS "sinceMs",
        EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - l.at)::float8 * 1000 AS "ageMs",
        (SELECT pg_catalog.count(*)::int4 FROM understudy.dead_event e WHERE e.letter = l.id)
          AS queued,
        (SELECT pg_catalog.json_agg(k.key ORDER BY k.key) FROM understudy.dead_key k
          WHERE k.letter = l.id)::text AS keys
      FROM understudy.dead_letter l WHERE $1::text[] IS NULL OR l.id = ANY ($1)
      ORDER BY l.at, l.id`,
    [ids],
  );
  return rows.map(
    ({ id, schema, name, topic, partition, offset, sinceMs, keys, ...told }): DeadLetter => ({
      ...{ id, table: { schema, name }, at: { topic, partition, offset } },
      keys: JSON.parse(String(keys ?? '[]')) as DeadLetter['keys'],
      ...told,
      since: new Date(sinceMs),
    }),
  );
}

/** The dead keys, by `tableName()`. */
export async function readDeadKeys(
  client: pg.ClientBase,
): Promise<
  ReadonlyMap<
    string,
    { readonly table: TableId; readonly keys: readonly (readonly string[] | null)[] }
  >
> {
  const { rows } = await client.query<TableRow & { key: readonly string[] | null }>(
    'SELECT table_schema AS schema, table_name AS name, key FROM understudy.dead_key',
  );
  const tables = new Map<string, { table: TableId; keys: (readonly string[] | null)[] }>();
  for (const { schema, name, key } of rows) {
    const table = { schema, name };
    const found = tables.get(tableName(table)) ?? { table, keys: [] };
    found.keys.push(key);
    tables.set(tableName(table), found);
  }
  return tables;
}
