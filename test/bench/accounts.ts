/** The table the benchmarks of the applier copy: pgbench's accounts, and changes to it. */
import pg from 'pg';

/** What is in the table; equal digests mean equal rows. */
export interface Digest {
  readonly rows: string;
  readonly hash: string;
}

/** Sees to it that `work` has a connection to the database at `url`, and that it is closed. */
export async function onDatabase<T>(
  url: string,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

export async function createAccounts(url: string): Promise<void> {
  await onDatabase(url, (client) =>
    client.query(`CREATE TABLE public.accounts
      (aid integer PRIMARY KEY, bid integer, abalance integer, filler char(84))`),
  );
}

/** Rows 1 to `rows`, the same each time, then statistics as a database in use has them. */
export async function fillAccounts(url: string, rows: number): Promise<void> {
  await onDatabase(url, async (client) => {
    await client.query(
      `INSERT INTO public.accounts SELECT i, 1 + i / 100000, 0, md5(i::text)
         FROM generate_series(1, $1::integer) i`,
      [rows],
    );
    await client.query('VACUUM ANALYZE public.accounts');
  });
}

/** The key of the row that `changeAccounts` inserts last. */
export const LAST_KEY = 0;

/**
 * Changes a table of `rows` rows `changes` times, one row each, 20 in a transaction: eight updates
 * (over four fifths of the rows, evenly, some more than once), an insert and a delete in turns. The
 * last change of all inserts `LAST_KEY`.
 */
export async function changeAccounts(url: string, rows: number, changes: number): Promise<void> {
  if (changes % 20 !== 0 || changes > rows * 2) {
    throw new RangeError(`${String(changes)} changes of ${String(rows)} rows: not so many, or 20s`);
  }
  await onDatabase(url, (client) =>
    client.query(`DO $$
      BEGIN
        FOR i IN 1..${String(changes)} LOOP
          CASE
            WHEN i = ${String(changes)} THEN
              INSERT INTO public.accounts VALUES (${String(LAST_KEY)}, 1, 0, 'last');
            WHEN i % 10 = 0 THEN
              INSERT INTO public.accounts VALUES (${String(rows)} + i, 1, i, md5(i::text));
            WHEN i % 10 = 5 THEN
              DELETE FROM public.accounts WHERE aid = ${String(rows)} - i / 10;
            ELSE
              UPDATE public.accounts SET abalance = abalance + i
               WHERE aid = 1 + abs(hashint4(i)::bigint) % (${String(rows)} * 8 / 10);
          END CASE;
          IF i % 20 = 0 THEN COMMIT; END IF;
        END LOOP;
      END $$`),
  );
}

export async function digestAccounts(url: string): Promise<Digest> {
  return onDatabase(url, async (client) => {
    const { rows } = await client.query<Digest>(
      `SELECT count(*)::text AS rows, bit_xor(hashtextextended(a::text, 0))::text AS hash
         FROM public.accounts a`,
    );
    const [digest] = rows;
    if (digest === undefined) throw new Error('an aggregate without a row');
    return digest;
  });
}

/** A side that has not produced production's rows has not been measured. */
export async function assertReached(who: string, url: string, goal: Digest): Promise<void> {
  const { rows, hash } = await digestAccounts(url);
  if (rows === goal.rows && hash === goal.hash) return;
  throw new Error(`${who} left ${rows} rows, other than production's ${goal.rows}`);
}
