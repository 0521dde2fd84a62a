/**
 * Writes staged rows that nobody owns to a table that a candidate writes to as well. A row of production's
 * that is refused there, since a row of the candidate's holds a unique value of it, or the candidate's schema
 * does not take it, is kept out: production's image stands in the journal alone, with why, and what the
 * candidate sees stays as it was.
 *
 * Which rows are refused is looked for only where something is. Rows that are in the way by a plain unique
 * key are found by that key: rows of the candidate's, and what others that are kept out were before. For what
 * is refused then the rows are halved until each that is refused stands alone. A unique key that has
 * nothing of the candidate's in the way is one that production's rows do not keep to: of the candidate's
 * schema, or of production's between two parts of its log.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ConflictKind } from '../../../overlay/conflict.ts';
import { imageText, orNull } from '../overlay/conflict-sql.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL, literal } from '../session/names.ts';
import type { OverlaidTable } from './overlaid-table.ts';
import { duplicatedKey, isRefusal, refuserOf } from './apply-error.ts';
import { lackingMasks } from './apply-rows.ts';
import { lockStaged, RowsHeld, sharedLock } from './held-rows.ts';
import type { ApplyColumn, ApplyTable } from './apply-table.ts';
import type { Masks } from './stage.ts';
import { besideEntry, joined, mark, OWN } from './staged-rows.ts';

const SAVEPOINT = 'understudy_rows';
const PART = 'understudy_part';
/** Characters of what is told of a refusal. */
const DETAIL = 500;

/** What rows are written of. */
export type Writing =
  | {
      readonly of: 'a step';
      readonly masks: Masks;
      /** Where the log stands by then, as text. */
      readonly source: string | null;
      /** Some of its rows were kept out until now. */
      readonly anyHeld: boolean;
      /** Of some rows the entry was given up. */
      readonly anyFreed: boolean;
      /**
       * Stages what the candidate has in the way, with the others, to be written as production has it; returns
       * how many rows. Null: it stays.
       */
      readonly clear: (() => Promise<number>) | null;
    }
  | {
      /**
       * Of these, those whose entry goes (`freed`) are put in place of what is there. Where one is refused it
       * is APPLY_BLOCKED, or it stays as it is and is `freed` no more.
       */
      readonly of: 'what is put back';
      readonly refused: 'fails' | 'stays';
    };

const NO_MASKS: Masks = new Map();

interface Refused {
  readonly seq: number;
  readonly why: Extract<ConflictKind, 'multiple_unique' | 'schema'>;
  readonly detail: string;
}

/** A unique key by whose values rows are found. */
export interface FindingKey {
  readonly name: string;
  readonly columns: readonly ApplyColumn[];
}

/** Those beside the key that are of whole columns, all written. */
export function findingKeys({ schema, columns, keyIndex }: ApplyTable): readonly FindingKey[] {
  return schema.uniques.flatMap((unique): readonly FindingKey[] => {
    if (!unique.plain || unique.name === keyIndex) return [];
    const parts = unique.columns.map((name) => columns.find(({ schema: of }) => of.name === name));
    const known = parts.filter((part) => part !== undefined);
    return known.length < parts.length ? [] : [{ name: unique.name, columns: known }];
  });
}

/**
 * Of the rows with `own = 0`, and their entries where they were kept out until now, which go with it. All of
 * it is locked. Returns how many are kept out; 'raced' if the candidate wrote one of them meanwhile: then it
 * is to be undone.
 */
export function writeUnowned(
  client: Client,
  table: OverlaidTable,
  writing: Writing,
): Promise<number | 'raced'> {
  return new Writer(client, table, writing).write();
}

/**
 * Unique values that staged rows of nobody's bring, as rows have them: so that nobody is waited for who holds
 * such a row. Errors: RowsHeld.
 */
export async function lockValues(client: Client, table: OverlaidTable): Promise<void> {
  const { stage, relation, hint, patience } = table;
  for (const { name, columns } of findingKeys(table)) {
    const on = columns.map((column) => `t.${column.name} = s.${column.staged}`).join(' AND ');
    const from = `${stage} s STRAIGHT_JOIN ${relation} t ${hint(name)} ON ${on}`;
    const where = `s.op <> 'd' AND s.own = ${String(OWN.nobodys)}`;
    const locking = { from, where, lock: sharedLock(patience.engine) };
    await lockStaged(client, table, locking, 'NOWAIT');
  }
}

class Writer {
  readonly #client: Client;
  readonly #table: OverlaidTable;
  readonly #writing: Writing;
  readonly #keys: readonly FindingKey[];

  constructor(client: Client, table: OverlaidTable, writing: Writing) {
    this.#client = client;
    this.#table = table;
    this.#writing = writing;
    this.#keys = findingKeys(table);
  }

