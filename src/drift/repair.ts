/**
 * Makes one table of a shadow, or some rows of it, equal to production, while all else flows on.
 *
 * Rows are read and written at an exact point (at-pin.ts), where the shadow holds what production's
 * snapshot saw, but for what is wrong with it. What the snapshot did not see is applied after it:
 * so a row that changes meanwhile ends as the change left it, and nothing is doubled or lost.
 *
 * A whole table is compared first, both sides in snapshots of one point, with following going on;
 * the keys that differ there are read again at points of their own, some thousands at a time, so
 * that following stands still for seconds at most and memory does not grow with the table. A key
 * that did not differ needs nothing: what became of it since came with the log.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import type { BaseReader, ComparedTable, PinnedSnapshot, RowText } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import type { NetChange } from '../order/change-batch.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import { sleep } from '../util/wait.ts';
import {
  atPin,
  type PinActs,
  type PinOptions,
  type PinParts,
  type Unreached,
  type WriteAtPin,
} from './at-pin.ts';
import { assertSameHashes, differingKeys } from './differing-keys.ts';
import { assertSameForms, comparedTable, repairable } from './repaired-table.ts';
import { rowUpsert } from './row-change.ts';

export interface RepairParts extends PinParts {
  /** Production's image in the shadow as it is now: ShadowDatabase.openBaseSnapshot. */
  readonly openBase: () => Promise<BaseReader>;
  readonly catalogue: () => Promise<SchemaCatalogue>;
}

export type RepairPhase = 'comparing' | 'repairing';

export interface RepairProgress {
  readonly phase: RepairPhase;
  /** Rows compared, or keys looked after. */
  readonly done: number;
  /** Of a comparison about, by production's statistics. */
  readonly total: number;
}

export interface RepairOptions extends PinOptions {
  readonly table: TableId;
  /** As the key's columns write them (see TableReader.spellKey); null repairs the whole table. */
  readonly keys: readonly Key[] | null;
  /** Columns that are left as they are: the log does not tell of them. */
  readonly leftOut: ReadonlySet<string>;
  readonly leafRows: number;
  readonly onProgress?: (progress: RepairProgress) => void;
}

export interface RepairResult {
  /** Keys that were named; null for the whole table. */
  readonly keys: number | null;
  /** Rows of production that were compared. */
  readonly rows: number;
  readonly inserted: number;
  readonly overwritten: number;
  readonly deleted: number;
  /** Rows that were right, but were not known to be: entries of the ledgers. */
  readonly confirmed: number;
  /** How many points were reached, and the marker of the last in production's log. */
  readonly pins: number;
  readonly position: string;
}

type Key = readonly string[];

/** Keys looked after at one point, if time allows. */
const KEYS_PER_PIN = 20_000;
/** How long following stands still at one point, about. */
const STANDSTILL_MS = 5_000;
/** Rows read and written at a time: their number follows their size. */
const FIRST_READ = 50;
const MOST_READ = 1_000;
const READ_CHARACTERS = 4 * 1024 * 1024;
/** Rows that may wait for each other, see Repair.#later. */
const MOST_LATER = 20_000;
const LATER_CHARACTERS = 64 * 1024 * 1024;
/** How often a point is tried that was missed by what happened to be under way. */
const ATTEMPTS = 5;
const PAUSE_MS = 1_000;

/**
 * Errors: PIN_FAILED where no exact point was reached, TABLE_NOT_FOLLOWED, TABLE_KEYLESS,
 * SCHEMA_DIFFERS, TABLE_REWRITTEN (production truncates again and again), READ_FAILED, APPLY_BLOCKED, APPLY_FAILED
 * and what a drift check rejects with. What was repaired before stays so; it is safe to repeat.
 */
export function repair(parts: RepairParts, options: RepairOptions): Promise<RepairResult> {
  return new Repair(parts, options).run();
}

class Repair {
  readonly #parts: RepairParts;
  readonly #options: RepairOptions;
  #counts = { rows: 0, inserted: 0, overwritten: 0, deleted: 0, confirmed: 0, pins: 0 };
  #position = '';
  #readRows = FIRST_READ;
  /** Keys that wait for their turn, and how many there were. */
  #queue: Key[] = [];
  #queued = 0;
  /**
   * Keys whose rows could not be written, because a row that is wrong as well holds a unique value
   * of theirs. When all others are right, those in the way are among these: all go at once.
   */
  #later: Key[] = [];
  #laterCharacters = 0;

