/** A session of the candidate in the storm of policies: what it writes, and its log of what it wrote there. */
import { HOT_KEYS, SHARED_VALUES, type Fire, type HotRow } from '../overlay-fire.ts';
import type { Random } from '../random.ts';
import type { Places, Session, StormEngine, TextRow } from './engine.ts';
import { wroteAs, type Wrote } from './replay.ts';

interface WriterParts {
  readonly engine: StormEngine;
  readonly places: Places;
  readonly random: Random;
  readonly fire: Pick<Fire, 'meant'>;
  readonly isUnique: boolean;
}

const NOTHING: Wrote = { columns: [], added: 0, inserts: 'never' };
const WHOLE: Wrote = { ...NOTHING, inserts: 'always' };

export class PolicyWriter {
  readonly #session: Session;
  readonly #parts: WriterParts;

  constructor(session: Session, parts: WriterParts) {
    this.#session = session;
    this.#parts = parts;
  }

  async begin(): Promise<void> {
    for (const sql of this.#parts.engine.begin(this.#parts.random)) await this.#session.run(sql);
  }

  async statement(): Promise<void> {
    const { random, fire, isUnique, engine } = this.#parts;
    const id = random.integer(1, HOT_KEYS);
    const value = fire.meant(id);
    const added = random.pick([-2, -1, 1, 2]);
    const c = random.chance(0.2) ? null : random.pick(isUnique ? SHARED_VALUES : [value]);
    const more = `a = a + (${String(added)})`;
    switch (random.integer(0, 11)) {
      case 0:
        return this.#update(id, `b = '${value}'`, { ...NOTHING, columns: ['b'] });
      case 1:
        return this.#update(id, `c = ${literal(c)}`, { ...NOTHING, columns: ['c'] });
      case 2:
      case 3:
        return this.#update(id, more, { ...NOTHING, added });
      case 4:
        return this.#update(id, `b = '${value}', ${more}`, { ...NOTHING, added, columns: ['b'] });
      case 5:
        return this.#put(
          id,
          engine.insertOr(this.#insert(id, { a: '7', b: value, c: null }), `b = '${value}'`),
          { ...NOTHING, columns: ['b'], inserts: 'where there is none' },
        );
      case 6: {
        const insert = this.#insert(id, { a: '8', b: value, c: null });
        return this.#put(id, engine.insertOr(insert, null), WHOLE);
      }
      case 7:
        await this.#delete(id);
        return;
      case 8:
      case 9: {
        // Another version of the row, which no statement sees that began before.
        const row = await this.#delete(id);
        if (row === null) return this.#put(id, this.#insert(id, { a: '6', b: value, c }), WHOLE);
        const next = random.pick([row, { ...row, b: value }, { ...row, c }]);
        const a = random.chance(0.5) ? row.a : String(Number(row.a) + added);
        return this.#put(id, this.#insert(id, { ...next, a }), WHOLE);
      }
      case 10:
        return this.#update(id, 'a = a', NOTHING);
      default:
        return this.#move(id, random.integer(1, HOT_KEYS));
    }
  }

  #update(id: number, set: string, wrote: Wrote): Promise<void> {
    const sql = `UPDATE ${this.#parts.places.table} SET ${set} WHERE id = ${String(id)}`;
    return this.#put(id, sql, wrote);
  }

  async #put(id: number, sql: string, wrote: Wrote): Promise<void> {
    const row = await this.#written(id, sql);
    if (row !== null) await this.#log(id, 'put', row, wroteAs(wrote));
  }

  /** The row that a statement wrote under this key; null if none. */
  async #written(id: number, sql: string): Promise<HotRow | null> {
    const { engine } = this.#parts;
    if (engine.returns) return rowOf(await this.#session.rows(`${sql} RETURNING a, b, c`));
    return (await this.#session.run(sql)) > 0 ? this.#read(id, '') : null;
  }

  async #read(id: number, lock: string): Promise<HotRow | null> {
    const { table } = this.#parts.places;
    return rowOf(
      await this.#session.rows(`SELECT a, b, c FROM ${table} WHERE id = ${String(id)} ${lock}`),
    );
  }

  /** What was deleted; null if there was none. */
  async #delete(id: number): Promise<HotRow | null> {
    // One that comes after it is read is left alone.
    const row = await this.#read(id, 'FOR UPDATE');
    if (row === null) return null;
    await this.#session.run(`DELETE FROM ${this.#parts.places.table} WHERE id = ${String(id)}`);
    await this.#log(id, 'delete', row, '');
    return row;
  }

  async #move(id: number, to: number): Promise<void> {
    if (to === id) return;
    const { table } = this.#parts.places;
    const sql = `UPDATE ${table} SET id = ${String(to)} WHERE id = ${String(id)}`;
    const row = await this.#written(to, sql);
    if (row === null) return;
    await this.#log(id, 'delete', row, '');
    await this.#log(to, 'put', row, wroteAs(WHOLE));
  }

  /** In a statement after the write's, so that what captures it has fired, and while its lock is held. */
  async #log(id: number, kind: 'put' | 'delete', row: HotRow, how: string): Promise<void> {
    const values = [row.a, row.b, row.c, how].map(literal).join(', ');
    await this.#session.run(
      `INSERT INTO ${this.#parts.places.log} (id, kind, a, b, c, x) VALUES (${String(id)}, '${kind}', ${values})`,
    );
  }

  #insert(id: number, { a, b, c }: HotRow): string {
    const values = [String(id), a, literal(b), literal(c)].join(', ');
    return `INSERT INTO ${this.#parts.places.table} (id, a, b, c) VALUES (${values})`;
  }
}

function rowOf([row]: readonly TextRow[]): HotRow | null {
  return row === undefined ? null : { a: row[0] ?? '', b: row[1] ?? '', c: row[2] ?? null };
}

const literal = (value: string | null): string => (value === null ? 'NULL' : `'${value}'`);
