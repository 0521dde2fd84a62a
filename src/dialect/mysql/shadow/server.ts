/**
 * The shadow server: finds, makes and drops databases of ours. It never writes to or drops a
 * database without our marker.
 */
import type { ShadowOptions } from '../../dialect.ts';
import type {
  ControlStore,
  Diagnosis,
  ServerIdentity,
  ShadowDatabase,
  ShadowServer,
} from '../../dialect.ts';
import type { RolloutGround } from '../../rollout-ground.ts';
import type { CandidateRules } from '../../overlay.ts';
import { openControl } from '../control/control-database.ts';
import { ServerAddress } from '../session/address.ts';
import type { Client } from '../session/client.ts';
import { Connection } from '../session/connection.ts';
import { readFlavour, readSystemId, type Flavour } from '../session/flavour.ts';
import { assertNotNewer, migrate, newestVersion } from '../session/migrations.ts';
import { companionName, probeLock } from '../session/names.ts';
import { lockHolder, lockWork } from '../session/server-locks.ts';
import { createCandidateRole, dropAccounts } from './accounts.ts';
import { cloneDatabase, dropOurs, type CloneOptions } from './clone.ts';
import { createTrunk, type TrunkOptions } from './create-trunk.ts';
import { MySqlShadowDatabase } from './database.ts';
import { groundFindings } from './ground.ts';
import { databaseExists, isEmpty, notOurs, readMarker, type FoundMarker } from './marker.ts';
import { SHADOW_MIGRATIONS } from './schema-shadow.ts';

const DEFAULT_LEASE_MS = 10_000;
const WAIT_MS = 60_000;

/** Errors: SHADOW_UNREACHABLE, DATABASE_PERMISSION, CONFIG_INVALID, UNSUPPORTED (too old). */
export async function connectShadow(
  url: string,
  options: ShadowOptions = {},
): Promise<ShadowServer> {
  const address = new ServerAddress(url, 'shadow.url');
  const connection = new Connection({ address, database: null });
  try {
    const what = { doing: 'read the server’s version', otherwise: 'INTERNAL' } as const;
    const flavour = await connection.use(what, readFlavour);
    const leaseMs = options.leaseMs ?? DEFAULT_LEASE_MS;
    return new MySqlShadowServer({ address, connection, flavour, leaseMs, rules: options });
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}

class MySqlShadowServer implements RolloutGround {
  readonly engine: Flavour['engine'];
  readonly version: string;
  readonly #address: ServerAddress;
  readonly #flavour: Flavour;
  readonly #leaseMs: number;
  readonly #rules: CandidateRules;
  readonly #connection: Connection;

  constructor(parts: {
    readonly address: ServerAddress;
    readonly connection: Connection;
    readonly flavour: Flavour;
    readonly leaseMs: number;
    readonly rules: CandidateRules;
  }) {
    this.engine = parts.flavour.engine;
    this.version = parts.flavour.version;
    this.#address = parts.address;
    this.#flavour = parts.flavour;
    this.#leaseMs = parts.leaseMs;
    this.#rules = parts.rules;
    this.#connection = parts.connection;
  }

  get address(): string {
    return this.#address.describe();
  }

  identity(): Promise<ServerIdentity> {
    return this.#ask('read the server’s identity', async (client) => ({
      systemId: await readSystemId(client, this.#flavour),
      inRecovery: await isReadOnly(client),
      slots: [],
    }));
  }

  lockVisible(probe: bigint): Promise<boolean> {
    return this.#ask(
      'look for a lock',
      async (client) => (await lockHolder(client, probeLock(probe))) !== null,
    );
  }

  control(options: { readonly create: true }): Promise<ControlStore>;
  control(options: { readonly create: boolean }): Promise<ControlStore | null>;
  control(options: { readonly create: boolean }): Promise<ControlStore | null> {
    return openControl(this.#address, options);
  }

  async open(name: string): Promise<ShadowDatabase | null> {
    const found = await this.#ask('read the marker', (client) => findMarker(client, name));
    if (found === null) return null;
    const { marker, sourceDatabase } = found;
    if (marker.schemaVersion < newestVersion(SHADOW_MIGRATIONS)) await this.#bringUp(name);
    return new MySqlShadowDatabase({
      ...{ address: this.#address, flavour: this.#flavour, name, marker, sourceDatabase },
      leaseMs: this.#leaseMs,
      rules: this.#rules,
    });
  }

  /** Our tables of an older program. */
  async #bringUp(name: string): Promise<void> {
    await using server = new Connection({ address: this.#address, database: null });
    await server.use({ doing: 'migrate', otherwise: 'INTERNAL' }, async (client) => {
      await lockWork(client, name, WAIT_MS);
      await migrate(client, SHADOW_MIGRATIONS, companionName(name));
    });
  }

  diagnoseGround(trunk: string): Promise<readonly Diagnosis[]> {
    // A rollout's name begins with its trunk's.
    const names = [trunk, `${trunk}_next`];
    return this.#ask('look at rights and settings', (client) => groundFindings(client, names));
  }

  createTrunk(options: TrunkOptions): Promise<{ readonly skipped: readonly string[] }> {
    return createTrunk(this.#address, options);
  }

  clone(options: CloneOptions): Promise<void> {
    const acts = this.#rules.actingTriggers ?? null;
    return cloneDatabase(this.#address, this.#flavour, { ...options, acts });
  }

  createCandidateRole(options: {
    readonly database: string;
    readonly role: string;
    readonly password: string;
  }): Promise<{ readonly url: string }> {
    return createCandidateRole(this.#address, this.#flavour, options);
  }

  async drop(options: { readonly database: string; readonly role: string | null }): Promise<void> {
    const { database, role } = options;
    await using server = new Connection({ address: this.#address, database: null });
    const what = { doing: 'drop the database', otherwise: 'APPLY_FAILED' } as const;
    await server.use(what, async (client) => {
      await lockWork(client, database, WAIT_MS);
      const found = await readMarker(client, database);
      const ours = found?.writtenFor === database;
      if (!ours && (await databaseExists(client, database))) {
        throw notOurs(database, 'it has no marker, and so is not dropped');
      }
      if (ours) await dropOurs(client, database, role);
      else await dropAccounts(client, database, role);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #ask<T>(doing: string, fn: (client: Client) => Promise<T>): Promise<T> {
    return this.#connection.use({ doing, otherwise: 'INTERNAL' }, fn);
  }
}

/** A server that takes no writes: mostly a replica. */
async function isReadOnly(client: Client): Promise<boolean> {
  const { readOnly } = await client.row<{ readOnly: string | number }>(
    'SELECT @@global.read_only AS readOnly',
  );
  return Number(readOnly) === 1;
}

/** Null if it does not exist, is empty, or is being made. TARGET_NOT_OURS, SCHEMA_TOO_NEW. */
async function findMarker(client: Client, name: string): Promise<FoundMarker | null> {
  const found = await readMarker(client, name);
  if (!(await databaseExists(client, name))) return null;
  if (found === null) {
    if (await isEmpty(client, name)) return null;
    throw notOurs(name, 'it has no marker of understudy');
  }
  if (found.writtenFor !== name) {
    throw notOurs(name, `it is a copy of ${found.writtenFor}, or was renamed`);
  }
  if (found.state === 'creating') return null;
  assertNotNewer(SHADOW_MIGRATIONS, name, found.marker.schemaVersion);
  return found;
}
