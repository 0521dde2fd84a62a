/** What is set aside in a shadow database: its tables, and how its keys compare. */
import type { LogOffset } from '../../../change/position.ts';
import { tableName } from '../../../change/table-id.ts';
import {
  exactTables,
  type DeadLetterTables,
  type EventsRow,
  type KeptPart,
  type KeyRow,
  type LetterRow,
} from '../../sql/dead-letter-tables.ts';
import type { DatabaseTables } from '../catalogue/catalogue.ts';
import { isExact } from '../catalogue/key-facts.ts';
import type { Client } from '../session/client.ts';
import { NOW_US } from '../session/clock.ts';
import { companionName, literal, quote } from '../session/names.ts';

/** Rows of one statement: far below what any server takes. */
const ROWS_AT_ONCE = 1_000;

/** As the driver gives them: 64 bits are texts. */
type Place = Omit<LogOffset, 'offset'> & { readonly offset: string };

export function deadLetterTables(client: Client, database: string): DeadLetterTables {
  const table = (name: string): string => quote(companionName(database), name);
  return {
    run: (statement) => client.run(statement),
    letters: async (ids) => {
      const rows = await client.rows<
        Omit<LetterRow, 'offset' | 'sinceMs' | 'ageMs' | 'hidden'> &
          Place & { readonly sinceUs: string; readonly ageUs: string }
      >(
        `SELECT id, table_schema AS \`schema\`, table_name AS name, code, message, topic, \`partition\`,
            at_offset AS \`offset\`, transaction_id AS transactionId, at_us AS sinceUs,
            ${NOW_US} - at_us AS ageUs
          FROM ${table('dead_letter')} WHERE ${among('id', ids)} ORDER BY at_us, id`,
      );
      return rows.map(({ sinceUs, ageUs, offset, ...row }) => ({
        ...{ ...row, offset: BigInt(offset) },
        // There are no views that could show any.
        hidden: 0,
        ...{ sinceMs: Number(sinceUs) / 1000, ageMs: Math.max(0, Number(ageUs) / 1000) },
      }));
    },
    untold: async (limit) => {
      const rows = await client.rows<{ readonly id: string }>(
        `SELECT id FROM ${table('dead_letter')} WHERE id NOT IN (SELECT id FROM ${table('told_letter')})
          ORDER BY at_us, id LIMIT ?`,
        [limit],
      );
      return rows.map(({ id }) => id);
    },
    told: async (ids) => {
      const sql = `SELECT id FROM ${table('dead_letter')} WHERE ${among('id', ids)}`;
      await client.run(`REPLACE INTO ${table('told_letter')} (id) ${sql}`);
    },
    keys: async (ids) => {
      const rows = await client.rows<Omit<KeyRow, 'key'> & { readonly key: string | null }>(
        `SELECT letter, id, table_schema AS \`schema\`, table_name AS name, \`key\`
          FROM ${table('dead_key')} WHERE ${among('letter', ids)}`,
      );
      return rows.map((row) => ({ ...row, key: row.key === null ? null : parseKey(row.key) }));
    },
    events: async (ids) => {
      const rows = await client.rows<
        Omit<EventsRow, 'unread' | 'count'> & { readonly unread: number; readonly count: string }
      >(
        `SELECT letter, table_schema AS \`schema\`, table_name AS name, topic, \`partition\`, unread,
            COUNT(*) AS count
          FROM ${table('dead_event')} WHERE ${among('letter', ids)}
          GROUP BY letter, table_schema, table_name, topic, \`partition\`, unread`,
      );
      return rows.map((row) => ({ ...row, unread: row.unread === 1, count: Number(row.count) }));
    },
    queue: async (ids) => {
      const rows = await client.rows<Place>(
        `SELECT topic, \`partition\`, at_offset AS \`offset\`
          FROM ${table('dead_event')} WHERE ${among('letter', ids)} ORDER BY seq`,
      );
      return rows.map((row) => ({ ...row, offset: BigInt(row.offset) }));
    },
    unkept: async (limit) => {
      const rows = await client.rows<Place>(
        `SELECT topic, \`partition\`, at_offset AS \`offset\` FROM ${table('dead_event')}
          WHERE (topic, \`partition\`, at_offset) NOT IN
            (SELECT topic, \`partition\`, at_offset FROM ${table('dead_record')} WHERE part = 0)
          ORDER BY seq LIMIT ?`,
        [limit],
      );
      return rows.map((row) => ({ ...row, offset: BigInt(row.offset) }));
    },
    parts: (at) =>
      client.rows<KeptPart>(
        `SELECT part, key_id AS keyId, why, bytes FROM ${table('dead_record')}
          WHERE ${isAt(at)} ORDER BY part`,
      ),
    addPart: async (at, { part, keyId, why, bytes }) => {
      const { topic, partition, offset } = at;
      const texts = [keyId, why].map((text) => (text === null ? 'NULL' : literal(text)));
      await client.run(
        `INSERT INTO ${table('dead_record')}
            (topic, \`partition\`, at_offset, part, key_id, why, bytes)
          SELECT ${literal(topic)}, ${String(partition)}, ${String(offset)}, ${String(part)},
              ${texts.join(', ')}, X'${bytes.toString('hex')}' FROM DUAL
            WHERE EXISTS (SELECT 1 FROM ${table('dead_event')} WHERE ${isAt(at)})
              AND NOT EXISTS (SELECT 1 FROM (SELECT 1 FROM ${table('dead_record')}
                WHERE ${isAt(at)} AND part = ${String(part)}) there)`,
      );
    },
    addLetter: async ({ id, table: of, code, message, at, transactionId }) => {
      await client.run(
        `INSERT INTO ${table('dead_letter')} (id, table_schema, table_name, code, message, topic,
            \`partition\`, at_offset, transaction_id, at_us)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ${NOW_US})`,
        [
          ...[id, of.schema, of.name, code, message],
          ...[at.topic, at.partition, at.offset, transactionId],
        ],
      );
    },
    addKey: async ({ letter, table: of, id, key }) => {
      await client.run(
        `INSERT INTO ${table('dead_key')} (table_schema, table_name, id, \`key\`, letter)
          VALUES (?, ?, ?, ?, ?)`,
        [of.schema, of.name, id, key === null ? null : JSON.stringify(key), letter],
      );
    },
    addEvents: async (events) => {
      for (let from = 0; from < events.length; from += ROWS_AT_ONCE) {
        const values = events.slice(from, from + ROWS_AT_ONCE).map(
          ({ letter, at, table: of, unread }) =>
            `(${literal(letter)}, ${literal(at.topic)}, ${String(at.partition)}, ${String(at.offset)},
              ${literal(of.schema)}, ${literal(of.name)}, ${unread ? '1' : '0'})`,
        );
        await client.run(
          `INSERT INTO ${table('dead_event')}
            (letter, topic, \`partition\`, at_offset, table_schema, table_name, unread)
            VALUES ${values.join(', ')}`,
        );
      }
    },
    move: async (from, into) => {
      for (const name of ['dead_event', 'dead_key']) {
        await client.run(`UPDATE ${table(name)} SET letter = ? WHERE letter = ?`, [into, from]);
      }
    },
    remove: async (ids) => {
      await client.run(
        `DELETE FROM ${table('dead_record')} WHERE (topic, \`partition\`, at_offset) IN
          (SELECT topic, \`partition\`, at_offset FROM ${table('dead_event')}
            WHERE ${among('letter', ids)})`,
      );
      for (const name of ['dead_event', 'dead_key']) {
        await client.run(`DELETE FROM ${table(name)} WHERE ${among('letter', ids)}`);
      }
      await client.run(`DELETE FROM ${table('told_letter')} WHERE ${among('id', ids)}`);
      const sql = `DELETE FROM ${table('dead_letter')} WHERE ${among('id', ids)}`;
      return (await client.run(sql)).rows;
    },
  };
}

