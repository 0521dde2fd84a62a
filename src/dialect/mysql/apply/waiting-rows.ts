/**
 * Staged changes that cannot be written now, since the candidate is at their rows, or at others that are in the
 * way: whole images of them go to where they wait (overlay/waiting.ts), and out of the staging table.
 */
import type { NetChange } from '../../../order/change-batch.ts';
import { isAnyWaiting, noteWaiting, notWaiting } from '../overlay/waiting.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL, literal, WAITING } from '../session/names.ts';
import type { OverlaidTable } from './overlaid-table.ts';
import { assertComplete } from './apply-rows.ts';
import { createReach } from './apply-table.ts';
import type { Masks } from './stage.ts';
import { joined } from './staged-rows.ts';

/** Told by `hop`, below what others use it for. */
const FIRST_HOP = -10;
/** Numbers in one statement. */
const SEQS_AT_ONCE = 5_000;

export class WaitingRows {
  readonly #client: Client;
  readonly #table: OverlaidTable;
  readonly #changes: readonly NetChange[];
  #masks: Map<number, readonly boolean[]>;

  constructor(
    client: Client,
    table: OverlaidTable,
    { masks, changes }: { readonly masks: Masks; readonly changes: readonly NetChange[] },
  ) {
    this.#client = client;
    this.#table = table;
    this.#masks = new Map(masks);
    this.#changes = changes;
  }

  /** Those that staged rows are by now. */
  get masks(): Masks {
    return this.#masks;
  }

