/**
 * The shadow server: finds, makes, copies and drops databases of ours. It never writes to, ends
 * sessions of, or drops a database or role without our marker.
 */
import type { CandidateRules } from '../../overlay.ts';
import type { ShadowOptions } from '../../dialect.ts';
import { escapeIdentifier } from 'pg';
import type pg from 'pg';
import { isUnderstudyError, UnderstudyError } from '../../../errors/understudy-error.ts';
import { sleep } from '../../../util/wait.ts';
import type {
  ControlStore,
  DatabaseMarker,
  ServerIdentity,
  ShadowDatabase,
  ShadowServer,
} from '../../dialect.ts';
import { createCandidateRole, dropCandidateRole, joinCandidateRole } from './candidate-role.ts';
import { cloneDatabase, readmitAbandoned, type CloneOptions } from './clone.ts';
import { serverVersion } from '../compare/comparison-session.ts';
import { openControl } from '../control/control-database.ts';
import { createTrunk, type TrunkOptions } from './create-trunk.ts';
import { PgShadowDatabase } from './database.ts';
import { migratingRole } from './migrating-role.ts';
import { assertMayLet } from '../overlay/self-migrating.ts';
import type { SelfMigratingServer } from '../../migrating.ts';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';
import { COPYING, CREATING, databaseFacts, isEmpty, notOurs, readMarker } from './marker.ts';
import { assertNotNewer, migrate } from '../session/migrations.ts';
import { endSessionsOf, lockName } from '../session/server-locks.ts';
import { Connection, ServerAddress } from '../session/session.ts';

/** The oldest server whose features are used: `pg_terminate_backend` with a time limit. */
const OLDEST = 140_000;
const DEFAULT_LEASE_MS = 10_000;
const DROP_WAIT_MS = 60_000;
const DROP_TRIES = 5;

