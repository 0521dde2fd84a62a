/** Tables and writers for MySQL and MariaDB that change rows in all the ways there are. */
import mysql, { type Connection, type ResultSetHeader, type RowDataPacket } from 'mysql2/promise';
import { Random } from './random.ts';
import { connectBinlog, exactSql } from './types/binlog.ts';

const TABLES: Readonly<Record<string, string>> = {
  item: `CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(20) NULL UNIQUE,
    name VARCHAR(40) CHARACTER SET latin1, price DECIMAL(12,3), ratio DOUBLE, body BLOB, doc JSON,
    at TIMESTAMP(6) NULL, day DATETIME(3), span TIME(2), state ENUM('new','it''s','gone'),
    marks SET('a','b','c'), flags BIT(12), big BIGINT UNSIGNED,
    twice INT GENERATED ALWAYS AS (LENGTH(body) * 2) VIRTUAL)`,
  pair: `CREATE TABLE pair (a INT, b VARCHAR(20), c BINARY(4), v INT, PRIMARY KEY (a, b, c))`,
  word: `CREATE TABLE word (w VARCHAR(30) COLLATE utf8mb4_unicode_ci PRIMARY KEY, n INT)`,
  bare: `CREATE TABLE bare (n INT, f FLOAT, d DOUBLE, s VARCHAR(20), b BLOB, j JSON, g POINT,
    e ENUM('x','y'))`,
  folder: `CREATE TABLE folder (id INT PRIMARY KEY, code INT UNIQUE)`,
  file: `CREATE TABLE file (id INT PRIMARY KEY, folder INT, up INT, v INT,
    FOREIGN KEY (folder) REFERENCES folder (code) ON DELETE CASCADE ON UPDATE CASCADE,
    FOREIGN KEY (up) REFERENCES file (id) ON DELETE CASCADE)`,
  line: `CREATE TABLE line (id INT PRIMARY KEY, file INT, v INT,
    FOREIGN KEY (file) REFERENCES file (id) ON DELETE SET NULL)`,
  feed: `CREATE TABLE feed (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))`,
};

/** The tables to be followed. */
export const TRAFFIC_TABLES = Object.keys(TABLES);

/** Not to be followed: its rows tell how far a connector has got. */
export const MARKS = 'progress_marks';

/**
 * Of production’s own refusals: a duplicate, a lock, a deadlock, a row that is referred to, or is not there,
 * and a cascade that goes too deep or through too many tables.
 */
const REFUSALS = new Set([1062, 1205, 1213, 1451, 1452, 3008, 6575]);

type Act = (client: Connection, random: Random) => Promise<unknown>;

const few = (random: Random): number => random.integer(1, 6);
const id = (random: Random): number => random.integer(1, 60);
const word = (random: Random): string =>
  random.pick(['straße', 'STRASSE', 'Äpfel', 'äpfel', 'ÄPFEL', 'pad', 'Pad', 'x', 'X', 'é', 'e']);
const number = (random: Random): string =>
  random.pick(['0', '-0e0', '0.1', '-3.5', '1e-7', '123456', '3.14159', '1.5e10']);
const bytes = (random: Random): string =>
  Array.from({ length: random.integer(0, 9) }, () =>
    random.integer(0, 255).toString(16).padStart(2, '0'),
  ).join('');

const item = (random: Random): Readonly<Record<string, unknown>> => ({
  code: random.chance(0.4) ? null : `c${String(random.integer(1, 90))}`,
  name: random.pick(['Ärger', `it's`, '', 'a\\b', null]),
  price: `${String(random.integer(-999999, 999999))}.${String(random.integer(0, 999))}`,
  ratio: random.next() * 10 ** random.integer(-9, 9),
  body: Buffer.from(bytes(random), 'hex'),
  doc: random.pick(['{"a": [1, 2.5, "x"], "b": null}', '[]', '"text"', null]),
  at: random.pick(['2024-03-31 02:30:00.123456', '1999-12-31 23:59:59', null]),
  day: random.pick(['2024-02-29 12:00:00.123', '1000-01-01 00:00:00', null]),
  span: random.pick(['-12:30:00.5', '800:00:00', null]),
  state: random.pick(['new', `it's`, 'gone', null]),
  marks: random.pick(['', 'a', 'a,c', null]),
  flags: random.integer(0, 4095),
  big: random.pick(['18446744073709551615', '9007199254740993', '0']),
});

