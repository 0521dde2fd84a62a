/**
 * Keeps what production's rows are by changes that are set aside (see overlay/images.ts), beside the
 * batch that sets them aside. What a change keeps of its row comes from the row's image, or where it
 * has none from production's row here. A row that the columns' types do not take, of which something
 * was not sent and is not here, or whose change cannot be read, is not known: nothing is guessed.
 *
 * Such rows are few, so each is written by itself.
 */
import type { ClientBase } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import { imageValue, UNSURE, type KnownValue } from '../../../change/value.ts';
import { isUnderstudyError } from '../../../errors/understudy-error.ts';
import type { LetterImages, NetChange } from '../../../order/change-batch.ts';
import { RowRefused } from '../../dead-letters.ts';
import { ensureImages } from '../overlay/images.ts';
import { keptOf } from '../overlay/reshapes.ts';
import { IMAGE, imageId, JOURNAL, relation, WAITING } from '../session/names.ts';
import { renderText } from '../session/types.ts';
import { applyFailure } from './apply-error.ts';
import { withWaiting } from './park-locked.ts';
import { inKeyOrder, tableOf, type ApplySession } from './apply.ts';
import type { ApplyTable } from './apply-table.ts';

const SAVEPOINT = 'understudy_image';

type Key = readonly KnownValue[];
/** A row's columns as text, in the order of the table's. */
type Row = readonly (string | null)[];
type Upsert = Extract<NetChange, { kind: 'upsert' }>;

/** After the batch's own rows, which production changed before. */
export async function saveImages(
  session: ApplySession,
  images: readonly LetterImages[],
): Promise<void> {
  for (const of of images) {
    const table = keyedTable(session, of.table);
    if (table === null) continue;
    try {
      await ensureImages(session.client, table);
      session.ledgers.images.add(imageId(table.schema.id).name);
      await new TableImages(session, table, of.letter).save(of);
    } catch (error) {
      throw applyFailure(error, table.label);
    }
  }
}

/** Null for a table whose key cannot be written: no row of it is ever addressed. */
function keyedTable(session: ApplySession, id: TableId): ApplyTable | null {
  try {
    return keptOf(session, id) ?? tableOf(session, id);
  } catch (error) {
    if (isUnderstudyError(error, 'KEY_MISSING')) return null;
    throw error;
  }
}

class TableImages {
  readonly #session: ApplySession;
  readonly #client: ClientBase;
  readonly #table: ApplyTable;
  readonly #images: string;
  readonly #letter: string;
  /** Rows without a place, since it is not told which, or a key that no row of the table can have. */
  #unplaced = 0;

  constructor(session: ApplySession, table: ApplyTable, letter: string) {
    this.#session = session;
    this.#client = session.client;
    this.#table = withWaiting(table, session.waiting);
    this.#images = relation(imageId(table.schema.id));
    this.#letter = letter;
  }

