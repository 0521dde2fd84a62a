/** A candidate's own migrations, as the acts of a shadow database meet them: see overlay/self-migrating.ts. */
import type pg from 'pg';
import { isUnderstudyError, UnderstudyError } from '../../../errors/understudy-error.ts';
import type { OwnMigrations } from '../../migrating.ts';
import type { CandidateRules } from '../../overlay.ts';
import type { Fence } from '../../dialect.ts';
import { readSparedAccount } from '../apply/applier-rights.ts';
import { endMigration } from '../overlay/migrating.ts';
import { queryAll } from '../session/query-all.ts';
import { guardTables } from '../overlay/capture.ts';
import {
  ASK_BEGUN,
  letMigrate,
  noteAnew,
  noteBeginning,
  type SelfMigrating,
} from '../overlay/self-migrating.ts';
import type { ActRights } from '../../sql/sharing.ts';

/** What an act gives that did nothing, since a migration is to be ended first. */
export const BEGUN = Symbol('a migration is begun');

/** One fenced transaction of a shadow database; `ends`: also while a migration is begun. */
export type ChangingAct = <T>(
  fence: Fence,
  doing: string,
  fn: (client: pg.Client) => Promise<T>,
  rights?: ActRights<pg.Client> & { readonly ends: boolean },
) => Promise<T>;

/** Of one moment, and writing nothing. */
type Read = <T>(doing: string, fn: (client: pg.Client) => Promise<T>) => Promise<T>;

export class SelfMigrations implements OwnMigrations {
  readonly #database: string;
  readonly #rules: CandidateRules;
  readonly #act: ChangingAct;
  readonly #read: Read;
  readonly #forget: () => void;
  #turn: string | null = null;
  #ending: Promise<void> | null = null;

  constructor(parts: {
    readonly database: string;
    readonly rules: CandidateRules;
    readonly act: ChangingAct;
    readonly read: Read;
    /** What is known of the tables. */
    readonly forget: () => void;
  }) {
    this.#database = parts.database;
    this.#rules = parts.rules;
    this.#act = parts.act;
    this.#read = parts.read;
    this.#forget = parts.forget;
  }

  let(fence: Fence, { role: candidate }: { readonly role: string }): Promise<void> {
    return this.#act(fence, 'let the candidate migrate by itself', (client) =>
      letMigrate(client, { database: this.#database, candidate }),
    );
  }

  isUnended(): Promise<boolean> {
    return this.#read('look for a migration', readsBegun);
  }

  async end(fence: Fence): Promise<boolean> {
    const isBegun = await this.isUnended();
    if (isBegun) await this.#end(fence);
    return isBegun;
  }

  /** By whoever takes the fence. While the candidate is at a migration that is left to who takes it next. */
  async note(fence: Fence): Promise<void> {
    try {
      await this.#act(fence, 'note what begins a migration', (client) =>
        noteAnew(client, this.#database),
      );
    } catch (error) {
      if (!isUnderstudyError(error, 'APPLY_BLOCKED')) throw error;
    }
  }

  /**
   * In a fenced transaction: whether nothing may be done in it, since the candidate began a migration. `answers`
   * are to ASK_BEGUN, if that was said. APPLY_BLOCKED for a member, which ends none.
   */
  async isBegun(
    client: pg.Client,
    fence: Fence,
    answers: readonly pg.QueryResult[],
  ): Promise<boolean> {
    const said = answers.length > 0 ? answers : await queryAll(client, [ASK_BEGUN]);
    const [found] = (said.at(-1)?.rows ?? []) as readonly SelfMigrating[];
    if (found === undefined) return false;
    if (found.turn !== this.#turn) this.#forget();
    this.#turn = found.turn;
    if (!found.begun || fence.share === undefined) return found.begun;
    const what = 'a migration of the candidate is to be ended first, by who leads';
    throw new UnderstudyError('APPLY_BLOCKED', what, { database: this.#database });
  }

  /** Does what `act` does when none is begun, after ending those that are. */
  async whenNone<T>(fence: Fence, act: () => Promise<T | typeof BEGUN>): Promise<T> {
    for (;;) {
      const result = await act();
      if (result !== BEGUN) return result;
      await this.#end(fence);
    }
  }

  async #end(fence: Fence): Promise<void> {
    this.#ending ??= this.#endOnce(fence).finally(() => {
      this.#ending = null;
    });
    await this.#ending;
  }

  /** Nothing happens if somebody ended it. Members write nothing until it is ended. */
  #endOnce(fence: Fence): Promise<void> {
    const beside = (): Promise<void> => Promise.resolve();
    const end = async (client: pg.Client): Promise<void> => {
      if (!(await readsBegun(client))) return;
      await endMigration(client, this.#database);
      // Nobody else makes them again before they are looked for the next time.
      await guardTables(client, await readSparedAccount(client), this.#rules);
      await noteBeginning(client, this.#database);
    };
    return this.#act(fence, 'end a migration', end, { ends: true, beside });
  }
}

async function readsBegun(client: pg.ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ begun: boolean }>(
    'SELECT EXISTS (SELECT FROM understudy.migrating m WHERE m.by_itself) AS begun',
  );
  return rows[0]?.begun === true;
}