/** Errors: SHADOW_UNREACHABLE, DATABASE_PERMISSION, CONFIG_INVALID, UNSUPPORTED (too old). */
export async function connectShadow(
  url: string,
  options: ShadowOptions = {},
): Promise<ShadowServer> {
  const address = new ServerAddress(url);
  const connection = new Connection({ address, database: address.database, role: 'server' });
  try {
    const what = { doing: 'read the server’s version', otherwise: 'INTERNAL' } as const;
    const version = await connection.use(what, async (client) => {
      const number = await serverVersion(client);
      const text = await client.query<{ text: string }>(
        `SELECT pg_catalog.current_setting('server_version') AS text`,
      );
      return { number, text: text.rows[0]?.text ?? String(number) };
    });
    if (version.number < OLDEST) {
      throw new UnderstudyError('UNSUPPORTED', 'the shadow server needs PostgreSQL 14 or later', {
        detail: `it has ${version.text}`,
      });
    }
    const { leaseMs = DEFAULT_LEASE_MS, ...rules } = options;
    return new PgShadowServer({ address, connection, version: version.text, leaseMs, rules });
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}

/** More than one statement takes, less than a person notices. */
const NOTE_DELAY_MS = 250;

class PgShadowServer implements SelfMigratingServer {
  readonly engine = 'postgresql';
  readonly version: string;
  readonly #address: ServerAddress;
  readonly #leaseMs: number;
  readonly #rules: CandidateRules;
  readonly #connection: Connection;

  constructor(parts: {
    readonly address: ServerAddress;
    readonly connection: Connection;
    readonly version: string;
    readonly leaseMs: number;
    readonly rules: CandidateRules;
  }) {
    this.version = parts.version;
    this.#address = parts.address;
    this.#leaseMs = parts.leaseMs;
    this.#rules = parts.rules;
    this.#connection = parts.connection;
  }

  get address(): string {
    return this.#address.describe();
  }

  identity(): Promise<ServerIdentity> {
    return this.#ask('read the server’s identity', async (client) => {
      const { rows } = await client.query<ServerIdentity>(
        `SELECT system_identifier::text AS "systemId",
            pg_catalog.pg_is_in_recovery() AS "inRecovery",
            ARRAY(SELECT slot_name::text FROM pg_catalog.pg_replication_slots
              WHERE slot_type = 'logical' ORDER BY 1) AS slots
          FROM pg_catalog.pg_control_system()`,
      );
      const found = rows[0];
      if (found === undefined) throw new UnderstudyError('INTERNAL', 'the server has no identity');
      return found;
    });
  }

  lockVisible(probe: bigint): Promise<boolean> {
    return this.#ask('look for a lock', async (client) => {
      const { rows } = await client.query<{ visible: boolean }>(
        `SELECT EXISTS (SELECT FROM pg_catalog.pg_locks
          WHERE locktype = 'advisory' AND objsubid = 1
            AND (classid::int8 << 32) | objid::int8 = $1) AS visible`,
        [probe],
      );
      return rows[0]?.visible === true;
    });
  }

  control(options: { readonly create: true }): Promise<ControlStore>;
  control(options: { readonly create: boolean }): Promise<ControlStore | null>;
  control(options: { readonly create: boolean }): Promise<ControlStore | null> {
    return openControl(this.#address, options);
  }

  async open(name: string): Promise<ShadowDatabase | null> {
    try {
      return await this.#openMarked(name);
    } catch (error) {
      if (!isUnderstudyError(error, 'TARGET_NOT_OURS')) throw error;
      // Between its making and the note about it, a database of ours looks foreign for a moment.
      await sleep(NOTE_DELAY_MS);
      return this.#openMarked(name);
    }
  }

  async #openMarked(name: string): Promise<ShadowDatabase | null> {
    const facts = await this.#facts(name);
    if (facts === null) return null;
    if (facts.comment === COPYING) await readmitAbandoned(this.#address, name);
    const marker = await this.#marker(name, facts.comment === CREATING);
    if (marker === null) return null;
    return new PgShadowDatabase({
      ...{ address: this.#address, name, marker },
      leaseMs: this.#leaseMs,
      rules: this.#rules,
    });
  }

  createTrunk(options: TrunkOptions): Promise<{ readonly skipped: readonly string[] }> {
    return createTrunk(this.#address, options);
  }

  clone(options: CloneOptions): Promise<void> {
    return cloneDatabase(this.#address, options);
  }

  createCandidateRole(options: {
    readonly database: string;
    readonly role: string;
    readonly password: string;
  }): Promise<{ readonly url: string }> {
    return createCandidateRole(this.#address, options);
  }

  assertLetsMigrate(): Promise<void> {
    return this.#ask('look at the account’s rights', assertMayLet);
  }

  async drop(options: { readonly database: string; readonly role: string | null }): Promise<void> {
    const { database, role } = options;
    await using server = new Connection({
      ...{ address: this.#address, database: this.#address.database, role: 'drop' },
    });
    const what = { doing: 'drop the database', otherwise: 'APPLY_FAILED' } as const;
    await server.use(what, async (client) => {
      await lockName(client, database, DROP_WAIT_MS);
      const facts = await databaseFacts(client, database);
      if (facts !== null) {
        const ours = facts.comment === CREATING || (await this.#holdsMarker(database));
        if (!ours) throw notOurs(database, 'it has no marker, and so is not dropped');
        if (role !== null) await joinCandidateRole(client, role, database);
        await joinCandidateRole(client, migratingRole(database), database);
        await this.#dropDatabase(client, database);
      }
      if (role !== null) await dropCandidateRole(client, role, database);
      await dropCandidateRole(client, migratingRole(database), database);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #ask<T>(doing: string, fn: (client: pg.Client) => Promise<T>): Promise<T> {
    return this.#connection.use({ doing, otherwise: 'INTERNAL' }, fn);
  }

  #facts(name: string): ReturnType<typeof databaseFacts> {
    return this.#ask('look for the database', (client) => databaseFacts(client, name));
  }

  /** Null if it is being made, or empty. TARGET_NOT_OURS, SCHEMA_TOO_NEW. Brings an older schema up. */
  async #marker(name: string, creating: boolean): Promise<DatabaseMarker | null> {
    return this.#inside(name, async (client) => {
      const found = await readMarker(client);
      if (found?.writtenFor === name) {
        assertNotNewer('shadow', name, found.marker.schemaVersion);
        await migrate(client, 'shadow', name);
        return found.marker;
      }
      if (creating) return null;
      // Whoever makes the trunk makes an empty one anew: a crash may have left it without a note.
      if (found === null && (await isEmpty(client))) return null;
      if (found === null) throw notOurs(name, 'it has no marker of understudy');
      throw notOurs(name, `it is a copy of ${found.writtenFor}, or was renamed`);
    });
  }

  /** Its own, or of the database it was copied from when the copy was never finished. */
  async #holdsMarker(name: string): Promise<boolean> {
    return this.#inside(name, async (client) => (await readMarker(client)) !== null);
  }

  /**
   * Ends whatever is open in it. A transaction that the candidate prepared outlives its session
   * and keeps the database, so it is rolled back; and again, should another slip in.
   */
  async #dropDatabase(server: pg.Client, name: string): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      await endSessionsOf(server, name);
      await this.#rollBackPrepared(name);
      try {
        await server.query(`DROP DATABASE ${escapeIdentifier(name)} WITH (FORCE)`);
        return;
      } catch (error) {
        if (tries === DROP_TRIES || !hasSqlState(error, SQLSTATE.objectInUse)) throw error;
      }
    }
  }

  async #rollBackPrepared(name: string): Promise<void> {
    await this.#inside(name, async (client) => {
      const { rows } = await client.query<{ gid: string; owner: string; may: boolean }>(
        `SELECT pg_catalog.quote_literal(p.gid) AS gid, p.owner, r.rolsuper AS may
          FROM pg_catalog.pg_prepared_xacts p, pg_catalog.pg_roles r
          WHERE p.database = pg_catalog.current_database() AND r.rolname = current_user`,
      );
      for (const { gid, owner, may } of rows) {
        // Nobody but a superuser ends what another account prepared.
        if (!may) await client.query(`SET ROLE ${escapeIdentifier(owner)}`);
        await client.query(`ROLLBACK PREPARED ${gid}`);
        if (!may) await client.query('RESET ROLE');
      }
    });
  }

  async #inside<T>(name: string, fn: (client: pg.Client) => Promise<T>): Promise<T> {
    await using inside = new Connection({ address: this.#address, database: name, role: 'marker' });
    return await inside.use({ doing: 'read the marker', otherwise: 'INTERNAL' }, fn);
  }
}
