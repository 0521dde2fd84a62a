/**
 * Production, read-only: its schema, its identity, its snapshots. The only thing ever written
 * there is the WAL message of pin.ts.
 */
import type { TableId } from '../../../change/table-id.ts';
import type { ShadowPlan } from '../../../schema/shadow-plan.ts';
import type { ConnectorTraces } from '../../connector-traces.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import type { CopyingProduction } from '../../copying.ts';
import type { EvolvingProduction, SchemaSource } from '../../evolving.ts';
import type {
  Diagnosis,
  PinnedSnapshot,
  ProductionDatabase,
  ServerIdentity,
  SnapshotView,
  StreamFacts,
} from '../../dialect.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { readIdentities } from './identities.ts';
import { findChange } from './change-finding.ts';
import { PgCopySource } from './copy-source.ts';
import { currentView, pinSnapshot } from './pin.ts';
import { planFromProduction } from '../schema/plan-from-production.ts';
import { diagnoseServer } from './production-diagnosis.ts';
import { diagnoseStream } from './production-diagnosis-stream.ts';
import { diagnoseTables } from './production-diagnosis-tables.ts';
import { assertKeysAreLogged } from './replica-identity.ts';
import { ProductionSessions } from './production-session.ts';

/** Every act opens its own session, since acts are rare and far apart. */
class PostgresProduction implements CopyingProduction, EvolvingProduction {
  readonly engine = 'postgresql';
  readonly copying: PgCopySource;
  readonly evolving: SchemaSource;
  readonly #sessions: ProductionSessions;

  /** Opens nothing yet. Errors: CONFIG_INVALID. */
  constructor(url: string) {
    this.#sessions = new ProductionSessions(url);
    this.copying = new PgCopySource(this.#sessions);
    this.evolving = {
      ...{ appends: true, isTold: false },
      finding: (change, includes) =>
        this.#sessions.use('read a change', (client) => findChange(client, change, includes)),
      identities: () => this.#sessions.use('read which tables these are', readIdentities),
    };
  }

  /** Whether it answers. Errors: PRODUCTION_UNREACHABLE, DATABASE_PERMISSION. */
  async connectOnce(): Promise<void> {
    const client = await this.#sessions.open();
    await client.end();
  }

  get address(): string {
    return this.#sessions.address;
  }

  identity(): Promise<ServerIdentity> {
    return this.#sessions.use('read the identity', async (client) => {
      const { rows } = await client.query<ServerIdentity>(
        `SELECT s.system_identifier::text AS "systemId", pg_is_in_recovery() AS "inRecovery",
           ARRAY(SELECT slot_name::text FROM pg_replication_slots
             WHERE slot_type = 'logical' ORDER BY 1) AS slots
         FROM pg_control_system() s`,
      );
      const [identity] = rows;
      if (identity === undefined) throw new Error('pg_control_system() returned no row');
      return identity;
    });
  }

  planShadow(include?: (table: TableId) => boolean): Promise<ShadowPlan> {
    return this.#sessions.use('read the schema', async (client) => {
      await assertKeysAreLogged(client, include ?? (() => true));
      return planFromProduction(client, include);
    });
  }

  view(): Promise<SnapshotView> {
    return this.#sessions.use('take a snapshot', currentView);
  }

  async pin(): Promise<PinnedSnapshot> {
    try {
      return await pinSnapshot({ connect: () => this.#sessions.open(), tables: readCatalogue });
    } catch (error) {
      throw this.#sessions.failure('pin a snapshot', error);
    }
  }

  /** A connector's slot is on the server that it reads: this one, or a standby of it. */
  async unlike({ slot }: ConnectorTraces): Promise<string | null> {
    if (slot === null) return null;
    const { slots } = await this.identity();
    if (slots.includes(slot) || (await this.#mayHaveStandby())) return null;
    return `its replication slot ${slot} is not on this server`;
  }

  #mayHaveStandby(): Promise<boolean> {
    return this.#sessions.use('look for standbys', async (client) => {
      const { rowCount } = await client.query('SELECT FROM pg_catalog.pg_stat_replication LIMIT 1');
      return rowCount === 1;
    });
  }

  /** Held by a session of its own, which ends with it. */
  async holdProbeLock(probe: bigint): Promise<AsyncDisposable> {
    const client = await this.#sessions.open();
    try {
      await client.query('SELECT pg_catalog.pg_advisory_lock($1::bigint)', [probe.toString()]);
    } catch (error) {
      await client.end();
      throw this.#sessions.failure('take the probe lock', error);
    }
    return { [Symbol.asyncDispose]: () => client.end() };
  }

  catalogue(): Promise<SchemaCatalogue> {
    return this.#sessions.use('read the catalogue', readCatalogue);
  }

  diagnose(tables: readonly TableId[], stream: StreamFacts | null): Promise<readonly Diagnosis[]> {
    return this.#sessions.use('look at the settings', async (client) => [
      ...(await diagnoseServer(client)),
      ...(stream === null ? [] : await diagnoseStream(client, stream)),
      ...(await diagnoseTables(client, tables, stream)),
    ]);
  }

  /** Nothing stays open between acts. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/**
 * Production at `url`, after one session has shown that it answers.
 * Errors: CONFIG_INVALID, PRODUCTION_UNREACHABLE, DATABASE_PERMISSION.
 */
export async function connectProduction(url: string): Promise<ProductionDatabase> {
  const production = new PostgresProduction(url);
  await production.connectOnce();
  return production;
}