  async write(): Promise<number | 'raced'> {
    const client = this.#client;
    let [out, cleared] = [0, 0];
    await client.run(`SAVEPOINT ${SAVEPOINT}`);
    let done = this.#writing.of === 'a step' ? await this.#asTheyAre() : false;
    while (done !== true) {
      if (done === 'raced') return 'raced';
      // What one that is kept out was before may be in the way of others.
      const refused = await this.#allOutThenIn();
      if (refused === 'raced') return 'raced';
      done = refused.length === 0;
      if (done) break;
      await this.#assertNotLater();
      await client.run(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
      const rows = await this.#clear();
      if (rows === 0) {
        if (!(await this.#keepOut(refused))) return 'raced';
        out += refused.length;
      }
      cleared += rows;
      await client.run(`SAVEPOINT ${SAVEPOINT}`);
    }
    if (this.#writing.of === 'a step' && !this.#writing.anyHeld && cleared === 0) return out;
    await client.run(`DELETE j FROM ${joined(this.#table, 'j', 'staged')}
      WHERE s.held = 1 AND s.own = ${String(OWN.nobodys)}`);
    return out;
  }

  /** RowsHeld if a value is refused for a row that has it only until what waits of it is written. */
  async #assertNotLater(): Promise<void> {
    if (this.#writing.of !== 'a step' || !this.#table.patience.isOver) return;
    const { stage, relation, waiting, key, hint } = this.#table;
    const found = new Set<number>();
    for (const { name, columns } of this.#keys) {
      const rows = await this.#client.rows<{ seq: number }>(
        `SELECT s.seq FROM ${stage} s
          STRAIGHT_JOIN ${relation} t ${hint(name)}
            ON ${columns.map((column) => `t.${column.name} = s.${column.staged}`).join(' AND ')}
          STRAIGHT_JOIN ${waiting} w FORCE INDEX FOR JOIN (PRIMARY)
            ON ${key.map((one) => `w.${one.name} = t.${one.name}`).join(' AND ')}
          WHERE s.own = ${String(OWN.nobodys)} AND s.op <> 'd'
            AND NOT (${key.map((one) => `t.${one.name} = s.${one.staged}`).join(' AND ')})`,
      );
      for (const { seq } of rows) found.add(seq);
    }
    if (found.size > 0) throw new RowsHeld([...found]);
  }

  /** None that was cleared before: what is refused all the same is kept out. */
  async #clear(): Promise<number> {
    return this.#writing.of === 'a step' ? ((await this.#writing.clear?.()) ?? 0) : 0;
  }

  /** False if something is refused: then nothing is changed. */
  /**
   * A row that is to be changed has NULL where the candidate's table takes none: beside a trigger an UPDATE of
   * these servers writes an empty value there instead, and says nothing. An INSERT refuses it.
   */
  async #lacksValues(): Promise<boolean> {
    const { columns, key, stage } = this.#table;
    const keys = new Set(key.map(({ name }) => name));
    const closed = columns.filter(({ name, schema }) => !schema.nullable && !keys.has(name));
    if (closed.length === 0) return false;
    const missing = closed.map(({ staged }) => `s.${staged} IS NULL`).join(' OR ');
    const found = await this.#client.rows(
      `SELECT s.seq FROM ${stage} s
        WHERE s.op = 'f' AND s.own = 0 AND s.have = 1 AND (${missing}) LIMIT 1`,
    );
    return found.length > 0;
  }

