/** The crash suite on MySQL and MariaDB. Whether an applier tears is read from the server's binlog. */
import { randomBytes } from 'node:crypto';
import mysql, { type Connection as Session, type RowDataPacket } from 'mysql2/promise';
import type { ShadowDatabase } from '../../../src/dialect/dialect.ts';
import { mysql as dialect } from '../../../src/dialect/mysql/index.ts';
import {
  applyBatch,
  openApplySession,
  prepareActs,
} from '../../../src/dialect/mysql/apply/apply.ts';
import { readTables } from '../../../src/dialect/mysql/catalogue/catalogue.ts';
import { ServerAddress } from '../../../src/dialect/mysql/session/address.ts';
import { transaction, type Client } from '../../../src/dialect/mysql/session/client.ts';
import { Connection } from '../../../src/dialect/mysql/session/connection.ts';
import { readFlavour } from '../../../src/dialect/mysql/session/flavour.ts';
import { companionName } from '../../../src/dialect/mysql/session/names.ts';
import { assertFence, claimPresence } from '../../../src/dialect/mysql/shadow/fence.ts';
import { saveProgress } from '../../../src/dialect/mysql/shadow/progress.ts';
import type { CanonicalState } from '../canonical-state.ts';
import { startMariaDB } from '../mariadb.ts';
import { startMySQL } from '../mysql.ts';
import type {
  Candidate,
  CrashEngine,
  CrashFault,
  CrashServer,
  NaiveDatabase,
  Observation,
} from './engine.ts';
import type { ModelState } from './history.ts';
import { naiveDatabase } from './naive-cycles.ts';
import { MODEL_DDL, MODEL_TABLES, modelPlan } from './production.ts';

const SOURCE = 'shop';

export type BinlogFlavour = 'mysql' | 'mariadb';

export function binlogEngine(flavour: BinlogFlavour): CrashEngine {
  return {
    engine: flavour,
    overlay: false,
    source: {
      schema: SOURCE,
      at: (n) => ({
        ...{ connector: flavour, file: 'binlog.000001', pos: BigInt(n + 1), row: 0, gtid: null },
      }),
    },
    async start(): Promise<CrashServer> {
      const server = flavour === 'mysql' ? await startMySQL() : await startMariaDB();
      return new BinlogServer(server.url, flavour, () => server.stop());
    },
  };
}

/** The same on a server that somebody else started and stops. */
export function onBinlogServer(url: string, flavour: BinlogFlavour): CrashServer {
  return new BinlogServer(url, flavour, () => Promise.resolve());
}

interface BinlogPlace {
  readonly file: string;
  readonly pos: number;
}

class BinlogServer implements CrashServer {
  readonly url: string;
  readonly #flavour: BinlogFlavour;
  readonly #stop: () => Promise<void>;
  readonly #modelName = `model_${randomBytes(4).toString('hex')}`;
  readonly #made = new Map<string, BinlogPlace>();
  #model: Promise<Session> | null = null;

  constructor(url: string, flavour: BinlogFlavour, stop: () => Promise<void>) {
    this.url = url;
    this.#flavour = flavour;
    this.#stop = stop;
  }

  async createTrunk(database: string): Promise<void> {
    await this.drop(database);
    await using server = await dialect.connectShadow(this.url);
    await server.createTrunk({ name: database, topicPrefix: 'p', plan: modelPlan(SOURCE) });
    const show = this.#flavour === 'mysql' ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS';
    const [status] = await this.#with((session) => rowsOf(session, show));
    this.#made.set(database, { file: String(status?.['File']), pos: Number(status?.['Position']) });
  }

