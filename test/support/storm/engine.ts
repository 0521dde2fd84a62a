import type { MySqlServer } from '../mysql-server.ts';
import type { Random } from '../random.ts';

/** Values are text. */
export type TextRow = readonly (string | null)[];

/** What the storm does as somebody. */
export interface Session {
  /** Runs a statement; the rows that it wrote: of an UPDATE those for which capture fires. */
  run(sql: string): Promise<number>;
  rows(sql: string): Promise<readonly TextRow[]>;
  end(): Promise<void>;
}

/** Where a rollout's parts are, as SQL names. */
export interface Places {
  /** The table as the candidate sees it. */
  readonly table: string;
  /** Production's image of it. */
  readonly production: string;
  readonly journal: string;
  /** Production's rows that wait for the candidate. */
  readonly waiting: string;
  /** SQL for the keys of rows that are kept out. */
  readonly keptOut: string;
  /** What was written, by whom the test knows: see storm.ts. */
  readonly log: string;
}

/** What the storm needs of an engine: words of its SQL, and who is who. */
export interface StormEngine {
  readonly writers: number;
  /** Statements return the rows that they write. */
  readonly returns: boolean;
  /** A transaction may change tables. */
  readonly undoesDdl: boolean;
  /**
   * Where a column must have a value, NULL is refused. In a table with triggers MySQL and MariaDB write another
   * value when an UPDATE of several tables sets it, whatever the mode: what is applied there is not modelled.
   */
  readonly refusesNull: boolean;
  /** What production's tables are in, as events name it. */
  readonly source: string;
  start(): Promise<Pick<MySqlServer, 'url' | 'stop'>>;
  /** A database of production's with these tables; its address. */
  makeProduction(serverUrl: string, ddl: readonly string[]): Promise<string>;
  /** With locks waited for no longer than some seconds. */
  connect(url: string): Promise<Session>;
  /** Whence all of a rollout can be read, without being taken for its holder. */
  adminUrl(serverUrl: string, database: string): string;
  places(database: string, table: string): Places;
  /** Makes the log, and lets the candidate write there. */
  makeLog(admin: Session, database: string, candidate: string): Promise<void>;
  /** Has it noted there what becomes of entries: see replay.ts. */
  noteEntries(admin: Session, database: string, table: string): Promise<void>;
  /** Lets who migrates write there. */
  openLog(admin: Session, database: string, user: string): Promise<void>;
  /** What is left beside the rollout. */
  clear(admin: Session, database: string): Promise<void>;
  /** Ends the sessions of whoever holds the rollout's fence. */
  endHolders(admin: Session, database: string): Promise<void>;
  /** What concurrent sessions, and rules of the candidate's own table, do to its statements. */
  isCollision(error: unknown): boolean;
  /** SQL. */
  readonly snapshot: string;
  begin(random: Random): readonly string[];
  /** Of a statement that begins with INSERT: else set `set` where there is such a row; null: nothing. */
  insertOr(insert: string, set: string | null): string;
  /** Gives a column another type, or lets it be empty, or not. */
  retype(table: string, column: string, type: string, isNull: boolean): readonly string[];
  dropIndex(name: string, table: string): string;
  /** A condition on information_schema's TABLE_SCHEMA. */
  schemaIs(database: string): string;
}