const ACTS: readonly Act[] = [
  (client, random) => client.query('INSERT INTO item SET ?', [item(random)]),
  (client, random) => client.query('INSERT INTO item SET ?', [item(random)]),
  (client, random) => client.query('UPDATE item SET ? WHERE id = ?', [item(random), id(random)]),
  (client, random) =>
    client.query('REPLACE INTO item SET ?', [{ ...item(random), id: id(random) }]),
  (client, random) => client.query('DELETE FROM item WHERE id = ?', [id(random)]),
  (client, random) => client.query('UPDATE item SET id = ? WHERE id = ?', [id(random), id(random)]),
  (client, random) => swap(client, 'id', id(random), id(random)),
  (client, random) => swapCodes(client, id(random), id(random)),
  (client, random) =>
    client.query(
      'INSERT INTO pair VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE v = v + 1, b = CONCAT(b, "x")',
      [random.integer(1, 5), word(random), bytes(random).slice(0, 4), random.integer(0, 9)],
    ),
  (client, random) =>
    client.query('UPDATE pair SET a = a + 1, v = ? WHERE a = ?', [
      random.integer(0, 9),
      random.integer(1, 9),
    ]),
  (client, random) => client.query('DELETE FROM pair WHERE a > ?', [random.integer(5, 9)]),
  (client, random) =>
    client.query('REPLACE INTO word VALUES (?, ?)', [word(random), random.integer(0, 99)]),
  (client, random) =>
    client.query('UPDATE word SET w = ? WHERE w = ?', [word(random), word(random)]),
  (client, random) => client.query('DELETE FROM word WHERE w = ?', [word(random)]),
  (client, random) => client.query(insertBare(random)),
  (client, random) => client.query(insertBare(random)),
  (client) => client.query('INSERT INTO bare SELECT * FROM bare LIMIT 1'),
  (client, random) =>
    client.query(`UPDATE bare SET s = ? WHERE n = ? LIMIT 1`, [word(random), random.integer(0, 5)]),
  (client, random) => client.query(`DELETE FROM bare WHERE n = ? LIMIT 1`, [random.integer(0, 5)]),
  (client, random) =>
    client.query('INSERT INTO folder VALUES (?, ?) ON DUPLICATE KEY UPDATE code = VALUES(code)', [
      few(random),
      few(random),
    ]),
  (client, random) => client.query('DELETE FROM folder WHERE id = ?', [few(random)]),
  ...[0, 1, 2].map(
    (): Act => (client, random) =>
      client.query(
        `INSERT INTO file SELECT ?, (SELECT code FROM folder WHERE id = ?),
          (SELECT f.id FROM file f WHERE f.id = ? AND f.up IS NULL), ?
          ON DUPLICATE KEY UPDATE v = VALUES(v)`,
        [random.integer(1, 30), few(random), random.integer(1, 30), random.integer(0, 99)],
      ),
  ),
  (client, random) => client.query('DELETE FROM file WHERE id = ?', [random.integer(1, 30)]),
  (client, random) =>
    client.query(
      `INSERT INTO line SELECT ?, (SELECT id FROM file WHERE id = ?), ?
        ON DUPLICATE KEY UPDATE v = VALUES(v), file = VALUES(file)`,
      [random.integer(1, 30), random.integer(1, 30), random.integer(0, 99)],
    ),
  (client, random) => client.query('INSERT INTO feed (v) VALUES (?)', [word(random)]),
];

function insertBare(random: Random): string {
  const literals = [
    String(random.integer(0, 5)),
    number(random),
    number(random),
    random.chance(0.2) ? 'NULL' : mysql.escape(word(random)),
    random.chance(0.2) ? 'NULL' : `X'${bytes(random)}'`,
    random.pick(['NULL', `'{"k": [1, true]}'`, `'[]'`]),
    random.pick(['NULL', `ST_GeomFromText('POINT(1 2.5)')`]),
    random.pick(['NULL', `'x'`, `'y'`]),
  ];
  return `INSERT INTO bare VALUES (${literals.join(', ')})`;
}

/** Two rows change keys, by way of a third that nobody has. */
async function swap(client: Connection, key: string, a: number, b: number): Promise<void> {
  const far = 1_000_000 + a;
  for (const [to, from] of [
    [far, a],
    [a, b],
    [b, far],
  ]) {
    await client.query(`UPDATE item SET ${key} = ? WHERE ${key} = ?`, [to, from]);
  }
}

