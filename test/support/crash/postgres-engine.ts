import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { ShadowDatabase } from '../../../src/dialect/dialect.ts';
import { postgres } from '../../../src/dialect/postgres/index.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
} from '../../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../../src/dialect/postgres/catalogue/catalogue.ts';
import {
  Connection,
  ServerAddress,
  transaction,
} from '../../../src/dialect/postgres/session/session.ts';
import { assertFence, showPresence } from '../../../src/dialect/postgres/shadow/fence.ts';
import { saveProgress } from '../../../src/dialect/postgres/shadow/progress.ts';
import { canonicalState, productionView, type CanonicalState } from '../canonical-state.ts';
import { createDatabase, databaseUrl, dropDatabase, startPostgres } from '../postgres.ts';
import type {
  Candidate,
  CrashEngine,
  CrashFault,
  CrashServer,
  NaiveDatabase,
  Observation,
} from './engine.ts';
import { isCollision } from '../overlay-scenario.ts';
import type { ModelState } from './history.ts';
import { naiveDatabase } from './naive-cycles.ts';
import { MODEL_DDL, MODEL_TABLES, modelPlan } from './production.ts';

const NAMES = MODEL_TABLES.map(({ name }) => `public.${name}`);

/**
 * Notes, in the transaction that does it, every row that an applier writes and every step of the
 * position. Triggers of a candidate's tables do not act for appliers; these are made to.
 */
const WITNESS = `
  CREATE SCHEMA witness;
  CREATE TABLE witness.wrote (xid text NOT NULL, what text NOT NULL);
  CREATE TABLE witness.moved (xid text NOT NULL, partition text NOT NULL, before int8, after int8);
  CREATE FUNCTION witness.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF pg_catalog.current_setting('application_name') LIKE 'understudy:%:apply' THEN
      INSERT INTO witness.wrote
        VALUES (pg_catalog.pg_current_xact_id()::text, TG_TABLE_NAME || ' ' || TG_OP);
    END IF;
    RETURN NULL;
  END $$;
  CREATE FUNCTION witness.step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO witness.moved VALUES (pg_catalog.pg_current_xact_id()::text,
      NEW.topic || '/' || NEW.partition,
      CASE WHEN TG_OP = 'UPDATE' THEN OLD.next_offset END, NEW.next_offset);
    RETURN NULL;
  END $$;
  CREATE TRIGGER step AFTER INSERT OR UPDATE ON understudy.position
    FOR EACH ROW EXECUTE FUNCTION witness.step();
  ALTER TABLE understudy.position ENABLE ALWAYS TRIGGER step;
  CREATE FUNCTION witness.ahead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO witness.moved VALUES (pg_catalog.pg_current_xact_id()::text,
      NEW.topic || '/' || NEW.partition || ' ahead', NEW.first_offset, NEW.next_offset);
    RETURN NULL;
  END $$;
  CREATE TRIGGER ahead AFTER INSERT ON understudy.ahead
    FOR EACH ROW EXECUTE FUNCTION witness.ahead();
  ALTER TABLE understudy.ahead ENABLE ALWAYS TRIGGER ahead;
  ${NAMES.map(
    (name) => `
      CREATE TRIGGER note_rows AFTER INSERT OR UPDATE OR DELETE ON ${name}
        FOR EACH ROW EXECUTE FUNCTION witness.note();
      CREATE TRIGGER note_clear AFTER TRUNCATE ON ${name} EXECUTE FUNCTION witness.note();
      ALTER TABLE ${name} ENABLE ALWAYS TRIGGER note_rows;
      ALTER TABLE ${name} ENABLE ALWAYS TRIGGER note_clear;`,
  ).join('')}`;

const WRONGS = `
  SELECT 'rows were written and no position moved: ' || string_agg(DISTINCT w.what, ', ') AS wrong
    FROM witness.wrote w WHERE NOT EXISTS (SELECT FROM witness.moved m WHERE m.xid = w.xid)
    GROUP BY w.xid
  UNION ALL
  SELECT 'the position of ' || m.partition || ' went from ' || m.before || ' to ' || m.after
    FROM witness.moved m WHERE m.after <= m.before`;

export const postgresEngine: CrashEngine = {
  engine: 'postgresql',
  overlay: true,
  source: {
    schema: 'public',
    at: (n, txId) => ({
      ...{ connector: 'postgresql', lsn: BigInt(n + 1), lastCommitLsn: null, txId },
    }),
  },
  async start(): Promise<CrashServer> {
    const server = await startPostgres();
    return new PostgresServer(server.url, () => server.stop());
  },
};

interface AheadRow {
  readonly topic: string;
  readonly partition: number;
  readonly first: string;
  readonly next: string;
}

/** The same on a server that somebody else started and stops. */
export function onPostgres(url: string): CrashServer {
  return new PostgresServer(url, () => Promise.resolve());
}