  async #asTheyAre(): Promise<boolean | 'raced'> {
    const client = this.#client;
    const rows = joined(this.#table, 't', 'staged');
    const { columns } = this.#table;
    try {
      if (await this.#lacksValues()) return false;
      await client.run(`DELETE t FROM ${rows} WHERE s.op = 'd' AND s.own = 0 AND s.have = 1`);
      await client.run(
        `UPDATE ${rows} SET ${columns.map((c) => `t.${c.name} = s.${c.staged}`).join(', ')}
          WHERE s.op = 'f' AND s.own = 0 AND s.have = 1`,
      );
      await this.#insert('s.own = 0 AND s.have = 0');
      return true;
    } catch (error) {
      if (this.#isOfKey(error)) return 'raced';
      await client.run(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
      return false;
    }
  }

  /** All go before any comes, as two rows may swap their values. What of them is refused; none: it is done. */
  async #allOutThenIn(): Promise<readonly Refused[] | 'raced'> {
    const client = this.#client;
    await client.run(
      `DELETE t FROM ${joined(this.#table, 't', 'staged')} WHERE s.own = 0 AND s.have = 1`,
    );
    const refused = await this.#inTheWay();
    if (refused.length > 0) return refused;
    const error = await this.#tryInsert('s.own = 0');
    if (error === null) return [];
    if (this.#isOfKey(error)) return 'raced';
    const rows = await client.rows<{ seq: number }>(
      `SELECT seq FROM ${this.#table.stage} WHERE own = 0 AND op <> 'd' ORDER BY seq`,
    );
    const seqs = rows.map(({ seq }) => seq);
    const found: Refused[] = [];
    return (await this.#halve(seqs, error, found)) ? found : 'raced';
  }

  /** By plain unique keys, once for each row. `seq`: of this one alone. */
  async #inTheWay(seq?: number): Promise<readonly Refused[]> {
    const { stage, relation, journal, key, hint } = this.#table;
    const found = new Map<number, Refused>();
    for (const { name, columns } of this.#keys) {
      const rows = await this.#client.rows<{ seq: number }>(
        `SELECT s.seq FROM ${stage} s
          STRAIGHT_JOIN ${relation} t ${hint(name)}
            ON ${columns.map((column) => `t.${column.name} = s.${column.staged}`).join(' AND ')}
          JOIN ${journal} j ON ${key.map((one) => `j.${one.name} = t.${one.name}`).join(' AND ')}
          WHERE s.own = 0 AND s.op <> 'd' ${seq === undefined ? '' : `AND s.seq = ${String(seq)}`}`,
      );
      for (const row of rows) {
        const one: Refused = { seq: row.seq, why: 'multiple_unique', detail: name };
        if (!found.has(row.seq)) found.set(row.seq, one);
      }
    }
    return [...found.values()];
  }

  /**
   * Inserts rows, of which not all go in, as `error` says. False if one of them is the candidate's by now.
   */
  async #halve(seqs: readonly number[], error: unknown, found: Refused[]): Promise<boolean> {
    const [only] = seqs;
    if (only === undefined) return true;
    if (seqs.length === 1) {
      found.push(await this.#refused(only, error));
      return true;
    }
    const middle = Math.ceil(seqs.length / 2);
    for (const half of [seqs.slice(0, middle), seqs.slice(middle)]) {
      const [first, last] = [half[0] ?? 0, half.at(-1) ?? 0];
      const failure = await this.#tryInsert(
        `s.own = 0 AND s.seq BETWEEN ${String(first)} AND ${String(last)}`,
      );
      if (failure === null) continue;
      if (this.#isOfKey(failure)) return false;
      if (!(await this.#halve(half, failure, found))) return false;
    }
    return true;
  }

  async #refused(seq: number, error: unknown): Promise<Refused> {
    const name = duplicatedKey(error);
    if (name === null) return { seq, why: 'schema', detail: refuserOf(error).slice(0, DETAIL) };
    if (!this.#keys.some((key) => key.name === name)) {
      return { seq, why: 'multiple_unique', detail: name };
    }
    // Who is in the way may have come just now.
    const [found] = await this.#inTheWay(seq);
    return found ?? { seq, why: 'schema', detail: name };
  }

  /**
   * Writes production's images of these to their entries. False if there is one that was not: the candidate
   * wrote the row meanwhile.
   */
  async #keepOut(refused: readonly Refused[]): Promise<boolean> {
    const groups = Map.groupBy(refused, ({ why, detail }) => `${why} ${detail}`);
    for (const group of groups.values()) {
      const [first] = group;
      if (first === undefined) continue;
      const seqs = group.map(({ seq }) => seq);
      await mark(this.#client, this.#table, seqs, `own = ${String(OWN.refusing)}`);
      if (this.#writing.of === 'what is put back') await this.#leaveFreed(first);
      try {
        await this.#writeEntries(first);
      } catch (error) {
        if (duplicatedKey(error) === null) throw error;
        return false;
      }
      await this.#client.run(
        `UPDATE ${this.#table.stage} SET held = 1, own = ${String(OWN.refused)}
          WHERE own = ${String(OWN.refusing)}`,
      );
    }
    return true;
  }

  async #writeEntries({ why, detail }: Refused): Promise<void> {
    const { columns, journal, stage } = this.#table;
    const values = new Map<string, string>([
      ...columns.map((column): [string, string] => [column.name, `s.${column.staged}`]),
      ...([
        [JOURNAL.present, '1'],
        [JOURNAL.moved, '1'],
        [JOURNAL.blocked, literal(why)],
        [JOURNAL.detail, literal(detail)],
      ] as const),
    ]);
    const isNew = `j.${JOURNAL.conflict} IS NULL`;
    const set = [...values].map(([name, value]) => `j.${name} = ${value}`);
    if (this.#writing.of === 'a step') {
      const at = [
        [JOURNAL.conflictAt, 'CURRENT_TIMESTAMP(6)'],
        [JOURNAL.conflictSource, orNull(this.#writing.source)],
      ] as const;
      set.push(...at.map(([name, value]) => `j.${name} = IF(${isNew}, ${value}, j.${name})`));
      for (const [name, value] of at) values.set(name, value);
      values.set(JOURNAL.conflict, literal(why));
      set.push(`j.${JOURNAL.conflict} = ${literal(why)}`);
    } else {
      // What was resolved is not listed again for that it was tried.
      set.push(`j.${JOURNAL.conflict} = IF(${isNew}, NULL, ${literal(why)})`);
    }
    const which = `s.own = ${String(OWN.refusing)}`;
    await this.#client.run(
      `UPDATE ${joined(this.#table, 'j', 'staged')} SET ${set.join(', ')}
        WHERE ${which} AND s.held = 1`,
    );
    await this.#client.run(
      `INSERT INTO ${journal} (${[...values.keys()].join(', ')})
        SELECT ${[...values.values()].join(', ')} FROM ${stage} s WHERE ${which} AND s.held = 0`,
    );
    // With what the candidate sees it begins, should it write the row.
    await this.#client.run(
      `UPDATE ${joined(this.#table, 'j', 'staged')} ${besideEntry(this.#table)}
        SET j.${JOURNAL.conflictBase} = ${imageText(this.#table, 't', 'TRUE')}
        WHERE ${which} AND s.held = 0 AND t.${this.#table.key[0]?.name ?? ''} IS NOT NULL`,
    );
  }

  /** Their entries were to go: such a row is in the table, or stays the candidate's. */
  async #leaveFreed({ why, detail }: Refused): Promise<void> {
    const { rows } = await this.#client.run(
      `UPDATE ${this.#table.stage} SET own = ${String(OWN.candidates)}, freed = 0
        WHERE own = ${String(OWN.refusing)} AND freed = 1`,
    );
    if (rows === 0 || this.#writing.of === 'a step' || this.#writing.refused === 'stays') return;
    const what =
      why === 'multiple_unique'
        ? 'a row of the candidate holds a unique value of one that is put back'
        : 'the schema of the rollout refuses a row that is put back';
    const context = { table: this.#table.label, detail: `constraint ${detail}` };
    throw new UnderstudyError('APPLY_BLOCKED', what, context);
  }

  /** Null if it was done; else nothing is changed, and why. */
  async #tryInsert(which: string): Promise<unknown> {
    const client = this.#client;
    await client.run(`SAVEPOINT ${PART}`);
    try {
      await this.#insert(which);
      await client.run(`RELEASE SAVEPOINT ${PART}`);
      return null;
    } catch (error) {
      if (!this.#isOfKey(error)) await client.run(`ROLLBACK TO SAVEPOINT ${PART}`);
      return error;
    }
  }

  async #insert(which: string): Promise<void> {
    const { columns, relation, stage } = this.#table;
    await this.#lookAtFreed();
    const insert = async (some: readonly ApplyColumn[], op: string): Promise<void> => {
      await this.#client.run(
        `INSERT INTO ${relation} (${some.map(({ name }) => name).join(', ')})
          SELECT ${some.map(({ staged }) => `s.${staged}`).join(', ')} FROM ${stage} s
          WHERE ${which} AND ${op}`,
      );
    };
    await insert(columns, `s.op = 'f'`);
    // Columns that production's connector leaves out get their defaults.
    const masks = this.#writing.of === 'a step' ? this.#writing.masks : NO_MASKS;
    const lacking = await lackingMasks(this.#client, this.#table, masks);
    for (const [number, mask] of lacking) {
      const known = columns.filter((_, i) => mask[i] === true);
      await insert(known, `s.op = 'q' AND s.mask = ${String(number)}`);
    }
  }

  /**
   * Who makes a row anew that it had made and removed has the row, and waits for its entry, which is ours: to wait
   * for the row would end one of both. RowsHeld: then it waits without a lock. (What comes between this and the
   * next statement is not met.)
   */
  async #lookAtFreed(): Promise<void> {
    if (this.#writing.of !== 'a step' || !this.#writing.anyFreed) return;
    const from = joined(this.#table, 't', 'staged');
    const where = `s.freed = 1 AND s.have = 0 AND s.own = ${String(OWN.nobodys)} AND s.op <> 'd'`;
    await lockStaged(this.#client, this.#table, { from, where, lock: 'FOR UPDATE' }, 'NOWAIT');
  }

  /** Was it that a row has the key already? Throws what is due to nothing that a row holds. */
  #isOfKey(error: unknown): boolean {
    if (!isRefusal(error)) throw error;
    const name = duplicatedKey(error);
    return name !== null && name === this.#table.keyIndex;
  }
}