function isAt({ topic, partition, offset }: LogOffset): string {
  const place = `\`partition\` = ${String(partition)} AND at_offset = ${String(offset)}`;
  return `topic = ${literal(topic)} AND ${place}`;
}

/** A condition: the column is one of these; true without a choice. */
function among(column: string, ids: readonly string[] | null): string {
  if (ids === null) return 'TRUE';
  return ids.length === 0 ? 'FALSE' : `${column} IN (${ids.map(literal).join(', ')})`;
}

/** A key of ours, a list in JSON. */
export function parseKey(text: string): readonly string[] {
  return JSON.parse(text) as readonly string[];
}

/** Tables whose keys are equal only if their texts are. */
export function exactTablesOf({ catalogue, textForms }: DatabaseTables): ReadonlySet<string> {
  return exactTables(catalogue, (table, column) =>
    isExact(column, textForms.get(table)?.get(column.name)),
  );
}

/** The keys of these letters are parked from now on. Returns the tables, by `tableName()`. */
export async function parkDead(
  client: Client,
  database: string,
  ids: readonly string[],
): Promise<readonly string[]> {
  const companion = companionName(database);
  const dead = quote(companion, 'dead_key');
  const which = `${among('letter', ids)} AND \`key\` IS NOT NULL`;
  const parked = quote(companion, 'parked');
  // Since when it is parked stays, if it is already.
  await client.run(
    `INSERT INTO ${parked} (table_schema, table_name, id, \`key\`, at_us)
      SELECT k.table_schema, k.table_name, k.id, k.\`key\`, ${NOW_US}
        FROM ${dead} k WHERE k.${which}
      ON DUPLICATE KEY UPDATE at_us = ${parked}.at_us`,
  );
  const tables = await client.rows<{ readonly schema: string; readonly name: string }>(
    `SELECT DISTINCT table_schema AS \`schema\`, table_name AS name FROM ${dead} WHERE ${which}`,
  );
  return tables.map((table) => tableName(table));
}
