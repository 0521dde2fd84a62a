import type { LogOffset } from '../../change/position.ts';
import type { ErrorCode } from '../../errors/codes.ts';
import type { ChangeBatch } from '../../order/change-batch.ts';
import type { DeadState } from '../../order/dead-keys.ts';
import {
  RowRefused,
  type DeadLetter,
  type DeadLetterBox,
  type KeptRecord,
} from '../dead-letters.ts';
import type { Fence } from '../dialect.ts';
import {
  keepRecord,
  readDeadState,
  readKept,
  readLetters,
  type DeadLetterTables,
} from './dead-letter-tables.ts';

const SAVEPOINT = 'understudy_rehearsal';

/** What the box needs of an engine's database. */
export interface BoxParts<Client> {
  /** One transaction that reads, as of one moment. */
  readonly read: <T>(doing: string, fn: (client: Client) => Promise<T>) => Promise<T>;
  /** One fenced transaction. */
  readonly act: <T>(
    fence: Fence,
    options: { readonly doing: string; readonly otherwise: ErrorCode },
    fn: (client: Client) => Promise<T>,
  ) => Promise<T>;
  readonly tables: (client: Client) => DeadLetterTables;
  /** Tables (by `tableName()`) whose keys are equal only if their texts are. */
  readonly exact: (client: Client) => Promise<ReadonlySet<string>>;
  /** Writes the steps of a batch, in the caller's transaction. */
  readonly write: (client: Client, fence: Fence, batch: ChangeBatch) => Promise<unknown>;
  /** Parks the keys of these letters, in the caller's transaction. */
  readonly park: (client: Client, fence: Fence, ids: readonly string[]) => Promise<void>;
}

/** The box of a database that speaks SQL. */
export class SqlDeadLetterBox<Client> implements DeadLetterBox {
  readonly #parts: BoxParts<Client>;

  constructor(parts: BoxParts<Client>) {
    this.#parts = parts;
  }

  state(): Promise<DeadState> {
    return this.#read(async (tables, client) =>
      readDeadState(tables, await this.#parts.exact(client)),
    );
  }

  list(ids?: readonly string[]): Promise<readonly DeadLetter[]> {
    return this.#read((tables) => readLetters(tables, ids ?? null));
  }

  untold(limit: number): Promise<readonly DeadLetter[]> {
    return this.#read(async (tables) => readLetters(tables, await tables.untold(limit)));
  }

  told(fence: Fence, ids: readonly string[]): Promise<void> {
    const what = { doing: 'note who was told', otherwise: 'APPLY_FAILED' } as const;
    return this.#parts.act(fence, what, (client) => this.#parts.tables(client).told(ids));
  }

  unkept(limit: number): Promise<readonly LogOffset[]> {
    return this.#read((tables) => tables.unkept(limit));
  }

  keep(fence: Fence, records: readonly KeptRecord[]): Promise<void> {
    const what = { doing: 'keep what is set aside', otherwise: 'APPLY_FAILED' } as const;
    return this.#parts.act(fence, what, async (client) => {
      const tables = this.#parts.tables(client);
      for (const record of records) await keepRecord(tables, record);
    });
  }

  kept(at: LogOffset): Promise<KeptRecord | null> {
    return this.#read((tables) => readKept(tables, at));
  }

  queue(ids: readonly string[]): Promise<readonly LogOffset[]> {
    return this.#read((tables) => tables.queue(ids));
  }

  rehearse(fence: Fence, batch: ChangeBatch): Promise<RowRefused | null> {
    const what = { doing: 'try a batch', otherwise: 'APPLY_FAILED' } as const;
    return this.#parts.act(fence, what, async (client) => {
      const tables = this.#parts.tables(client);
      await tables.run(`SAVEPOINT ${SAVEPOINT}`);
      let refused: RowRefused | null = null;
      try {
        await this.#parts.write(client, fence, batch);
      } catch (error) {
        if (!(error instanceof RowRefused)) throw error;
        refused = error;
      }
      await tables.run(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
      return refused;
    });
  }

  discard(fence: Fence, ids: readonly string[]): Promise<number> {
    const what = { doing: 'discard what is set aside', otherwise: 'APPLY_FAILED' } as const;
    return this.#parts.act(fence, what, async (client) => {
      await this.#parts.park(client, fence, ids);
      return this.#parts.tables(client).remove(ids);
    });
  }

  #read<T>(fn: (tables: DeadLetterTables, client: Client) => Promise<T>): Promise<T> {
    return this.#parts.read('read what is set aside', (client) =>
      fn(this.#parts.tables(client), client),
    );
  }
}
