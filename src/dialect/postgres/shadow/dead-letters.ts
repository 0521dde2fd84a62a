/** What is set aside in a shadow database: its tables, and how its keys compare. */
import type pg from 'pg';
import type { LogOffset } from '../../../change/position.ts';
import { tableName, type TableId } from '../../../change/table-id.ts';
import {
  exactTables,
  type DeadLetterTables,
  type EventsRow,
  type KeptPart,
  type KeyRow,
  type LetterRow,
} from '../../sql/dead-letter-tables.ts';
import type { ApplySession } from '../apply/apply.ts';
import { PARKED } from '../apply/parked-sql.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { isExact, readComparisons } from '../catalogue/key-facts.ts';
import { IMAGE, imageId, relation } from '../session/names.ts';

export function deadLetterTables(client: pg.ClientBase): DeadLetterTables {
  const rows = async <Row extends pg.QueryResultRow>(
    sql: string,
    ...values: readonly unknown[]
  ): Promise<readonly Row[]> => (await client.query<Row>(sql, [...values])).rows;
  return {
    run: (statement) => client.query(statement),
    letters: (ids) =>
      rows<LetterRow>(
        `SELECT id, table_schema AS schema, table_name AS name, code, message, topic, partition,
            at_offset AS offset, transaction_id AS "transactionId", hidden + unplaced AS hidden,
            EXTRACT(EPOCH FROM at)::float8 * 1000 AS "sinceMs",
            EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - at)::float8 * 1000 AS "ageMs"
          FROM understudy.dead_letter WHERE $1::text[] IS NULL OR id = ANY ($1) ORDER BY at, id`,
        ids,
      ),
    untold: async (limit) => {
      const sql = `SELECT id FROM understudy.dead_letter WHERE NOT told ORDER BY at, id LIMIT $1`;
      return (await rows<{ id: string }>(sql, limit)).map(({ id }) => id);
    },
    told: async (ids) => {
      await rows('UPDATE understudy.dead_letter SET told = true WHERE id = ANY ($1)', ids);
    },
    keys: (ids) =>
      rows<KeyRow>(
        `SELECT letter, id, table_schema AS schema, table_name AS name, key
          FROM understudy.dead_key WHERE $1::text[] IS NULL OR letter = ANY ($1)`,
        ids,
      ),
    events: (ids) =>
      rows<EventsRow>(
        `SELECT letter, table_schema AS schema, table_name AS name, topic, partition, unread,
            pg_catalog.count(*)::int4 AS count
          FROM understudy.dead_event WHERE $1::text[] IS NULL OR letter = ANY ($1)
          GROUP BY letter, table_schema, table_name, topic, partition, unread`,
        ids,
      ),
    queue: (ids) =>
      rows<LogOffset & pg.QueryResultRow>(
        `SELECT topic, partition, at_offset AS offset FROM understudy.dead_event
          WHERE letter = ANY ($1) ORDER BY seq`,
        ids,
      ),
    unkept: (limit) =>
      rows<LogOffset & pg.QueryResultRow>(
        `SELECT topic, partition, at_offset AS offset FROM understudy.dead_event
          WHERE (topic, partition, at_offset) NOT IN
            (SELECT topic, partition, at_offset FROM understudy.dead_record WHERE part = 0)
          ORDER BY seq LIMIT $1`,
        limit,
      ),
    parts: ({ topic, partition, offset }) =>
      rows<KeptPart & pg.QueryResultRow>(
        `SELECT part, key_id AS "keyId", why, bytes FROM understudy.dead_record
          WHERE topic = $1 AND partition = $2 AND at_offset = $3 ORDER BY part`,
        ...[topic, partition, offset],
      ),
    addPart: async ({ topic, partition, offset }, { part, keyId, why, bytes }) => {
      await rows(
        `INSERT INTO understudy.dead_record (topic, partition, at_offset, part, key_id, why, bytes)
          SELECT $1, $2, $3, $4, $5, $6, $7 WHERE EXISTS (SELECT FROM understudy.dead_event
            WHERE topic = $1 AND partition = $2 AND at_offset = $3)
          ON CONFLICT DO NOTHING`,
        ...[topic, partition, offset, part, keyId, why, bytes],
      );
    },
    addLetter: async ({ id, table, code, message, at, transactionId }) => {
      await rows(
        `INSERT INTO understudy.dead_letter (id, table_schema, table_name, code, message, topic,
            partition, at_offset, transaction_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
        ...[id, table.schema, table.name, code, message],
        ...[at.topic, at.partition, at.offset, transactionId],
      );
    },
    addKey: async ({ letter, table, id, key }) => {
      await rows(
        `INSERT INTO understudy.dead_key (table_schema, table_name, id, key, letter)
          VALUES ($1, $2, $3, $4, $5)`,
        ...[table.schema, table.name, id, key, letter],
      );
    },
    addEvents: async (events) => {
      await rows(
        `INSERT INTO understudy.dead_event
            (letter, topic, partition, at_offset, table_schema, table_name, unread)
          SELECT letter, topic, part, place, schema, name, unread
            FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]),
              pg_catalog.unnest($3::int[]), pg_catalog.unnest($4::int8[]), pg_catalog.unnest($5::text[]),
              pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::bool[])) WITH ORDINALITY
              AS g (letter, topic, part, place, schema, name, unread, n)
            ORDER BY n`,
        ...[events.map((e) => e.letter), events.map((e) => e.at.topic)],
        ...[events.map((e) => e.at.partition), events.map((e) => e.at.offset)],
        ...[events.map((e) => e.table.schema), events.map((e) => e.table.name)],
        events.map((e) => e.unread),
      );
    },
    move: async (from, into) => {
      for (const images of await imagesOf(client, [from])) {
        await rows(
          `UPDATE ${images} SET ${IMAGE.letter} = $2 WHERE ${IMAGE.letter} = $1`,
          ...[from, into],
        );
      }
      await rows(
        `UPDATE understudy.dead_letter SET unplaced = unplaced
            + (SELECT unplaced FROM understudy.dead_letter WHERE id = $1) WHERE id = $2`,
        ...[from, into],
      );
      for (const table of ['dead_event', 'dead_key']) {
        await rows(`UPDATE understudy.${table} SET letter = $2 WHERE letter = $1`, from, into);
      }
    },
    remove: async (ids) => {
      for (const images of await imagesOf(client, ids)) {
        await rows(`DELETE FROM ${images} WHERE ${IMAGE.letter} = ANY ($1)`, ids);
      }
      await rows(
        `DELETE FROM understudy.dead_record WHERE (topic, partition, at_offset) IN
          (SELECT topic, partition, at_offset FROM understudy.dead_event WHERE letter = ANY ($1))`,
        ids,
      );
      for (const table of ['dead_event', 'dead_key']) {
        await rows(`DELETE FROM understudy.${table} WHERE letter = ANY ($1)`, ids);
      }
      const sql = 'DELETE FROM understudy.dead_letter WHERE id = ANY ($1) RETURNING id';
      return (await rows(sql, ids)).length;
    },
  };
}

/** The tables with the images of these letters' rows, as far as there are any. */
async function imagesOf(
  client: pg.ClientBase,
  letters: readonly string[],
): Promise<readonly string[]> {
  const { rows } = await client.query<TableId>(
    `SELECT DISTINCT table_schema AS schema, table_name AS name FROM understudy.dead_letter
      WHERE id = ANY ($1)`,
    [letters],
  );
  const named = rows.map((table) => relation(imageId(table)));
  const there = await client.query<{ name: string }>(
    `SELECT name FROM pg_catalog.unnest($1::text[]) AS g (name)
      WHERE pg_catalog.to_regclass(name) IS NOT NULL`,
    [named],
  );
  return there.rows.map(({ name }) => name);
}

/** The keys of these letters are parked from now on. */
export async function parkDead(
  { client, ledgers }: ApplySession,
  ids: readonly string[],
): Promise<void> {
  const { rows } = await client.query<{ schema: string; name: string }>(
    `INSERT INTO ${PARKED} AS p (table_schema, table_name, key, reason)
      SELECT table_schema, table_name, key, 'its events were discarded'
        FROM understudy.dead_key WHERE letter = ANY ($1) AND key IS NOT NULL
      ON CONFLICT (table_schema, table_name, key) DO UPDATE SET image = '{}'
      RETURNING table_schema AS schema, table_name AS name`,
    [ids],
  );
  for (const row of rows) ledgers.tables.add(tableName(row));
  // What is known of them stays, until an event tells more. Where all rows wait together none is
  // parked, and nobody would know when to forget it.
  for (const images of await imagesOf(client, ids)) {
    await client.query(
      `UPDATE ${images} SET ${IMAGE.letter} = NULL WHERE ${IMAGE.letter} IN
        (SELECT letter FROM understudy.dead_key WHERE letter = ANY ($1) AND key IS NOT NULL)`,
      [ids],
    );
  }
}

/** Tables whose keys are equal only if their texts are. */
export async function readExactTables(client: pg.ClientBase): Promise<ReadonlySet<string>> {
  const [catalogue, comparisons] = [await readCatalogue(client), await readComparisons(client)];
  return exactTables(catalogue, (table, column) => {
    const comparison = comparisons.get(table)?.get(column.name);
    return comparison !== undefined && isExact(column, comparison);
  });
}
