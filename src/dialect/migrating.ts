/**
 * What an engine does around a candidate's migration. While it runs nothing of production's is applied:
 * whoever holds the fence leads it. Production's image of every table is kept aside before, and compared
 * with what the migration left after: so that whatever it did to tables, rows and triggers, production's
 * image is exact, and what it did to production's rows is the candidate's.
 *
 * Once begun it must be ended. Who takes the fence of a database in which one was begun ends it first.
 */
import type { TableId } from '../change/table-id.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { Fence, ShadowDatabase, ShadowServer } from './dialect.ts';

/** A column that the migration gives another name, where the server keeps nothing of it through that. */
export interface ColumnRename {
  readonly table: TableId;
  readonly from: string;
  readonly to: string;
}

/** How the migrating account gets in; it may change tables. */
export interface MigratingAccount {
  readonly url: string;
  /** What the engine's own programs read, and DATABASE_URL; null: must not be set, it would lead elsewhere. */
  readonly environment: Readonly<Record<string, string | null>>;
}

/** A table that is not as production has it any more. */
export interface ReshapedTable {
  readonly table: TableId;
  /** What the candidate made of it; null where nothing of production's reaches it any more. */
  readonly visible: TableId | null;
  /** Columns of production's that the candidate has none for. */
  readonly without: readonly string[];
  /** Columns of the candidate's by their names in production, where these are others. */
  readonly renamed: Readonly<Record<string, string>>;
  /** Columns that only the candidate has. */
  readonly own: readonly string[];
}

export interface MigrationOutcome {
  /** All tables that are not as production has them, also by earlier migrations. */
  readonly reshaped: readonly ReshapedTable[];
  /** Tables that the candidate made. */
  readonly own: readonly TableId[];
  /** Without a key: what is written there is not captured. */
  readonly notCaptured: readonly TableId[];
}

export interface Migrations {
  /**
   * Keeps production's image of all tables aside, lets go of what captures, and makes the account that
   * migrates; `role` is the candidate's. Errors: APPLY_BLOCKED (a transaction is in the way: then nothing is
   * begun), DATABASE_PERMISSION, UNSUPPORTED, SCHEMA_FAILED.
   */
  begin(
    fence: Fence,
    options: { readonly role: string; readonly renames: readonly ColumnRename[] },
  ): Promise<MigratingAccount>;
  /**
   * Closes the account, ends its sessions, and brings capture and production's image to the tables as they
   * are then. Errors: as of `begin`; it may be called again, and must be.
   */
  end(fence: Fence): Promise<MigrationOutcome>;
}

export interface MigratingShadow extends ShadowDatabase {
  readonly migrations: Migrations;
}

/** Null on an engine that has none. */
export function migrationsOf(database: ShadowDatabase): Migrations | null {
  return 'migrations' in database ? (database as MigratingShadow).migrations : null;
}

/** Of a candidate that migrates by itself, with its own address. */
export interface OwnMigrations {
  /**
   * Once for a rollout, when the candidate's role is there: the tables are its own. A migration of its begins
   * in the transaction that changes a table, and nothing is applied until that transaction ends; it ends before
   * anything is applied again. Its outcome is as if it had been led. Errors: DATABASE_PERMISSION,
   * APPLY_BLOCKED.
   */
  let(fence: Fence, options: { readonly role: string }): Promise<void>;
  /** One was begun, and is committed. */
  isUnended(): Promise<boolean>;
  /**
   * Ends what was begun, as anything that is applied does; also where production sends nothing. False if nothing
   * was begun. Errors: as of `Migrations.end`.
   */
  end(fence: Fence): Promise<boolean>;
}

export interface SelfMigratingShadow extends ShadowDatabase {
  readonly byItself: OwnMigrations;
}

/** Null on an engine that has none. */
export function ownMigrationsOf(database: ShadowDatabase): OwnMigrations | null {
  return 'byItself' in database ? (database as SelfMigratingShadow).byItself : null;
}

export interface SelfMigratingServer extends ShadowServer {
  /** DATABASE_PERMISSION if its account cannot notice what candidates migrate by themselves. */
  assertLetsMigrate(): Promise<void>;
}

/** Before a rollout is made whose candidate migrates by itself. UNSUPPORTED, DATABASE_PERMISSION. */
export async function assertLetsMigrate(server: ShadowServer): Promise<void> {
  if (!('assertLetsMigrate' in server)) throw noneByItself();
  await (server as SelfMigratingServer).assertLetsMigrate();
}

/** UNSUPPORTED, and errors of `let`. */
export async function letMigrate(
  database: ShadowDatabase,
  fence: Fence,
  role: string,
): Promise<void> {
  const own = ownMigrationsOf(database);
  if (own === null) throw noneByItself();
  await own.let(fence, { role });
}

function noneByItself(): UnderstudyError {
  const what = 'no candidate migrates by itself on this engine, which cannot notice it in time';
  return new UnderstudyError('UNSUPPORTED', what, {
    detail: 'run its migrations by `understudy rollout migrate NAME -- COMMAND`',
  });
}
