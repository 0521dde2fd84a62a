/** Triggers as they are defined, and which of production's a rollout can have. */
import type { PlanTrigger } from '../../../schema/shadow-plan.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, isConnectionLoss, serverError } from '../session/errors.ts';
import { literal, quote } from '../session/names.ts';
import type { DefinedProgram } from './defined-programs.ts';
import { namesIn, NOT_SURE, type NamesInText } from './moved-names.ts';

export type DefinedTrigger = Omit<PlanTrigger, 'names' | 'calls'>;

/** All of a database's, in the order in which they act. */
export function readDefinedTriggers(
  client: Client,
  database: string,
): Promise<readonly DefinedTrigger[]> {
  return client.rows<DefinedTrigger>(
    `SELECT TRIGGER_NAME AS name, EVENT_OBJECT_TABLE AS \`table\`, ACTION_TIMING AS timing,
        EVENT_MANIPULATION AS event, ACTION_STATEMENT AS body,
        SQL_MODE AS sqlMode, COLLATION_CONNECTION AS collation
      FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ?
      ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER`,
    [database],
  );
}

/** Names in lower case. */
interface Known {
  readonly followed: ReadonlySet<string>;
  readonly views: ReadonlySet<string>;
  readonly unfollowed: ReadonlySet<string>;
  /** As far as our account sees them; null for what cannot be carried. */
  readonly routines: ReadonlyMap<string, DefinedProgram | null>;
  readonly databases: ReadonlySet<string>;
}

/** What a trigger comes to, also by what it calls. */
interface Reached {
  readonly names: Set<string>;
  readonly calls: Set<string>;
}

/** What there is in production that a rollout has not. */
export class Elsewhere {
  readonly #client: Client;
  readonly #source: string;
  readonly #known: Known;
  readonly #unseen = new Map<string, boolean>();

  private constructor(client: Client, source: string, known: Known) {
    this.#client = client;
    this.#source = source;
    this.#known = known;
  }

  static async read(
    client: Client,
    source: string,
    {
      followed,
      routines,
    }: {
      readonly followed: ReadonlySet<string>;
      /** By their names as they are written. */
      readonly routines: ReadonlyMap<string, DefinedProgram | null>;
    },
  ): Promise<Elsewhere> {
    const lower = async (sql: string): Promise<readonly string[]> =>
      (await client.rows<{ name: string }>(sql, [source])).map(({ name }) => name.toLowerCase());
    const tables = await lower(
      `SELECT TABLE_NAME AS name FROM information_schema.TABLES
        WHERE TABLE_SCHEMA = ? AND TABLE_TYPE <> 'VIEW'`,
    );
    const isFollowed = new Set([...followed].map((name) => name.toLowerCase()));
    return new Elsewhere(client, source, {
      followed: isFollowed,
      views: new Set(
        await lower(
          `SELECT TABLE_NAME AS name FROM information_schema.TABLES
            WHERE TABLE_SCHEMA = ? AND TABLE_TYPE = 'VIEW'`,
        ),
      ),
      unfollowed: new Set(tables.filter((name) => !isFollowed.has(name))),
      routines: new Map([...routines].map(([name, program]) => [name.toLowerCase(), program])),
      databases: new Set(
        await lower(
          'SELECT SCHEMA_NAME AS name FROM information_schema.SCHEMATA WHERE SCHEMA_NAME <> ?',
        ),
      ),
    });
  }

  /**
   * A trigger of production's as a rollout can have it, or why it cannot: a candidate's writes would fail there. Too many
   * are kept out rather than too few: a column may be called like a table that is not followed.
   */
  async carried(trigger: DefinedTrigger): Promise<PlanTrigger | string> {
    const reached: Reached = { names: new Set(), calls: new Set() };
    const why = await this.#whyNot({ sql: trigger.body, sqlMode: trigger.sqlMode }, reached);
    if (why !== null) return why;
    const { followed, views } = this.#known;
    const names = [...reached.names].filter((name) => followed.has(name) || views.has(name));
    return { ...trigger, names, calls: [...reached.calls] };
  }

  /** Also of what it calls. */
  async #whyNot(
    { sql, sqlMode }: Pick<DefinedProgram, 'sql' | 'sqlMode'>,
    reached: Reached,
  ): Promise<string | null> {
    const read = namesIn(sql, sqlMode, this.#source);
    if (read === null) return NOT_SURE;
    for (const name of read.names) reached.names.add(name);
    const own = this.#whyNotItself(read);
    if (own !== null) return own;
    const { followed, routines } = this.#known;
    for (const name of [...read.called, ...read.procedures]) {
      if (reached.calls.has(name)) continue;
      const routine = routines.get(name);
      const isCall =
        routine !== undefined ||
        read.procedures.has(name) ||
        (!followed.has(name) && (await this.#isRoutine(name)));
      if (!isCall) continue;
      if (routine === undefined || routine === null) {
        return `it calls ${name}, which a rollout has not`;
      }
      reached.calls.add(name);
      const why = await this.#whyNot(routine, reached);
      if (why !== null) return `it calls ${name}: ${why}`;
    }
    return null;
  }

  #whyNotItself(read: NamesInText): string | null {
    const { unfollowed, databases } = this.#known;
    const table = [...read.names].find((name) => unfollowed.has(name));
    if (table !== undefined) return `it names table ${table}, which is not followed`;
    // What a table or an alias is called like is named alone as well, where it begins.
    const own = new Set(['new', 'old', this.#source.toLowerCase(), ...read.names]);
    const other = [...read.qualifiers].find((name) => databases.has(name) || !own.has(name));
    return other === undefined ? null : `it names database ${other}`;
  }

  /**
   * Also one that our account may not see: a call of it is prepared, and not made. A server refuses to tell whether
   * there is one, too; then what is none of its own functions is taken for one.
   */
  async #isRoutine(name: string): Promise<boolean> {
    const known = this.#unseen.get(name);
    if (known !== undefined) return known;
    const found =
      (await this.#prepared(quote(this.#source, name))) !== ERRNO.noSuchRoutine &&
      NO_SERVERS.has(await this.#prepared(/^\w+$/.test(name) ? name : quote(name)));
    this.#unseen.set(name, found);
    return found;
  }

  /** The server's error, or null: there is one that takes no arguments. */
  async #prepared(name: string): Promise<number | null> {
    try {
      await this.#client.run(`PREPARE understudy_calls FROM ${literal(`SELECT ${name}()`)}`);
      await this.#client.run('DEALLOCATE PREPARE understudy_calls');
      return null;
    } catch (error) {
      if (serverError(error) === null || isConnectionLoss(error)) throw error;
      return serverError(error)?.errno ?? null;
    }
  }
}

/** What is told of a call by its bare name that is no function of the server's own. */
const NO_SERVERS: ReadonlySet<number | null> = new Set([
  ...[ERRNO.noSuchRoutine, ERRNO.routineDenied, ERRNO.wrongArguments, ERRNO.noDatabase],
]);