  constructor(parts: RepairParts, options: RepairOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  async run(): Promise<RepairResult> {
    const keys = this.#options.keys === null ? null : distinct(this.#options.keys);
    if (keys === null) await this.#whole();
    else {
      this.#enqueue(keys);
      await this.#drain();
    }
    await this.#settleLater();
    return { keys: keys?.length ?? null, ...this.#counts, position: this.#position };
  }

  async #whole(): Promise<void> {
    const { leafRows, signal, table } = this.#options;
    await this.#atPin({
      read: async (pinned, base) => {
        const { compared } = await this.#open(pinned, base);
        await assertSameHashes(pinned.reader, base);
        const about = await pinned.reader.aboutRows(compared);
        const onRows = (rows: number): void => {
          this.#counts.rows += rows;
          const done = this.#counts.rows;
          this.#tell({ phase: 'comparing', done, total: Math.max(about, done) });
        };
        const found = differingKeys({
          ...{ production: pinned.reader, base, compared, leafRows, signal, onRows },
        });
        const unsure = await gapKeys(base, table);
        this.#enqueue(unsure);
        const known = new Set(unsure.map(idOf));
        for await (const keys of found) {
          this.#enqueue(keys.filter((key) => !known.has(idOf(key))));
          if (this.#queue.length >= KEYS_PER_PIN) await this.#drain();
        }
      },
    });
    await this.#drain();
  }

  #enqueue(keys: readonly Key[]): void {
    for (const key of keys) this.#queue.push(key);
    this.#queued += keys.length;
  }

  /** Looks after all that waits, at as many points as it takes. */
  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      await this.#atPin({
        supply: async (pinned, write) => {
          await using at = await this.#openNow(pinned);
          const until = performance.now() + STANDSTILL_MS;
          for (let keys = 0; keys < KEYS_PER_PIN && performance.now() < until;) {
            this.#options.signal.throwIfAborted();
            const some = this.#queue.slice(0, this.#readRows);
            if (some.length === 0) return;
            await this.#mend(at, some, write);
            keys += some.length;
            this.#queue.splice(0, some.length);
            const done = this.#queued - this.#queue.length;
            this.#tell({ phase: 'repairing', done, total: this.#queued });
          }
        },
      });
    }
  }

  async #mend(at: Opened, keys: readonly Key[], write: WriteAtPin): Promise<void> {
    const found = await this.#look(at, keys);
    try {
      await this.#write(at, found, write);
    } catch (error) {
      if (!isUnderstudyError(error, 'APPLY_FAILED')) throw error;
      this.#later.push(...keys);
      this.#laterCharacters += found.characters;
      if (this.#later.length > MOST_LATER || this.#laterCharacters > LATER_CHARACTERS) throw error;
    }
  }

  async #settleLater(): Promise<void> {
    const keys = this.#later;
    if (keys.length === 0) return;
    await this.#atPin({
      supply: async (pinned, write) => {
        await using at = await this.#openNow(pinned);
        const all: Found[] = [];
        for (let i = 0; i < keys.length;) {
          this.#options.signal.throwIfAborted();
          const some = keys.slice(i, i + this.#readRows);
          all.push(await this.#look(at, some));
          i += some.length;
        }
        await this.#write(at, join(all), write);
      },
    });
  }

  /** What is wrong with these rows, as both sides have them now. */
  async #look(at: Opened, keys: readonly Key[]): Promise<Found> {
    const { compared, schema } = at;
    const theirs = await at.pinned.reader.rows(compared, keys);
    const ours = await at.base.rows(compared, keys);
    const characters = sizeOf(theirs) + sizeOf(ours);
    this.#readRows = nextRead(keys.length, characters);
    const mine = new Map(ours.map((row) => [idOf(row.key), row]));
    const there = new Set(theirs.map((row) => idOf(row.key)));
    const upserts: NetChange[] = [];
    // Of a whole table they were counted when it was compared.
    const rows = this.#options.keys === null ? 0 : theirs.length;
    const counts = { rows, inserted: 0, overwritten: 0, deleted: 0, confirmed: 0 };
    for (const row of theirs) {
      const own = mine.get(idOf(row.key));
      if (own === undefined) counts.inserted += 1;
      else if (!sameValues(own, row)) counts.overwritten += 1;
      else if (at.unsure.has(idOf(row.key))) counts.confirmed += 1;
      else continue;
      upserts.push(rowUpsert(schema, compared.columns, row, true));
    }
    const deletes: NetChange[] = [];
    for (const { key } of ours) if (!there.has(idOf(key))) deletes.push({ kind: 'delete', key });
    counts.deleted = deletes.length;
    for (const key of keys) {
      // Parked, and gone from production.
      const id = idOf(key);
      if (mine.has(id) || there.has(id) || !at.unsure.has(id)) continue;
      deletes.push({ kind: 'delete', key });
      counts.confirmed += 1;
    }
    return { upserts, deletes, counts, characters };
  }

  async #write(at: Opened, found: Found, write: WriteAtPin): Promise<void> {
    // Deletes first: of two spellings of one key the later change counts.
    const changes = [...found.deletes, ...found.upserts];
    if (changes.length > 0) await write([{ kind: 'rows', table: at.schema.id, changes }]);
    for (const name of COUNTED) this.#counts[name] += found.counts[name];
  }

  async #openNow(pinned: PinnedSnapshot): Promise<Opened & AsyncDisposable> {
    const base = await this.#parts.openBase();
    try {
      return {
        ...(await this.#open(pinned, base)),
        [Symbol.asyncDispose]: () => base[Symbol.asyncDispose](),
      };
    } catch (error) {
      await base[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The table on both sides; SCHEMA_DIFFERS if production's rows cannot be had here as they are. */
  async #open(pinned: PinnedSnapshot, base: BaseReader): Promise<Opened> {
    const { table } = this.#options;
    const schema = repairable(await this.#parts.catalogue(), table);
    const theirs = (await pinned.reader.tables()).get(tableName(table));
    const compared = comparedTable(schema, theirs, this.#options.leftOut);
    await assertSameForms(pinned.reader, base, compared);
    const unsure = new Set((await gapKeys(base, table)).map(idOf));
    return { pinned, base, schema, compared, unsure };
  }

  async #atPin(acts: PinActs): Promise<void> {
    const { supply, read } = acts;
    for (let attempt = 1; ; attempt += 1) {
      const unreached = await this.#tryAtPin({
        ...(supply !== undefined && {
          supply: async (pinned: PinnedSnapshot, write: WriteAtPin) => {
            await supply(pinned, write);
            this.#reached(pinned);
          },
        }),
        ...(read !== undefined && {
          read: async (pinned: PinnedSnapshot, base: BaseReader) => {
            this.#reached(pinned);
            await read(pinned, base);
          },
        }),
      });
      if (unreached === null) return;
      if (!unreached.passing || attempt === ATTEMPTS) {
        if (unreached.error !== undefined) throw unreached.error;
        throw new UnderstudyError('PIN_FAILED', 'no exact point of production was reached', {
          table: tableName(this.#options.table),
          detail: unreached.reason,
        });
      }
      await sleep(PAUSE_MS, this.#options.signal);
    }
  }

  /** A snapshot that shows no rows since the table was rewritten after it is one to take anew. */
  async #tryAtPin(acts: PinActs): Promise<(Unreached & { readonly error?: unknown }) | null> {
    try {
      return await atPin(this.#parts, this.#options, acts);
    } catch (error) {
      if (acts.read !== undefined || !isUnderstudyError(error, 'TABLE_REWRITTEN')) throw error;
      return { reason: error.message, passing: true, error };
    }
  }

  #reached(pinned: PinnedSnapshot): void {
    this.#counts.pins += 1;
    this.#position = pinned.marker.toString();
  }

  #tell(progress: RepairProgress): void {
    this.#options.onProgress?.(progress);
  }
}