  async drop(database: string): Promise<void> {
    await this.endSessions(database);
    await this.#with(async (session) => {
      await session.query(`DROP DATABASE IF EXISTS \`${database}\``);
      await session.query(`DROP DATABASE IF EXISTS \`${companionName(database)}\``);
    });
  }

  async endSessions(database: string): Promise<void> {
    await this.#with(async (session) => {
      const found = await rowsOf(
        session,
        `SELECT id FROM information_schema.processlist
          WHERE db = '${database}' AND id <> CONNECTION_ID()`,
      );
      for (const row of found) {
        // It may have ended by itself.
        await session.query(`KILL ${String(row['id'] ?? row['ID'])}`).catch(() => undefined);
      }
    });
  }

  observe(database: string): Promise<Observation> {
    const companion = companionName(database);
    return this.#with(async (session) => {
      await session.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
      await session.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY');
      const state = await stateOf(session, database);
      const position = await rowsOf(session, `SELECT * FROM \`${companion}\`.position`);
      const ahead = await rowsOf(session, `SELECT * FROM \`${companion}\`.ahead`);
      await session.query('COMMIT');
      return {
        state,
        offsets: new Map(position.map((row) => [placeOf(row), BigInt(String(row['next_offset']))])),
        ahead: ahead.map((row) => ({
          topic: String(row['topic']),
          partition: Number(row['partition']),
          first: BigInt(String(row['first_offset'])),
          next: BigInt(String(row['next_offset'])),
        })),
      };
    });
  }

  async rebuild(rows: ModelState): Promise<CanonicalState> {
    const session = await (this.#model ??= this.#makeModel());
    await session.query('START TRANSACTION');
    for (const { name, columns } of MODEL_TABLES) {
      await session.query(`DELETE FROM \`${name}\``);
      const values = (rows.get(name) ?? []).map((row) => columns.map((column) => row[column]));
      if (values.length === 0) continue;
      await session.query(`INSERT INTO \`${name}\` (${columns.join(', ')}) VALUES ?`, [values]);
    }
    await session.query('COMMIT');
    return stateOf(session, this.#modelName);
  }

  /** Transactions in the binlog since the trunk was made that changed its rows and no place. */
  async witnessed(database: string): Promise<readonly string[]> {
    const made = this.#made.get(database);
    if (made === undefined) throw new Error('the trunk was not made here');
    const events = await this.#with(async (session) => {
      const logs = (await rowsOf(session, 'SHOW BINARY LOGS')).map((r) => String(r['Log_name']));
      const found: RowDataPacket[] = [];
      for (const file of logs.slice(logs.indexOf(made.file))) {
        const from = file === made.file ? ` FROM ${made.pos}` : '';
        found.push(...(await rowsOf(session, `SHOW BINLOG EVENTS IN '${file}'${from}`)));
      }
      return found;
    });
    return tornIn(events, database);
  }

  candidate(): Promise<Candidate> {
    return Promise.reject(new Error('this engine has no rollouts'));
  }

  naive(url: string, database: ShadowDatabase, fault: CrashFault): NaiveDatabase {
    const { name } = database;
    const connection = new Connection({
      ...{ address: new ServerAddress(url, 'shadow.url'), database: name },
      prepare: async (client) => prepareActs(client, await readFlavour(client)),
    });
    return naiveDatabase<Client>(database, fault, {
      use: (fn) => connection.use({ doing: 'apply a batch', otherwise: 'APPLY_FAILED' }, fn),
      showPresence: (client, fence) => claimPresence(client, name, fence, 'acts'),
      transaction: (client, fn) => transaction(client, fn),
      assertFence: async (client, fence) => {
        await assertFence(client, fence, name);
      },
      rows: async (client, batch) => {
        const tables = await readTables(client, name, SOURCE);
        return applyBatch(await openApplySession(client, name, tables), batch);
      },
      saveProgress: (client, batch) => saveProgress(client, name, batch),
      close: () => connection[Symbol.asyncDispose](),
    });
  }

  async #makeModel(): Promise<Session> {
    await this.#with((session) => session.query(`CREATE DATABASE ${this.#modelName}`));
    const session = await this.#open(this.#modelName);
    for (const sql of MODEL_DDL) await session.query(sql);
    return session;
  }

  async #with<T>(use: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.#open();
    try {
      return await use(session);
    } finally {
      await session.end();
    }
  }

  async #open(database?: string): Promise<Session> {
    const session = await mysql.createConnection({
      ...{ uri: this.url, supportBigNumbers: true, bigNumberStrings: true },
      ...(database !== undefined && { database }),
    });
    session.on('error', () => undefined);
    return session;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#model !== null) {
      const session = await this.#model;
      await session.query(`DROP DATABASE IF EXISTS ${this.#modelName}`);
      await session.end();
    }
    await this.#stop();
  }
}

async function rowsOf(session: Session, sql: string): Promise<readonly RowDataPacket[]> {
  const [rows] = await session.query<RowDataPacket[]>(sql);
  return rows;
}

async function stateOf(session: Session, database: string): Promise<CanonicalState> {
  const state: Record<string, readonly string[]> = {};
  for (const { name, columns } of MODEL_TABLES) {
    const rows = await rowsOf(session, `SELECT * FROM \`${database}\`.\`${name}\``);
    state[name] = rows.map((row) => JSON.stringify(columns.map((c) => String(row[c])))).toSorted();
  }
  return state;
}

function placeOf(row: RowDataPacket): string {
  return `${String(row['topic'])}/${String(row['partition'])}`;
}

/** A transaction ends with an event of type Xid; before each change stands the table's name. */
function tornIn(events: readonly RowDataPacket[], database: string): readonly string[] {
  const rows = new Set(MODEL_TABLES.map(({ name }) => `${database}.${name}`));
  const places = new Set(['position', 'ahead'].map((name) => `${companionName(database)}.${name}`));
  const torn: string[] = [];
  let touched = new Set<string>();
  for (const event of events) {
    const type = String(event['Event_type']);
    const info = String(event['Info']);
    if (type.toLowerCase().includes('gtid')) touched = new Set();
    const table = /^table_id: \d+ \((.+)\)$/.exec(info)?.[1];
    if (type === 'Table_map' && table !== undefined) touched.add(table);
    if (type !== 'Xid') continue;
    const wrote = [...touched].filter((name) => rows.has(name));
    if (wrote.length === 0 || [...touched].some((name) => places.has(name))) continue;
    torn.push(`rows were written and no position moved: ${wrote.join(', ')}`);
  }
  return torn;
}
