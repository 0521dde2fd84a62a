/**
 * The composition root: opens what the configuration names. Everything is opened late and
 * closed with the context; nothing here decides.
 */
import os from 'node:os';
import { randomBytes } from 'node:crypto';
import type { Config } from '../config/schema.ts';
import { pairedTables, tablePolicies } from './policies.ts';
import {
  applierTriggers,
  followedTables,
  isolatedTables,
  readonlyTables,
} from '../config/table-filter.ts';
import type { TableId } from '../change/table-id.ts';
import type {
  ControlStore,
  Dialect,
  EngineName,
  ProductionDatabase,
  ShadowServer,
} from '../dialect/dialect.ts';
import { dialectFor } from '../dialect/registry.ts';
import { ensureEmbeddedServer } from '../dialect/embedded.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import { assertIsolated, type IsolationEvidence } from '../guard/isolation.ts';
import type { ChangeSource, PartitionFilter } from '../source/change-source.ts';
import { ConnectClient } from '../source/connect/connect-client.ts';
import { openProduction } from './production.ts';
import { openConfiguredSource } from './sources.ts';

export interface ContextOptions {
  /** Leave the embedded server running when the context closes. */
  readonly keepEmbedded?: boolean;
  /** Opens the event log instead of what the configuration names: for playing it in stages. */
  readonly openSource?: () => Promise<ChangeSource>;
}

export class RuntimeContext implements AsyncDisposable {
  readonly config: Config;
  readonly logger: Logger;
  readonly dialect: Dialect;
  readonly server: ShadowServer;
  /** Names this process in fences, requests and the audit log. */
  readonly holder: string;
  readonly connect: ConnectClient | null;
  readonly includes: (table: TableId) => boolean;
  #production: Promise<ProductionDatabase | null> | null = null;
  #isolation: Promise<IsolationEvidence> | null = null;
  #control: Promise<ControlStore | null> | null = null;
  readonly #close: () => Promise<void>;
  readonly #openSource: (() => Promise<ChangeSource>) | undefined;

  private constructor(parts: {
    config: Config;
    logger: Logger;
    dialect: Dialect;
    server: ShadowServer;
    close: () => Promise<void>;
    openSource: (() => Promise<ChangeSource>) | undefined;
  }) {
    this.config = parts.config;
    this.logger = parts.logger;
    this.dialect = parts.dialect;
    this.server = parts.server;
    this.#close = parts.close;
    this.#openSource = parts.openSource;
    this.holder = `${os.hostname()}/${process.pid}/${randomBytes(4).toString('hex')}`;
    this.includes = followedTables(parts.config);
    const connect = parts.config.source.connect;
    this.connect = connect === undefined ? null : new ConnectClient(connect);
  }

  /**
   * Connects to the shadow server.
   * Errors: SHADOW_UNREACHABLE, DATABASE_PERMISSION, SCHEMA_TOO_NEW, CONFIG_INVALID if it is of
   * another engine than production.
   */
  static async open(
    config: Config,
    logger: Logger,
    options: ContextOptions = {},
  ): Promise<RuntimeContext> {
    const shadow = await shadowAddress(config, options.keepEmbedded ?? false);
    try {
      const dialect = dialectFor(shadow.url);
      const server = await dialect.connectShadow(shadow.url, {
        leaseMs: config.apply.leaseSeconds * 1000,
        isolates: isolatedTables(config),
        readOnly: readonlyTables(config),
        actingTriggers: applierTriggers(config),
        policies: tablePolicies(config),
        pairsOn: pairedTables(config),
      });
      await assertEngine(server, config.source.connector);
      return new RuntimeContext({
        config,
        logger,
        dialect,
        server,
        openSource: options.openSource,
        close: async () => {
          await server[Symbol.asyncDispose]();
          await shadow.release();
        },
      });
    } catch (error) {
      await shadow.release();
      throw error;
    }
  }

  /** Production, or null where none is configured. One connection set for the whole process. */
  async production(): Promise<ProductionDatabase | null> {
    this.#production ??= openProduction(this.config);
    try {
      return await this.#production;
    } catch (error) {
      this.#production = null;
      throw error;
    }
  }

  /** The control database, made if need be: the isolation guard runs first. */
  async control(): Promise<ControlStore> {
    await this.assertIsolated();
    const found = await this.existingControl();
    if (found !== null) return found;
    const made = this.server.control({ create: true });
    this.#control = made;
    return made;
  }

  /** The control database if there is one: for commands that only read. */
  async existingControl(): Promise<ControlStore | null> {
    this.#control ??= this.server.control({ create: false });
    return this.#control;
  }

  /** `only`: of Kafka, the partitions that its stream reads. Default: all. */
  openSource(only?: PartitionFilter): Promise<ChangeSource> {
    return (
      this.#openSource?.() ?? openConfiguredSource(this.config, this.includes, this.logger, only)
    );
  }

  /** The isolation guard; runs once per process, before the first write. */
  assertIsolated(): Promise<IsolationEvidence> {
    this.#isolation ??= this.#checkIsolation();
    return this.#isolation;
  }

  async #checkIsolation(): Promise<IsolationEvidence> {
    const evidence = await assertIsolated({
      shadow: this.server,
      production: await this.production(),
      connector: this.connect === null ? null : await this.connect.target(),
      restoredBackup: this.config.shadow !== 'embedded' && this.config.shadow.restoredBackup,
    });
    if (evidence === 'none' && this.config.source.recording === undefined) {
      this.logger.warn(
        'neither production nor Kafka Connect is configured: isolation rests on the marker alone',
      );
    }
    return evidence;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#production !== null) {
      const production = await this.#production.catch(() => null);
      await production?.[Symbol.asyncDispose]();
    }
    const control = await this.#control?.catch(() => null);
    await control?.[Symbol.asyncDispose]();
    await this.#close();
  }
}

/** Events of one engine are written into servers of the same engine. Closes the server if not. */
async function assertEngine(server: ShadowServer, connector: EngineName): Promise<void> {
  if (server.engine === connector) return;
  await server[Symbol.asyncDispose]();
  throw new UnderstudyError(
    'CONFIG_INVALID',
    `the shadow server at ${server.address} is ${server.engine}, but source.connector is ${connector}`,
    { detail: 'correct source.connector, or point shadow.url at a server of that kind' },
  );
}

async function shadowAddress(
  config: Config,
  keep: boolean,
): Promise<{ readonly url: string; release(): Promise<void> }> {
  if (config.shadow !== 'embedded') {
    return { url: config.shadow.url.reveal(), release: () => Promise.resolve() };
  }
  return ensureEmbeddedServer({ directory: config.directory, keep });
}