class PostgresServer implements CrashServer {
  readonly url: string;
  readonly #stop: () => Promise<void>;
  readonly #modelName = `model_${randomBytes(4).toString('hex')}`;
  #model: Promise<string> | null = null;

  constructor(url: string, stop: () => Promise<void>) {
    this.url = url;
    this.#stop = stop;
  }

  async createTrunk(database: string): Promise<void> {
    await this.drop(database);
    await using server = await postgres.connectShadow(this.url);
    await server.createTrunk({ name: database, topicPrefix: 'p', plan: modelPlan('public') });
    await withClient(databaseUrl(this.url, database), (client) => client.query(WITNESS));
  }

  async drop(database: string): Promise<void> {
    await dropDatabase(this.url, database);
  }

  async endSessions(database: string): Promise<void> {
    await withClient(this.url, (client) =>
      client.query(
        `SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
          WHERE datname = $1 AND application_name LIKE 'understudy:%'`,
        [database],
      ),
    );
  }

  async observe(database: string, kind: 'trunk' | 'rollout'): Promise<Observation | null> {
    let offsets: Observation['offsets'] = new Map();
    let ahead: Observation['ahead'] = [];
    const position = `SELECT topic || '/' || partition AS partition, next_offset::text AS next
      FROM understudy.position`;
    const beyond = `SELECT topic, partition, first_offset::text AS first, next_offset::text AS next
      FROM understudy.ahead`;
    const url = new URL(databaseUrl(this.url, database));
    url.searchParams.set('options', '-c lock_timeout=300ms');
    const reading = canonicalState(url.href, {
      only: NAMES,
      ...(kind === 'rollout' && { relation: productionView }),
      within: async (client) => {
        const { rows } = await client.query<{ partition: string; next: string }>(position);
        offsets = new Map(rows.map((row) => [row.partition, BigInt(row.next)]));
        const ranges = await client.query<AheadRow>(beyond);
        ahead = ranges.rows.map((r) => ({ ...r, first: BigInt(r.first), next: BigInt(r.next) }));
      },
    });
    try {
      return { state: await reading, offsets, ahead };
    } catch (error) {
      if (isCollision(error)) return null;
      throw error;
    }
  }

  async rebuild(rows: ModelState): Promise<CanonicalState> {
    const url = await (this.#model ??= this.#makeModel());
    await withClient(url, async (client) => {
      await client.query(`BEGIN; TRUNCATE ${NAMES.join(', ')}`);
      for (const { name } of MODEL_TABLES) {
        await client.query(
          `INSERT INTO ${name} SELECT * FROM jsonb_populate_recordset(NULL::${name}, $1)`,
          [JSON.stringify(rows.get(name) ?? [])],
        );
      }
      await client.query('COMMIT');
    });
    return canonicalState(url, { only: NAMES });
  }

  async witnessed(database: string): Promise<readonly string[]> {
    return withClient(databaseUrl(this.url, database), async (client) => {
      const { rows } = await client.query<{ wrong: string }>(WRONGS);
      return rows.map((row) => row.wrong);
    });
  }

  async candidate(database: string): Promise<Candidate> {
    const client = new pg.Client({ connectionString: databaseUrl(this.url, database) });
    client.on('error', () => undefined);
    await client.connect();
    await client.query(`SET lock_timeout = '200ms'`);
    return {
      async write(sql: string): Promise<boolean> {
        try {
          await client.query(sql);
          return true;
        } catch (error) {
          if (isCollision(error)) return false;
          throw error;
        }
      },
      [Symbol.asyncDispose]: () => client.end(),
    };
  }

  naive(url: string, database: ShadowDatabase, fault: CrashFault): NaiveDatabase {
    const { name } = database;
    const connection = new Connection({
      ...{ address: new ServerAddress(url), database: name, role: 'apply' },
      prepare: async (client) => void (await client.query(applierSessionSql)),
    });
    return naiveDatabase<pg.Client>(database, fault, {
      use: (fn) => connection.use({ doing: 'apply a batch', otherwise: 'APPLY_FAILED' }, fn),
      showPresence: (client, fence) => showPresence(client, fence.generation),
      transaction,
      assertFence: async (client, fence) => {
        await assertFence(client, fence, name);
      },
      rows: async (client, batch) =>
        applyBatch(await openApplySession(client, await readCatalogue(client)), batch),
      saveProgress,
      close: () => connection[Symbol.asyncDispose](),
    });
  }

  async #makeModel(): Promise<string> {
    const url = await createDatabase(this.url, this.#modelName);
    await withClient(url, (client) => client.query(MODEL_DDL.join(';')));
    return url;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#model !== null) await dropDatabase(this.url, this.#modelName);
    await this.#stop();
  }
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}