  async save({ steps }: LetterImages): Promise<void> {
    for (const step of steps) {
      if (step.kind === 'unknown') {
        for (const key of step.keys) await this.#mark(key, 'u');
        this.#unplaced += step.keyless;
        continue;
      }
      const changes = inKeyOrder(this.#session, step, this.#table);
      // All are completed from how it stood before the first of them is written: rows may swap keys.
      const rows: (Row | null)[] = [];
      for (const change of changes) rows.push(await this.#rowOf(change));
      for (const [i, change] of changes.entries()) {
        const row = rows[i] ?? null;
        if (change.kind === 'delete') await this.#mark(change.key, 'g');
        else if (row === null || !(await this.#put(row))) await this.#mark(change.key, 'u');
      }
    }
    await this.#client.query(
      `UPDATE understudy.dead_letter SET unplaced = unplaced + $2, hidden =
          (SELECT pg_catalog.count(*) FROM ${this.#images}
            WHERE ${IMAGE.letter} = $1 AND ${IMAGE.state} = 'u')
        WHERE id = $1`,
      [this.#letter, this.#unplaced],
    );
  }

  /** Null for a delete, and where it is not known. */
  async #rowOf(change: NetChange): Promise<Row | null> {
    if (change.kind === 'delete') return null;
    const { columns, key } = this.#table;
    const values = columns.map(({ schema }) => {
      const at = key.findIndex((column) => column.schema.name === schema.name);
      return at < 0 ? imageValue(change.image, schema.name) : (change.key[at] ?? null);
    });
    if (change.doubted !== undefined || values.includes(UNSURE)) return null;
    const whole = values.every((value) => typeof value !== 'symbol');
    const kept = whole ? null : await this.#keptBy(change);
    if (!whole && kept === null) return null;
    return columns.map(({ schema }, i) => {
      const value = values[i] ?? null;
      return typeof value === 'symbol' ? (kept?.[i] ?? null) : renderText(value, schema.type);
    });
  }

  /** The row whose columns the change keeps. */
  async #keptBy({ from, key, complete }: Upsert): Promise<Row | null> {
    const row = await this.#production(from);
    return row === null && complete ? this.#production(key) : row;
  }

  /** Production's row with this key. Null if there is none, or it is not known. */
  async #production(key: Key): Promise<Row | null> {
    const { journal, rows, waiting } = this.#table;
    const places = [
      { from: this.#images, isRow: `t.${IMAGE.state} = 'i'` },
      ...(waiting === null ? [] : [{ from: waiting, isRow: `t.${WAITING.present}` }]),
      ...(journal === null ? [] : [{ from: journal, isRow: `t.${JOURNAL.present}` }]),
      { from: rows, isRow: 'true' },
    ];
    const columns = this.#table.columns.map(({ name }) => `t.${name}::text`);
    // In one statement: a candidate that takes the row meanwhile is seen with its entry, or not at all.
    const queries = places.map(
      ({ from, isRow }, place) =>
        `SELECT ${place} AS place, ${isRow} AS "isRow", ARRAY[${columns.join(', ')}] AS row
          FROM ${from} t WHERE ${this.#sameKey('t')}`,
    );
    const found = await this.#trying(() =>
      this.#client.query<{ isRow: boolean; row: Row }>(
        `${queries.join(' UNION ALL ')} ORDER BY place LIMIT 1`,
        [...this.#keyTexts(key)],
      ),
    );
    const first = found?.rows[0];
    return first?.isRow === true ? first.row : null;
  }

  /** False if the columns do not take it. */
  async #put(row: Row): Promise<boolean> {
    const names = this.#table.columns.map(({ name }) => name);
    const places = names.map((_, i) => `$${i + 1}`);
    const set = [...names, IMAGE.state, IMAGE.letter].map((name) => `${name} = excluded.${name}`);
    const done = await this.#trying(() =>
      this.#client.query(
        `INSERT INTO ${this.#images} (${names.join(', ')}, ${IMAGE.state}, ${IMAGE.letter})
          VALUES (${places.join(', ')}, 'i', $${names.length + 1})
          ON CONFLICT (${this.#keyNames()}) DO UPDATE SET ${set.join(', ')}`,
        [...row, this.#letter],
      ),
    );
    return done !== null;
  }

  async #mark(key: Key, state: 'g' | 'u'): Promise<void> {
    const places = key.map((_, i) => `$${i + 1}`);
    const done = await this.#trying(() =>
      this.#client.query(
        `INSERT INTO ${this.#images} (${this.#keyNames()}, ${IMAGE.state}, ${IMAGE.letter})
          VALUES (${places.join(', ')}, '${state}', $${key.length + 1})
          ON CONFLICT (${this.#keyNames()}) DO UPDATE SET ${IMAGE.state} = excluded.${IMAGE.state},
            ${IMAGE.letter} = excluded.${IMAGE.letter}`,
        [...this.#keyTexts(key), this.#letter],
      ),
    );
    if (done === null && state === 'u') this.#unplaced += 1;
  }

  /** Null if what it was given does not fit the columns. */
  async #trying<T>(act: () => Promise<T>): Promise<T | null> {
    await this.#client.query(`SAVEPOINT ${SAVEPOINT}`);
    let done: T | null = null;
    try {
      done = await act();
    } catch (error) {
      if (!(applyFailure(error, this.#table.label) instanceof RowRefused)) throw error;
      await this.#client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
    }
    await this.#client.query(`RELEASE SAVEPOINT ${SAVEPOINT}`);
    return done;
  }

  #keyNames(): string {
    return this.#table.key.map(({ name }) => name).join(', ');
  }

  #keyTexts(key: Key): readonly (string | null)[] {
    return this.#table.key.map(({ schema }, i) => renderText(key[i] ?? null, schema.type));
  }

  #sameKey(alias: string): string {
    return this.#table.key
      .map(({ name, equals }, i) => `${alias}.${name} ${equals} $${i + 1}`)
      .join(' AND ');
  }
}
