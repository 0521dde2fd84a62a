/** A session of the candidate in the storm: what it writes, and its log. */
import { setTimeout as pause } from 'node:timers/promises';
import { HOT_KEYS, SHARED_VALUES, type Fire } from '../overlay-fire.ts';
import type { Random } from '../random.ts';
import type { Places, Session, StormEngine } from './engine.ts';
import { logWrites, readRows, writeRow, type SeenRow, type Shape } from './shape.ts';

interface WriterParts {
  readonly engine: StormEngine;
  readonly places: Places;
  readonly random: Random;
  readonly fire: Pick<Fire, 'meant'>;
  readonly isUnique: boolean;
  /** As it is known by now. */
  readonly shape: () => Shape;
}

export class StormWriter {
  readonly #session: Session;
  readonly #parts: WriterParts;

  constructor(session: Session, parts: WriterParts) {
    this.#session = session;
    this.#parts = parts;
  }

  async begin(): Promise<void> {
    for (const sql of this.#parts.engine.begin(this.#parts.random)) await this.#session.run(sql);
  }

  async run(sql: string): Promise<void> {
    await this.#session.run(sql);
  }

  async statement(): Promise<void> {
    const { random, fire, isUnique, engine, places } = this.#parts;
    const { b, hasC, own } = this.#shape;
    const id = random.integer(1, HOT_KEYS);
    const value = fire.meant(id);
    const update = (set: string): Promise<void> =>
      this.#put(id, `UPDATE ${places.table} SET ${set} WHERE id = ${String(id)}`);
    switch (random.integer(0, 10)) {
      case 0:
        if (isUnique && hasC && random.chance(0.6)) {
          return update(`${b} = '${value}', c = '${random.pick(SHARED_VALUES)}'`);
        }
        return update(`${b} = '${value}'`);
      case 1:
        return update(`${b} = '${value}'`);
      case 2:
        return update('a = a');
      case 3:
        return this.#put(
          id,
          engine.insertOr(this.#insert(id, { a: '7', b: value }), `${b} = '${value}'`),
        );
      case 4:
        return this.#put(id, engine.insertOr(this.#insert(id, { a: '8', b: value }), null));
      case 5:
        await this.#delete(id);
        return;
      case 6:
      case 7: {
        // Equal to what it was, but another version of the row.
        const row = await this.#delete(id);
        if (row === null) return this.#put(id, this.#insert(id, { a: '6', b: value }));
        return this.#put(id, this.#insert(id, row));
      }
      case 8:
        if (own !== null) return update(`${own} = '${value}'`);
        return update(`a = ${String(random.integer(0, 9))}`);
      default:
        return this.#move(id, random.integer(1, HOT_KEYS));
    }
  }

  get #shape(): Shape {
    return this.#parts.shape();
  }

  async #put(id: number, sql: string): Promise<void> {
    const { engine, places } = this.#parts;
    const at = { places, shape: this.#shape };
    const written = await writeRow(this.#session, engine, at, { id, sql });
    await this.#linger();
    await logWrites(this.#session, places, written);
  }

  /** Production's change may come to wait for the row between a write and its log. */
  async #linger(): Promise<void> {
    const { random } = this.#parts;
    if (random.chance(0.1)) await pause(random.integer(0, 1_500));
  }

  /** Null if there was none. */
  async #delete(id: number): Promise<SeenRow | null> {
    const { places } = this.#parts;
    const which = `WHERE id = ${String(id)}`;
    const [row] = await readRows(this.#session, places, this.#shape, `${which} FOR UPDATE`);
    const gone = await this.#session.run(`DELETE FROM ${places.table} ${which}`);
    if (gone > 0) await logWrites(this.#session, places, [{ id, gone: true }]);
    return row ?? null;
  }

  async #move(id: number, to: number): Promise<void> {
    if (to === id) return;
    const { engine, places } = this.#parts;
    const sql = `UPDATE ${places.table} SET id = ${String(to)} WHERE id = ${String(id)}`;
    const at = { places, shape: this.#shape };
    const moved = await writeRow(this.#session, engine, at, { id: to, sql });
    if (moved.length > 0) await logWrites(this.#session, places, [{ id, gone: true }, ...moved]);
  }

  #insert(
    id: number,
    row: { readonly a: string; readonly b: string; readonly c?: string | null },
  ): string {
    const { b, hasC } = this.#shape;
    const names = ['id', 'a', b, ...(hasC ? ['c'] : [])];
    const c = row.c ?? null;
    const values = [String(id), row.a, `'${row.b}'`];
    if (hasC) values.push(c === null ? 'NULL' : `'${c}'`);
    return `INSERT INTO ${this.#parts.places.table} (${names.join(', ')}) VALUES (${values.join(', ')})`;
  }
}
