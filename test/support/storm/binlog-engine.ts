import type { ResultSetHeader } from 'mysql2/promise';
import type { MySqlServer } from '../mysql-server.ts';
import { connectTo } from '../overlay-binlog-session.ts';
import type { Session, StormEngine, TextRow } from './engine.ts';

const SOURCE = 'prod';

/**
 * Locks (tables are closed by the same number), deadlocks, snapshots, keys; rules of the table; a column or table
 * that has another name, or another shape, by now.
 */
const COLLISIONS = new Set([
  ...[1205, 1213, 1020, 1062, 3819, 4025, 1048, 1364, 1138, 1054, 1412, 1146, 1615, 1265],
]);

async function connect(url: string): Promise<Session> {
  const client = await connectTo(url);
  await client.query('SET SESSION innodb_lock_wait_timeout = 2, lock_wait_timeout = 2');
  return {
    async run(sql) {
      const [{ affectedRows, changedRows }] = await client.query<ResultSetHeader>(sql);
      // A row that an UPDATE leaves as it was is nobody's.
      return sql.startsWith('UPDATE') ? changedRows : affectedRows;
    },
    async rows(sql) {
      const [rows] = await client.query({
        ...{ sql, rowsAsArray: true },
        typeCast: (field) => field.string(),
      });
      return rows as unknown as TextRow[];
    },
    end: () => client.end(),
  };
}

export function binlogStorm(start: () => Promise<MySqlServer>): StormEngine {
  return {
    writers: 16,
    source: SOURCE,
    returns: false,
    refusesNull: true,
    undoesDdl: false,
    start,
    async makeProduction(serverUrl, ddl) {
      const session = await connect(serverUrl);
      await session.run(`CREATE DATABASE ${SOURCE} CHARACTER SET utf8mb4`);
      await session.run(`USE ${SOURCE}`);
      for (const sql of ddl) await session.run(sql);
      await session.end();
      return `${serverUrl}${SOURCE}`;
    },
    connect,
    adminUrl: (serverUrl) => serverUrl,
    places: (database, table) => ({
      table: `\`${database}\`.\`${table}\``,
      production: `\`${database}__production\`.\`${table}\``,
      journal: `\`${database}__understudy\`.\`${table}#journal\``,
      waiting: `\`${database}__understudy\`.\`${table}#waiting\``,
      keptOut: `SELECT id FROM \`${database}__understudy\`.\`${table}#journal\` WHERE understudy_blocked IS NOT NULL`,
      log: `\`${database}_log\`.written`,
    }),
    async makeLog(admin, database, candidate) {
      await admin.run(`CREATE DATABASE ${database}_log`);
      await admin.run(`CREATE TABLE ${database}_log.written (seq BIGINT AUTO_INCREMENT PRIMARY KEY,
        id INT NOT NULL, kind VARCHAR(9) NOT NULL, a VARCHAR(20), b VARCHAR(60), c VARCHAR(20), x VARCHAR(40))`);
      await this.openLog(admin, database, candidate);
    },
    async noteEntries(admin, database, table) {
      const line = (row: string, kind: string): string =>
        `INSERT INTO ${database}_log.written (id, kind, a, b, c, x) VALUES (${row}.id, '${kind}',
          ${['a', 'b', 'c'].map((name) => `IF(${row}.understudy_present = 1, ${row}.${name}, NULL)`).join(', ')},
          IF(${row}.understudy_blocked IS NULL, '', 'blocked'))`;
      const same = ['understudy_present', 'a', 'b', 'c'].map(
        (name) => `OLD.${name} <=> NEW.${name}`,
      );
      const on = `ON ${this.places(database, table).journal} FOR EACH ROW`;
      const named = (name: string): string => `CREATE TRIGGER \`${database}__understudy\`.${name}`;
      await admin.run(`${named('note_own')} AFTER INSERT ${on} ${line('NEW', 'own')}`);
      await admin.run(`${named('note_gone')} AFTER DELETE ${on} ${line('OLD', 'gone')}`);
      await admin.run(`${named('note_base')} AFTER UPDATE ${on}
        IF NOT (${same.join(' AND ')}) THEN ${line('NEW', 'base')}; END IF`);
    },
    async openLog(admin, database, user) {
      await admin.run(`GRANT SELECT, INSERT ON ${database}_log.* TO '${user}'@'%'`);
    },
    async clear(admin, database) {
      await admin.run(`DROP DATABASE IF EXISTS ${database}_log`);
    },
    async endHolders(admin, database) {
      const sessions = await admin.rows(
        `SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '${database}'
          AND USER = SUBSTRING_INDEX(USER(), '@', 1) AND ID <> CONNECTION_ID()`,
      );
      for (const [id] of sessions) await admin.run(`KILL ${id ?? ''}`).catch(() => undefined);
    },
    isCollision: (error) =>
      error instanceof Error && 'errno' in error && COLLISIONS.has(Number(error.errno)),
    snapshot: 'START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY',
    begin(random) {
      const levels = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'];
      return [`SET TRANSACTION ISOLATION LEVEL ${random.pick(levels)}`, 'START TRANSACTION'];
    },
    insertOr: (insert, set) =>
      set === null
        ? insert.replace('INSERT', 'INSERT IGNORE')
        : `${insert} ON DUPLICATE KEY UPDATE ${set}`,
    retype: (table, column, type, isNull) => [
      `ALTER TABLE ${table} MODIFY COLUMN ${column} ${type} ${isNull ? 'NULL' : 'NOT NULL'}`,
    ],
    dropIndex: (name, table) => `DROP INDEX ${name} ON ${table}`,
    schemaIs: (database) => `table_schema = '${database}'`,
  };
}