  /** Brings changes of keys that wait already to where they wait. Most find that nothing waits. */
  async take(): Promise<void> {
    const client = this.#client;
    if (!(await isAnyWaiting(client, this.#table))) return;
    this.#table.patience.end();
    await this.#complete();
    const found = await client.rows<{ seq: number }>(
      `SELECT s.seq FROM ${this.#joined('staged')} ORDER BY s.seq FOR UPDATE`,
    );
    await this.#store(
      found.map(({ seq }) => seq),
      0,
    );
  }

  /** Lets these wait. `apart`: whether it was writing them that had to wait, of which nothing else tells. */
  async add(seqs: readonly number[], apart: boolean): Promise<void> {
    await this.#complete();
    await noteWaiting(this.#client, this.#table);
    await this.#store(seqs, apart ? 1 : 0);
  }

  /** Takes these from the staging table alone: they wait on. */
  async leave(seqs: readonly number[], apart: boolean): Promise<void> {
    for (const some of parts(seqs)) {
      if (apart) {
        await this.#client.run(
          `UPDATE ${this.#joined('staged')} SET w.${WAITING.apart} = w.${WAITING.apart} + 1
            WHERE s.seq IN (${some})`,
        );
      }
      await this.#client.run(`DELETE FROM ${this.#table.stage} WHERE seq IN (${some})`);
    }
  }

  #joined(side: 'staged' | 'from'): string {
    return joined(this.#table, 'w', side);
  }

  /**
   * Completes images from production's as it is, without a lock: nobody else changes it. (An INSERT that selects
   * reads so; an UPDATE would wait for the rows it reads.)
   */
  async #complete(): Promise<void> {
    if (this.#masks.size === 0) return;
    const client = this.#client;
    const { columns, key, stage, journal } = this.#table;
    const [reach] = this.#table.reach;
    const clear = `DELETE FROM ${reach} WHERE hop <= ${String(FIRST_HOP)}`;
    await client.run(createReach(this.#table, 0));
    const beside = key.map(({ name }) => `o.${name} = t.${name}`).join(' AND ');
    const where = {
      // Before the entries: a row of which one is made meanwhile is found by both, and the same.
      t: `NOT EXISTS (SELECT 1 FROM ${journal} o WHERE ${beside}) AND ${notWaiting(this.#table, 't')}`,
      j: `j.${JOURNAL.present} = 1 AND ${notWaiting(this.#table, 'j')}`,
      w: `w.${WAITING.present} = 1 AND w.${WAITING.lacks} IS NULL`,
    };
    const hop = `${String(FIRST_HOP)} - s.seq`;
    for (const side of ['from', 'staged'] as const) {
      await client.run(clear);
      for (const what of ['t', 'j', 'w'] as const) {
        await client.run(
          `INSERT INTO ${reach} (hop, ${columns.map((_, i) => `b${String(i + 1)}`).join(', ')})
            SELECT ${[hop, ...columns.map(({ name }) => `${what}.${name}`)].join(', ')}
            FROM ${joined(this.#table, what, side)} WHERE s.op IN ('p', 'q') AND ${where[what]}`,
        );
      }
      for (const [number, mask] of [...this.#masks]) {
        const lacking = columns.flatMap(({ staged }, i) =>
          mask[i] === false ? [`s.${staged} = r.b${String(i + 1)}`] : [],
        );
        await client.run(
          `UPDATE ${stage} s STRAIGHT_JOIN ${reach} r ON r.hop = ${hop}
            SET ${[...lacking, `s.op = 'f'`].join(', ')}
            WHERE s.op IN ('p', 'q') AND s.mask = ${String(number)}`,
        );
      }
      await this.#completeInPart(side);
    }
    await client.run(clear);
    await assertComplete(client, this.#table, this.#changes);
  }

  /** From images of rows that are new and lack columns themselves. */
  async #completeInPart(side: 'from' | 'staged'): Promise<void> {
    const { columns } = this.#table;
    const which = `s.op IN ('p', 'q') AND w.${WAITING.present} = 1`;
    const pairs = await this.#client.rows<{ mask: number; lacks: string }>(
      `SELECT DISTINCT s.mask, w.${WAITING.lacks} AS lacks FROM ${this.#joined(side)}
        WHERE ${which} AND w.${WAITING.lacks} IS NOT NULL`,
    );
    for (const { mask: number, lacks } of pairs) {
      const mask = this.#masks.get(number) ?? [];
      const known = columns.map((_, i) => mask[i] === true || lacks[i] === '1');
      const set = columns.flatMap(({ name, staged }, i) =>
        mask[i] === false && lacks[i] === '1' ? [`s.${staged} = w.${name}`] : [],
      );
      const isWhole = !known.includes(false);
      await this.#client.run(
        `UPDATE ${this.#joined(side)}
          SET ${[...set, `s.op = '${isWhole ? 'f' : 'q'}'`, `s.mask = ${String(this.#number(known))}`].join(', ')}
          WHERE ${which} AND s.mask = ${String(number)} AND w.${WAITING.lacks} = ${literal(lacks)}`,
      );
    }
  }

  #number(mask: readonly boolean[]): number {
    const text = maskText(mask);
    for (const [number, one] of this.#masks) if (maskText(one) === text) return number;
    const number = Math.max(0, ...this.#masks.keys()) + 1;
    this.#masks.set(number, mask);
    return number;
  }

  /** Whole images, and those of new rows that lack columns. */
  async #store(seqs: readonly number[], apart: 0 | 1): Promise<void> {
    const { columns, stage, waiting } = this.#table;
    const groups: readonly (readonly [which: string, lacks: string])[] = [
      [`s.op IN ('f', 'd')`, 'NULL'],
      ...[...this.#masks].map(
        ([number, mask]) =>
          [`s.op = 'q' AND s.mask = ${String(number)}`, literal(maskText(mask))] as const,
      ),
    ];
    for (const some of parts(seqs)) {
      for (const [which, lacks] of groups) {
        const values: readonly (readonly [string, string])[] = [
          ...columns.map(({ name, staged }) => [name, `s.${staged}`] as const),
          [WAITING.present, `s.op <> 'd'`],
          [WAITING.lacks, lacks],
        ];
        const names = [...values.map(([name]) => name), WAITING.apart];
        await this.#client.run(
          `INSERT INTO ${waiting} (${names.join(', ')})
            SELECT ${[...values.map(([, value]) => value), String(apart)].join(', ')}
            FROM ${stage} s WHERE s.seq IN (${some}) AND ${which}
            ON DUPLICATE KEY UPDATE
              ${values.map(([name, value]) => `${waiting}.${name} = ${value}`).join(', ')}`,
        );
      }
      await this.#client.run(`DELETE FROM ${stage} WHERE seq IN (${some})`);
    }
  }
}

/** Which of a table's columns are known. */
function maskText(mask: readonly boolean[]): string {
  return mask.map(Number).join('');
}

function parts(seqs: readonly number[]): readonly string[] {
  const found: string[] = [];
  for (let at = 0; at < seqs.length; at += SEQS_AT_ONCE) {
    found.push(seqs.slice(at, at + SEQS_AT_ONCE).join(', '));
  }
  return found;
}