interface Opened {
  readonly pinned: PinnedSnapshot;
  readonly base: BaseReader;
  readonly schema: TableSchema;
  readonly compared: ComparedTable;
  /** Keys with entries in the ledgers. */
  readonly unsure: ReadonlySet<string>;
}

const COUNTED = ['rows', 'inserted', 'overwritten', 'deleted', 'confirmed'] as const;

interface Found {
  readonly upserts: readonly NetChange[];
  readonly deletes: readonly NetChange[];
  /** Of the values that were read. */
  readonly characters: number;
  readonly counts: Readonly<Record<(typeof COUNTED)[number], number>>;
}

function join(found: readonly Found[]): Found {
  const counts = { rows: 0, inserted: 0, overwritten: 0, deleted: 0, confirmed: 0 };
  for (const one of found) for (const name of COUNTED) counts[name] += one.counts[name];
  return {
    upserts: found.flatMap((one) => one.upserts),
    deletes: found.flatMap((one) => one.deletes),
    characters: found.reduce((sum, one) => sum + one.characters, 0),
    counts,
  };
}

async function gapKeys(base: BaseReader, table: TableId): Promise<readonly Key[]> {
  const name = tableName(table);
  const found = (await base.gaps()).filter((gaps) => tableName(gaps.table) === name);
  return distinct(
    found.flatMap(({ unknown, parked }) => [...unknown.map(({ key }) => key), ...parked]),
  );
}

function distinct(keys: readonly Key[]): readonly Key[] {
  return [...new Map(keys.map((key) => [idOf(key), key])).values()];
}

function idOf(key: Key): string {
  return JSON.stringify(key);
}

function sameValues(a: RowText, b: RowText): boolean {
  return a.values.every((value, i) => value === b.values[i]);
}

function sizeOf(rows: readonly RowText[]): number {
  let characters = 0;
  for (const { values } of rows) for (const value of values) characters += value?.length ?? 0;
  return characters;
}

/** How many rows to read next, by the size of those just read. */
function nextRead(keys: number, characters: number): number {
  const each = characters / Math.max(keys, 1);
  return Math.max(1, Math.min(MOST_READ, Math.floor(READ_CHARACTERS / Math.max(each, 1))));
}
