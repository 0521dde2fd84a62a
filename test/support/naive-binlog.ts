/**
 * Ways to apply on MySQL and MariaDB, and one to release, that look right and are not: negative controls for
 * the overlay's torture. They share all else with the real applier, so that nothing but the sequence differs.
 */
import { emptyEntries } from './overlay-binlog.ts';
import {
  isCollision,
  journalOf,
  logOf,
  openProductApplier,
  type OpenApplier,
  type Place,
} from './overlay-binlog-applier.ts';
import { connectTo, rowsOf } from './overlay-binlog-session.ts';

/** Statements of a naive applier with the batch as `s`; `owned`: what it read before. */
export type Naive = (place: Place, owned: string) => readonly string[];

const write = ({ database, table }: Place, free: string): readonly string[] => [
  `DELETE t FROM ${database}.${table} t JOIN {s} ON t.id = s.id WHERE s.gone = 1 AND ${free}`,
  `INSERT INTO ${database}.${table} (id, a, b, c) SELECT s.id, s.a, s.b, s.c FROM {s}
    WHERE s.gone = 0 AND ${free}
    ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b), c = VALUES(c)`,
];
const moveImages = (place: Place): string =>
  `UPDATE ${journalOf(place)} j JOIN {s} ON j.id = s.id
    SET j.understudy_present = 1 - s.gone, j.a = s.a, j.b = s.b, j.c = s.c`;

/** Asks who owns a row in the statement that writes it; its look at the entries is as old as itself. */
export const CHECK_WHILE_WRITING: Naive = (place) => [
  ...write(place, `NOT EXISTS (SELECT 1 FROM ${journalOf(place)} own WHERE own.id = s.id)`),
  moveImages(place),
];

/** Reads who owns rows first; by the time it writes there may be more. */
export const READ_THEN_WRITE: Naive = (place, owned) => [
  ...write(place, `s.id NOT IN (${owned})`),
  moveImages(place),
];

/** An applier with another sequence of statements. It is given whole rows, never partial ones. */
export function naiveApplier(naive: Naive): OpenApplier {
  return async (place) => {
    const product = await openProductApplier(place);
    const client = await connectTo(`${place.url}${place.database}`);
    await client.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
    const batch = `JSON_TABLE(?, '$[*]' COLUMNS (id INT PATH '$.id', gone INT PATH '$.gone',
      a INT PATH '$.a', b VARCHAR(20) PATH '$.b', c VARCHAR(20) PATH '$.c')) s`;
    return {
      ...product,
      async apply(changes) {
        const rows = changes.map(({ id, row }) => ({ id, gone: row === null ? 1 : 0, ...row }));
        try {
          await client.query('START TRANSACTION');
          const entries = await rowsOf<{ id: number }>(
            client,
            `SELECT id FROM ${journalOf(place)}`,
          );
          const owned = ['0', ...entries.map(({ id }) => String(id))].join(', ');
          for (const sql of naive(place, owned)) {
            await client.query(sql.replace('{s}', batch), [JSON.stringify(rows)]);
          }
          await client.query('COMMIT');
          return true;
        } catch (error) {
          await client.query('ROLLBACK');
          if (isCollision(error)) return false;
          throw error;
        }
      },
      async close() {
        await client.end();
        await product.close();
      },
    };
  };
}

/** A sweep that compares and then gives up, without a lock on the rows in between. */
export const naiveReleaser: OpenApplier = async (place) => {
  const product = await openProductApplier(place);
  const client = await connectTo(`${place.url}${place.database}`);
  await client.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
  return {
    ...product,
    async sweep() {
      try {
        await client.query('START TRANSACTION');
        const entries = await rowsOf<{ id: number }>(client, `SELECT j.id ${emptyEntries(place)}`);
        for (const { id } of entries) {
          await client.query(`DELETE FROM ${journalOf(place)} WHERE id = ?`, [id]);
          await client.query(`INSERT INTO ${logOf(place)} (id, kind) VALUES (?, 'released')`, [id]);
        }
        await client.query('COMMIT');
        return true;
      } catch (error) {
        await client.query('ROLLBACK');
        if (isCollision(error)) return false;
        throw error;
      }
    },
    async close() {
      await client.end();
      await product.close();
    },
  };
};
