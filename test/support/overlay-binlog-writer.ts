/** A session of the candidate in the overlay's torture on MySQL and MariaDB: what it writes, and its log. */
import type { Connection, ResultSetHeader } from 'mysql2/promise';
import type { HotTable } from './hot-table.ts';
import { hotTable } from './overlay-binlog-tables.ts';
import { rowsOf } from './overlay-binlog-session.ts';
import { HOT_KEYS, SHARED_VALUES, type Fire, type HotRow } from './overlay-fire.ts';
import type { Random } from './random.ts';

/** What ends a transaction of two phases that lost a deadlock, or waited for too long. */
const ENDED = new Set([1402, 1613, 1614]);

export class BinlogWriter {
  readonly #client: Connection;
  readonly #random: Random;
  readonly #fire: Pick<Fire, 'meant'>;
  readonly #name: string;
  readonly #table: HotTable;
  readonly #log: string;
  /** An update that is left out makes an entry all the same. */
  readonly #firesInVain: boolean;
  #xa: string | null = null;
  #serial = 0;

  constructor(
    client: Connection,
    parts: {
      readonly random: Random;
      readonly fire: Pick<Fire, 'meant'>;
      readonly table: string;
      readonly log: string;
      readonly firesInVain: boolean;
    },
  ) {
    this.#client = client;
    this.#random = parts.random;
    this.#fire = parts.fire;
    this.#name = parts.table;
    this.#table = hotTable(parts.table);
    this.#log = parts.log;
    this.#firesInVain = parts.firesInVain;
  }

