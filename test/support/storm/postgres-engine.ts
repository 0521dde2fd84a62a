import pg from 'pg';
import { createDatabase, databaseUrl, startPostgres } from '../postgres.ts';
import type { Session, StormEngine } from './engine.ts';

const OWN_NAME = 'storm';

/** Locks, deadlocks, snapshots, keys; rules of the table; a column or table that has another name by now. */
const COLLISIONS = new Set([...['40001', '40P01', '55P03', '23505', '23514', '23502', '42703']]);

async function connect(url: string): Promise<Session> {
  const client = new pg.Client({
    ...{ connectionString: url, application_name: OWN_NAME },
    types: { getTypeParser: () => (value: unknown) => value },
  });
  // A session ended by force tells so here first; the statement in flight rejects as well.
  client.on('error', () => undefined);
  await client.connect();
  await client.query(`SET lock_timeout = '2s'`);
  return {
    run: async (sql) => (await client.query(sql)).rowCount ?? 0,
    rows: async (sql) =>
      (await client.query<(string | null)[]>({ text: sql, rowMode: 'array' })).rows,
    end: () => client.end(),
  };
}

export const postgresStorm: StormEngine = {
  writers: 16,
  source: 'public',
  returns: true,
  refusesNull: true,
  undoesDdl: true,
  start: startPostgres,
  async makeProduction(serverUrl, ddl) {
    const url = await createDatabase(serverUrl, 'prod');
    const session = await connect(url);
    for (const sql of ddl) await session.run(sql);
    await session.end();
    return url;
  },
  connect,
  adminUrl: databaseUrl,
  places: (_, table) => ({
    table: `public.${table}`,
    production: `public__production.${table}`,
    journal: `understudy."public.${table}#journal"`,
    waiting: `understudy."public.${table}#waiting"`,
    keptOut: `SELECT id FROM public__difference.${table} WHERE understudy_kind = 'blocked'`,
    log: 'understudy.written',
  }),
  // Where no migration takes it for a table of the candidate's.
  async makeLog(admin) {
    await admin.run(`CREATE TABLE understudy.written (seq int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      id int NOT NULL, kind text NOT NULL, a text, b text, c text, x text)`);
    await admin.run('GRANT USAGE ON SCHEMA understudy TO PUBLIC');
    await admin.run('GRANT INSERT ON understudy.written TO PUBLIC');
  },
  async noteEntries(admin, _, table) {
    const log = 'INSERT INTO understudy.written (id, kind, a, b, c, x) VALUES';
    const line = (row: string, kind: string): string => `${log} (${row}.id, '${kind}',
      ${['a', 'b', 'c'].map((name) => `CASE WHEN ${row}.understudy_present THEN ${row}.${name} END`).join(', ')},
      CASE WHEN ${row}.understudy_blocked IS NOT NULL THEN 'blocked' ELSE '' END)`;
    const image = (row: string): string =>
      `ROW(${['understudy_present', 'a', 'b', 'c'].map((name) => `${row}.${name}`).join(', ')})`;
    const journal = `understudy."public.${table}#journal"`;
    await admin.run(`CREATE FUNCTION understudy.note_entry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog AS $note$ BEGIN
        IF TG_OP = 'INSERT' THEN ${line('NEW', 'own')};
        ELSIF TG_OP = 'DELETE' THEN ${line('OLD', 'gone')};
        ELSIF ${image('OLD')} IS DISTINCT FROM ${image('NEW')} THEN ${line('NEW', 'base')};
        END IF;
        RETURN NULL;
      END $note$`);
    await admin.run(`CREATE TRIGGER note_entry AFTER INSERT OR UPDATE OR DELETE ON ${journal}
      FOR EACH ROW EXECUTE FUNCTION understudy.note_entry()`);
    await admin.run(`ALTER TABLE ${journal} ENABLE ALWAYS TRIGGER note_entry`);
  },
  openLog: () => Promise.resolve(),
  clear: () => Promise.resolve(),
  async endHolders(admin, database) {
    await admin.rows(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = '${database}' AND usename = current_user AND application_name <> '${OWN_NAME}'`);
  },
  isCollision: (error) => error instanceof pg.DatabaseError && COLLISIONS.has(error.code ?? ''),
  snapshot: 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY',
  begin(random) {
    const levels = ['READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'];
    return [`BEGIN ISOLATION LEVEL ${random.pick(levels)}`];
  },
  insertOr: (insert, set) =>
    `${insert} ON CONFLICT ${set === null ? 'DO NOTHING' : `(id) DO UPDATE SET ${set}`}`,
  retype: (table, column, type, isNull) => [
    `ALTER TABLE ${table} ALTER COLUMN ${column} TYPE ${type}`,
    `ALTER TABLE ${table} ALTER COLUMN ${column} ${isNull ? 'DROP' : 'SET'} NOT NULL`,
  ],
  dropIndex: (name) => `DROP INDEX ${name}`,
  schemaIs: () => `table_schema = 'public'`,
};