async function swapCodes(client: Connection, a: number, b: number): Promise<void> {
  const [rows] = await client.query<RowDataPacket[]>(
    'SELECT id, code FROM item WHERE id IN (?, ?) FOR UPDATE',
    [a, b],
  );
  const [one, two] = rows;
  if (one === undefined || two === undefined) return;
  await client.query('UPDATE item SET code = NULL WHERE id = ?', [one['id']]);
  await client.query('UPDATE item SET code = ? WHERE id = ?', [one['code'], two['id']]);
  await client.query('UPDATE item SET code = ? WHERE id = ?', [two['code'], one['id']]);
}

export interface Writers {
  stop(): Promise<void>;
}

/** Writers to one database, whose choices follow from a seed; their interleaving does not. */
export class BinlogTraffic {
  readonly #url: string;
  readonly #random: Random;
  readonly #running = new Set<Writers>();
  #transactions = 0;

  private constructor(url: string, random: Random) {
    this.#url = url;
    this.#random = random;
  }

  /** Makes the tables, in the database that `url` names. */
  static async open(url: string, seed: number): Promise<BinlogTraffic> {
    const traffic = new BinlogTraffic(url, new Random(seed));
    await traffic.execute(
      `CREATE TABLE ${MARKS} (id INT AUTO_INCREMENT PRIMARY KEY)`,
      ...Object.values(TABLES),
    );
    return traffic;
  }

  /** Transactions committed so far. */
  get transactions(): number {
    return this.#transactions;
  }

  async execute(...statements: readonly string[]): Promise<void> {
    await using client = await open(this.#url);
    for (const sql of statements) await client.query(sql);
  }

  /** One writer, and so many transactions of it. */
  async serve(transactions: number): Promise<void> {
    await using client = await open(this.#url);
    const random = this.#random.fork();
    for (let i = 0; i < transactions; i += 1) await this.#transact(client, random);
  }

  start(writers: number): Writers {
    let stopping = false;
    const write = async (random: Random): Promise<void> => {
      await using client = await open(this.#url);
      while (!stopping) await this.#transact(client, random);
    };
    const all = Promise.all(Array.from({ length: writers }, () => write(this.#random.fork())));
    const running = {
      stop: async () => {
        stopping = true;
        this.#running.delete(running);
        await all;
      },
    };
    this.#running.add(running);
    return running;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running].map((writers) => writers.stop()));
  }

  /** A new row of MARKS; returns its number. */
  async mark(): Promise<number> {
    await using client = await open(this.#url);
    const [result] = await client.query<ResultSetHeader>(`INSERT INTO ${MARKS} VALUES ()`);
    return result.insertId;
  }

  async #transact(client: Connection, random: Random): Promise<void> {
    try {
      if (random.chance(0.03)) {
        await client.query('TRUNCATE feed');
      } else {
        await client.beginTransaction();
        for (let acts = random.integer(1, 4); acts > 0; acts -= 1) {
          await random.pick(ACTS)(client, random);
        }
        await (random.chance(0.1) ? client.rollback() : client.commit());
      }
      this.#transactions += 1;
    } catch (error) {
      await client.rollback();
      if (!REFUSALS.has((error as { errno?: number }).errno ?? 0)) throw error;
    }
  }
}

async function open(url: string): Promise<Connection & AsyncDisposable> {
  const client = await connectBinlog(url);
  await client.query(`SET innodb_lock_wait_timeout = 2, sql_mode = 'STRICT_ALL_TABLES'`);
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

interface ColumnRow extends RowDataPacket {
  readonly name: string;
  readonly type: string;
}

/** All rows of the tables as the server shows them, exactly, in an order of their own. */
export async function binlogState(
  url: string,
  tables: readonly string[] = TRAFFIC_TABLES,
): Promise<Readonly<Record<string, string[]>>> {
  await using client = await open(url);
  const state: Record<string, string[]> = {};
  for (const table of tables) {
    const [columns] = await client.query<ColumnRow[]>(
      `SELECT column_name AS name, data_type AS type FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position`,
      [table],
    );
    const cells = columns.map(({ name, type }) => exactSql(mysql.escapeId(name), type));
    const [rows] = await client.query<RowDataPacket[][]>({
      sql: `SELECT ${cells.join(', ')} FROM ${table}`,
      rowsAsArray: true,
    });
    state[table] = rows.map((row) => JSON.stringify(row)).sort();
  }
  return state;
}