  async begin(): Promise<void> {
    const random = this.#random;
    const level = random.pick([
      ...['READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'REPEATABLE READ', 'SERIALIZABLE'],
    ]);
    await this.#client.query(`SET TRANSACTION ISOLATION LEVEL ${level}`);
    if (random.chance(0.2)) {
      this.#serial += 1;
      const xa = `'${this.#log}', '${String(this.#client.threadId)}-${String(this.#serial)}'`;
      await this.#client.query(`XA START ${xa}`);
      this.#xa = xa;
    } else await this.#client.query('START TRANSACTION');
    // A snapshot that may be older than the entries.
    if (random.chance(0.3)) await this.#client.query(`SELECT COUNT(*) FROM ${this.#name}`);
  }

  /** COMMIT and ROLLBACK end whatever was begun. */
  async run(sql: string): Promise<void> {
    const xa = this.#xa;
    if (xa === null || (sql !== 'COMMIT' && sql !== 'ROLLBACK')) {
      await this.#client.query(sql);
      return;
    }
    if (sql === 'ROLLBACK') {
      await this.#client.query(`XA END ${xa}`).catch(() => undefined);
      await this.#client.query(`XA ROLLBACK ${xa}`);
      this.#xa = null;
      return;
    }
    await this.#client.query(`XA END ${xa}`);
    if (this.#random.chance(0.3)) await this.#client.query(`XA COMMIT ${xa} ONE PHASE`);
    else {
      await this.#client.query(`XA PREPARE ${xa}`);
      await this.#client.query(`XA ${this.#random.chance(0.2) ? 'ROLLBACK' : 'COMMIT'} ${xa}`);
    }
    this.#xa = null;
  }

  isCollision(error: unknown): boolean {
    return error instanceof Error && 'errno' in error && ENDED.has(Number(error.errno));
  }

  async statement(): Promise<void> {
    const random = this.#random;
    const name = this.#name;
    const id = random.integer(1, HOT_KEYS);
    const value = this.#fire.meant(id);
    switch (random.integer(0, 11)) {
      case 0:
        if (this.#table.unique === true && random.chance(0.7)) {
          const set = `b = '${value}', c = '${random.pick(SHARED_VALUES)}'`;
          return this.#put(id, `UPDATE ${name} SET ${set} WHERE ${this.#is(id)}`);
        }
        return this.#put(id, `UPDATE ${name} SET b = '${value}' WHERE ${this.#is(id)}`);
      case 1:
        return this.#put(id, `UPDATE ${name} SET b = '${value}' WHERE ${this.#is(id)}`);
      case 2:
        // Changes nothing, and so nobody owns it.
        await this.#client.query(`UPDATE ${name} SET b = b WHERE ${this.#is(id)}`);
        return;
      case 3:
        return this.#put(
          id,
          `${this.#insert(id, '7', value)} ON DUPLICATE KEY UPDATE b = VALUES(b)`,
        );
      case 4:
        return this.#put(id, this.#insert(id, '8', value, 'INSERT IGNORE'));
      case 5:
        if (this.#table.unique === true && random.chance(0.5)) {
          return this.#put(id, this.#insert(id, '9', value, 'INSERT', random.pick(SHARED_VALUES)));
        }
        return this.#put(id, this.#insert(id, '9', value, 'REPLACE'));
      case 6:
        await this.#delete(id, random.pick(['', 'IGNORE']));
        return;
      case 7:
      case 8: {
        const row = await this.#delete(id);
        if (row === null) {
          await this.#put(id, this.#insert(id, '6', value));
          await this.#delete(id);
          return;
        }
        // As it was, also how its key was spelled: it is owned all the same.
        return this.#put(id, this.#insert(id, row.a, row.b, 'INSERT', row.c));
      }
      case 9:
        // Of a key that is spelled freely: another spelling, under which it is the same.
        return this.#respell(id, String(random.integer(0, 9)));
      case 10:
        return this.#move(id, random.integer(1, HOT_KEYS), 'IGNORE');
      default:
        return this.#move(id, random.integer(1, HOT_KEYS), '');
    }
  }

  /** Gives back what some rows hold that others may not. */
  async giveBack(): Promise<void> {
    for (let id = 1; id <= HOT_KEYS; id += 1) {
      if (this.#random.chance(0.5)) continue;
      const held = `${this.#is(id)} AND c IS NOT NULL`;
      await this.#put(id, `UPDATE ${this.#name} SET c = NULL WHERE ${held}`);
    }
  }

  async #put(id: number, sql: string): Promise<void> {
    const [{ affectedRows }] = await this.#client.query<ResultSetHeader>(sql);
    if (affectedRows > 0) await this.#noted(id, await this.#row(id));
  }

  async #respell(id: number, a: string): Promise<void> {
    const set = this.#table.hasA ? `a = ${a}` : this.#sets(id, a);
    const [{ changedRows }] = await this.#client.query<ResultSetHeader>(
      `UPDATE ${this.#name} SET ${set} WHERE ${this.#is(id)}`,
    );
    const row = changedRows > 0 ? await this.#row(id) : null;
    if (row !== null) await this.#noted(id, row);
  }

  async #move(id: number, to: number, ignore: string): Promise<void> {
    if (to === id) return;
    const [{ affectedRows, changedRows }] = await this.#client.query<ResultSetHeader>(
      `UPDATE ${ignore} ${this.#name} SET ${this.#sets(to, '3')} WHERE ${this.#is(id)}`,
    );
    if (affectedRows === 0) return;
    if (changedRows === 0) {
      // Not as the snapshot has it, for this transaction did not write it.
      if (this.#firesInVain) await this.#noted(id, await this.#row(id, 'FOR UPDATE'));
      return;
    }
    await this.#noted(id, null);
    await this.#noted(to, await this.#row(to));
  }

  /** Null if there was none. */
  async #delete(id: number, ignore = ''): Promise<HotRow | null> {
    const row = await this.#row(id, 'FOR UPDATE');
    const [{ affectedRows }] = await this.#client.query<ResultSetHeader>(
      `DELETE ${ignore} FROM ${this.#name} WHERE ${this.#is(id)}`,
    );
    if (affectedRows > 0) await this.#noted(id, null);
    return row;
  }

  /** By any spelling of its key. */
  #is(id: number): string {
    const values = this.#table.keyOf(id, String(this.#random.integer(0, 9)));
    return this.#table.key.map((name, i) => `${name} = '${values[i] ?? ''}'`).join(' AND ');
  }

  #sets(id: number, a: string): string {
    const values = this.#table.keyOf(id, a);
    return this.#table.key.map((name, i) => `${name} = '${values[i] ?? ''}'`).join(', ');
  }

  #insert(id: number, a: string, b: string, how = 'INSERT', c: string | null = null): string {
    const { key, keyOf, hasA } = this.#table;
    const names = [...key, ...(hasA ? ['a'] : []), 'b', 'c'];
    const values = [...keyOf(id, a), ...(hasA ? [a] : []), b].map((one) => `'${one}'`);
    values.push(c === null ? 'NULL' : `'${c}'`);
    return `${how} INTO ${this.#name} (${names.join(', ')}) VALUES (${values.join(', ')})`;
  }

  async #row(id: number, lock = ''): Promise<HotRow | null> {
    const a = this.#table.a((column) => column);
    const [row] = await rowsOf<HotRow>(
      this.#client,
      `SELECT ${a} AS a, b, c FROM ${this.#name} WHERE ${this.#is(id)} ${lock}`,
    );
    return row === undefined ? null : { a: row.a, b: row.b, c: row.c };
  }

  /** In a statement after the write's, so that the write's triggers have fired: see overlay-binlog.ts. */
  async #noted(id: number, row: HotRow | null): Promise<void> {
    const kind = row === null ? 'delete' : 'put';
    await this.#client.query(
      `INSERT INTO ${this.#log} (id, kind, a, b, c) VALUES (?, ?, ?, ?, ?)`,
      [...[id, kind, row?.a ?? null, row?.b ?? null, row?.c ?? null]],
    );
  }
}
