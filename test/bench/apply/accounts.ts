/** pgbench's accounts, with a second unique key if asked for, and changes to them. */
import { createHash } from 'node:crypto';
import type { BenchTables } from './bench-log.ts';
import type { Door } from './door.ts';

export interface Accounts extends BenchTables {
  /** Changes the rows as the log is to have it; nothing if the log is of a snapshot. */
  change(door: Door): Promise<void>;
}

const FILLED_AT_ONCE = 5_000;

/** The key of the row that is inserted last by `change`. */
const LAST_KEY = 0;

/**
 * A table of `rows` rows. Without `changes` they are the log; with some, they are there before it,
 * and each change is of one row, 20 in a transaction: eight updates (over four fifths of the rows,
 * evenly, some more than once), an insert and a delete in turns. The last change of all inserts
 * LAST_KEY. With `unique` a second key has values that updates change as well.
 */
export function accounts(parts: {
  readonly engine: 'postgresql' | 'mysql' | 'mariadb';
  readonly rows: number;
  readonly changes: number;
  readonly unique?: boolean;
}): Accounts {
  const { engine, rows, changes, unique = false } = parts;
  const isPostgres = engine === 'postgresql';
  if (changes % 20 !== 0 || changes > rows * 2) {
    throw new RangeError(`${changes} changes of ${rows} rows: not so many, or 20s`);
  }
  const code = unique ? ', code varchar(20) UNIQUE' : '';
  const insertRows = async (door: Door): Promise<void> => {
    if (isPostgres) {
      await door.query(`INSERT INTO accounts SELECT i, 1 + i / 100000, 0, md5(i::text)
          ${unique ? `, 'c' || i` : ''} FROM generate_series(1, ${rows}) i`);
      await door.query('VACUUM ANALYZE accounts');
      return;
    }
    for (let from = 1; from <= rows; from += FILLED_AT_ONCE) {
      const length = Math.min(FILLED_AT_ONCE, rows - from + 1);
      const values = Array.from({ length }, (_, i) => {
        const aid = from + i;
        return `(${aid}, ${1 + Math.floor(aid / 100_000)}, 0, '${hex(aid)}')`;
      });
      await door.query(`INSERT INTO accounts VALUES ${values.join(', ')}`);
    }
  };
  return {
    async create(door) {
      const plain = 'aid integer PRIMARY KEY, bid integer, abalance integer, filler char(84)';
      await door.query(`CREATE TABLE accounts (${plain}${code})`);
    },
    fill: async (door) => {
      if (changes > 0) await insertRows(door);
    },
    change: async (door) => {
      if (changes === 0) await insertRows(door);
      else await door.query(changeRows(rows, changes, unique));
    },
    async digest(door) {
      const sum = isPostgres
        ? 'bit_xor(hashtextextended(a::text, 0))::text'
        : `BIT_XOR(CRC32(CONCAT_WS('|', aid, bid, abalance, filler)))`;
      const [found] = await door.query(
        `SELECT count(*) AS n, ${sum} AS digest FROM accounts${isPostgres ? ' a' : ''}`,
      );
      return `${String(found?.['n'])} rows ${String(found?.['digest'])}`;
    },
    async isLastThere(door) {
      const last = changes === 0 ? rows : LAST_KEY;
      return (await door.query(`SELECT 1 FROM accounts WHERE aid = ${last}`)).length === 1;
    },
  };
}

/** Not every MySQL has MD5. */
function hex(aid: number): string {
  return createHash('md5').update(String(aid)).digest('hex');
}

function changeRows(rows: number, changes: number, unique: boolean): string {
  const aid = `1 + abs(hashint4(i)::bigint) % (${rows} * 8 / 10)`;
  const [code, recode] = unique ? [`, 'n' || i`, `, code = 'u' || i`] : ['', ''];
  return `DO $$
    BEGIN
      FOR i IN 1..${changes} LOOP
        CASE
          WHEN i = ${changes} THEN
            INSERT INTO accounts VALUES (${LAST_KEY}, 1, 0, 'last'${code});
          WHEN i % 10 = 0 THEN
            INSERT INTO accounts VALUES (${rows} + i, 1, i, md5(i::text)${code});
          WHEN i % 10 = 5 THEN
            DELETE FROM accounts WHERE aid = ${rows} - i / 10;
          ELSE
            UPDATE accounts SET abalance = abalance + i${recode} WHERE aid = ${aid};
        END CASE;
        IF i % 20 = 0 THEN COMMIT; END IF;
      END LOOP;
    END $$`;
}
