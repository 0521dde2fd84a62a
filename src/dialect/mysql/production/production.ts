/** Production, read-only: its schema, its identity, its settings. Nothing is ever written there. */
import type { TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { CopyingProduction, CopySource } from '../../copying.ts';
import type { EvolvingProduction, SchemaSource } from '../../evolving.ts';
import type { ShadowPlan } from '../../../schema/shadow-plan.ts';
import type { ConnectorTraces } from '../../connector-traces.ts';
import type {
  Diagnosis,
  PinnedSnapshot,
  ProductionDatabase,
  ServerIdentity,
  SnapshotView,
} from '../../dialect.ts';
import { followedDatabase, planFromProduction } from '../schema/plan-from-production.ts';
import { readFlavour, readSystemId, type Flavour } from '../session/flavour.ts';
import { probeLock } from '../session/names.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import { readTables } from '../catalogue/catalogue.ts';
import { takeLock } from '../session/server-locks.ts';
import { findChange } from './change-finding.ts';
import { whyUnlike } from './connector-traces.ts';
import { MySqlCopySource } from './copy-source.ts';
import { pinSnapshot } from './pin.ts';
import { diagnoseProduction } from './production-diagnosis.ts';
import { ProductionSessions } from './production-session.ts';

const LOCK_WAIT_MS = 10_000;

/** Every act opens its own session, since acts are rare and far apart. */
class MySqlProduction implements CopyingProduction, EvolvingProduction {
  readonly engine: Flavour['engine'];
  readonly evolving: SchemaSource;
  readonly copying: CopySource;
  readonly #sessions: ProductionSessions;
  readonly #flavour: Flavour;
  readonly #includes: (table: TableId) => boolean;

  constructor(
    sessions: ProductionSessions,
    flavour: Flavour,
    includes: (table: TableId) => boolean,
  ) {
    this.#sessions = sessions;
    this.engine = flavour.engine;
    this.#flavour = flavour;
    this.copying = new MySqlCopySource({ sessions, flavour, includes });
    this.#includes = includes;
    this.evolving = {
      ...{ appends: false, isTold: true },
      finding: (change, takesPart) =>
        sessions.use('look at a change of the schema', (client) =>
          findChange(client, change, takesPart),
        ),
      identities: null,
    };
  }

  get address(): string {
    return this.#sessions.address;
  }

  identity(): Promise<ServerIdentity> {
    return this.#sessions.use('read the identity', async (client) => ({
      systemId: await readSystemId(client, await readFlavour(client)),
      inRecovery: false,
      slots: [],
    }));
  }

  planShadow(include: (table: TableId) => boolean = () => true): Promise<ShadowPlan> {
    return this.#sessions.use('read the schema', (client) =>
      planFromProduction(client, this.#sessions.database, include),
    );
  }

  /** There is nothing here that has to be proven: a pin waits for all that the binlog has. */
  view(): Promise<SnapshotView> {
    return Promise.reject(new UnderstudyError('INTERNAL', 'a binlog needs no view to prove by'));
  }

  async pin(): Promise<PinnedSnapshot> {
    try {
      return await pinSnapshot({
        ...{ sessions: this.#sessions, flavour: this.#flavour, includes: this.#includes },
      });
    } catch (error) {
      throw this.#sessions.failure('pin a snapshot', error);
    }
  }

  unlike(connector: ConnectorTraces): Promise<string | null> {
    return this.#sessions.use('compare it with the connector', (client) =>
      whyUnlike(client, this.#flavour, connector),
    );
  }

  /** Held by a session of its own, which ends with it. */
  async holdProbeLock(probe: bigint): Promise<AsyncDisposable> {
    const client = await this.#sessions.open();
    try {
      if (!(await takeLock(client, probeLock(probe), LOCK_WAIT_MS))) {
        throw new UnderstudyError('PRODUCTION_UNREACHABLE', 'the probe lock was not given');
      }
    } catch (error) {
      await client.end();
      throw this.#sessions.failure('take the probe lock', error);
    }
    return { [Symbol.asyncDispose]: () => client.end() };
  }

  catalogue(): Promise<SchemaCatalogue> {
    return this.#sessions.use('read the catalogue', async (client) => {
      const named = this.#sessions.database;
      const database = await followedDatabase(client, named, this.#includes);
      const tables = await readTables(client, database, database);
      return tables.catalogue;
    });
  }

  diagnose(tables: readonly TableId[]): Promise<readonly Diagnosis[]> {
    return this.#sessions.use('look at the settings', (client) =>
      diagnoseProduction(client, {
        database: this.#sessions.database,
        tables,
        includes: this.#includes,
      }),
    );
  }

  /** Nothing stays open between acts. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/**
 * Production at `url`, after one session has shown that it answers.
 * Errors: CONFIG_INVALID, PRODUCTION_UNREACHABLE, DATABASE_PERMISSION, UNSUPPORTED if it is too old.
 */
export async function connectProduction(
  url: string,
  includes: (table: TableId) => boolean,
): Promise<ProductionDatabase> {
  const sessions = new ProductionSessions(url);
  const flavour = await sessions.use('read the version', readFlavour);
  return new MySqlProduction(sessions, flavour, includes);
}
