/**
 * The control database: one row per rollout, request and drift run, and the audit log. Every
 * method is one statement or one transaction; nothing is cached.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ControlStore, RequestKind, RequestRow, RolloutRow } from '../../dialect.ts';
import {
  toJson,
  toRequest,
  toRollout,
  type RequestRecord,
  type RolloutRecord,
} from '../../sql/control-rows.ts';
import { transaction, type Client } from '../session/client.ts';
import { NOW_US } from '../session/clock.ts';
import type { Connection } from '../session/connection.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import { quote } from '../session/names.ts';
import { appendAudit } from './audit.ts';

const ROLLOUT = 'name, `database`, role, url, state, created_ms AS created, expires_ms AS expires';
const REQUEST = 'CAST(id AS CHAR) AS id, kind, `database`, args, state, outcome';

export class MySqlControlStore implements ControlStore {
  readonly #connection: Connection;
  readonly #database: string;

  /** The connection goes to the server; `database` is migrated. It is closed with the store. */
  constructor(connection: Connection, database: string) {
    this.#connection = connection;
    this.#database = database;
  }

  async now(): Promise<Date> {
    return this.#do('ask for the time', async (client) => {
      const { nowUs } = await client.row<{ nowUs: string }>(`SELECT ${NOW_US} AS nowUs`);
      return new Date(Number(nowUs) / 1000);
    });
  }

  async rollouts(): Promise<readonly RolloutRow[]> {
    return this.#do('list rollouts', async (client) => {
      const sql = `SELECT ${ROLLOUT} FROM ${this.#table('rollout')} ORDER BY created_ms, name`;
      return (await client.rows<RolloutRecord>(sql)).map(ofRecord);
    });
  }

  async rollout(name: string): Promise<RolloutRow | null> {
    return this.#do('read a rollout', async (client) => {
      const sql = `SELECT ${ROLLOUT} FROM ${this.#table('rollout')} WHERE name = ?`;
      const [row] = await client.rows<RolloutRecord>(sql, [name]);
      return row === undefined ? null : ofRecord(row);
    });
  }

  async insertRollout(row: RolloutRow): Promise<void> {
    await this.#do('write a rollout', async (client) => {
      try {
        await client.run(
          `INSERT INTO ${this.#table('rollout')}
            (name, \`database\`, role, url, state, created_ms, expires_ms)
            VALUES (?, ?, ?, ?, ?, ?, ?)`,
          [
            ...[row.name, row.database, row.role, row.url, row.state],
            ...[row.createdAt.getTime(), row.expiresAt?.getTime() ?? null],
          ],
        );
      } catch (error) {
        if (!hasErrno(error, ERRNO.duplicateEntry)) throw error;
        throw new UnderstudyError('ROLLOUT_EXISTS', `there is a rollout '${row.name}'`, {}, error);
      }
    });
  }

  async updateRollout(
    name: string,
    change: Partial<Pick<RolloutRow, 'state' | 'url' | 'expiresAt'>>,
  ): Promise<void> {
    await this.#do('update a rollout', async (client) => {
      const { rows } = await client.run(
        `UPDATE ${this.#table('rollout')}
          SET state = COALESCE(?, state), url = COALESCE(?, url),
            expires_ms = IF(? = 1, ?, expires_ms)
          WHERE name = ?`,
        [
          ...[change.state ?? null, change.url ?? null],
          ...[change.expiresAt === undefined ? 0 : 1, change.expiresAt?.getTime() ?? null, name],
        ],
      );
      if (rows === 0) {
        throw new UnderstudyError('ROLLOUT_NOT_FOUND', `there is no rollout '${name}'`);
      }
    });
  }

  async deleteRollout(name: string): Promise<void> {
    await this.#do('delete a rollout', (client) =>
      client.run(`DELETE FROM ${this.#table('rollout')} WHERE name = ?`, [name]),
    );
  }

  async submitRequest(kind: RequestKind, database: string, args: unknown): Promise<string> {
    return this.#do('submit a request', async (client) => {
      const sql = `INSERT INTO ${this.#table('request')} (kind, \`database\`, args) VALUES (?, ?, ?)`;
      return (await client.run(sql, [kind, database, toJson(args)])).insertId;
    });
  }

  async request(id: string): Promise<RequestRow | null> {
    return this.#do('read a request', (client) => this.#requestIn(client, id));
  }

  async claimRequest(database: string, holder: string): Promise<RequestRow | null> {
    return this.#do('claim a request', (client) =>
      transaction(client, async () => {
        const [found] = await client.rows<{ id: string }>(
          `SELECT CAST(id AS CHAR) AS id FROM ${this.#table('request')}
            WHERE \`database\` = ? AND state = 'open'
            ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED`,
          [database],
        );
        if (found === undefined) return null;
        await client.run(
          `UPDATE ${this.#table('request')}
            SET state = 'running', holder = ?, claimed_at = SYSDATE(3) WHERE id = ?`,
          [holder, BigInt(found.id)],
        );
        return this.#requestIn(client, found.id);
      }),
    );
  }

  async reopenRequests(database: string, holder: string): Promise<number> {
    return this.#do('reopen requests', async (client) => {
      const { rows } = await client.run(
        `UPDATE ${this.#table('request')} SET state = 'open', holder = NULL, claimed_at = NULL
          WHERE \`database\` = ? AND state = 'running' AND holder <> ?`,
        [database, holder],
      );
      return rows;
    });
  }

  async withdrawRequest(id: string): Promise<boolean> {
    return this.#do('withdraw a request', async (client) => {
      const sql = `DELETE FROM ${this.#table('request')} WHERE id = ? AND state = 'open'`;
      return (await client.run(sql, [BigInt(id)])).rows === 1;
    });
  }

  async finishRequest(id: string, state: 'done' | 'failed', outcome: unknown): Promise<void> {
    await this.#do('finish a request', (client) =>
      client.run(
        `UPDATE ${this.#table('request')}
          SET state = ?, outcome = ?, finished_at = SYSDATE(3) WHERE id = ?`,
        [state, toJson(outcome), BigInt(id)],
      ),
    );
  }

  async saveDriftRun(run: {
    readonly database: string;
    readonly verdict: string;
    readonly report: unknown;
  }): Promise<string> {
    return this.#do('save a drift run', async (client) => {
      const sql = `INSERT INTO ${this.#table('drift_run')} (\`database\`, verdict, report)
        VALUES (?, ?, ?)`;
      const values = [run.database, run.verdict, toJson(run.report)];
      return (await client.run(sql, values)).insertId;
    });
  }

  async audit(actor: string, action: string, subject: string, detail: unknown): Promise<void> {
    await this.#do('write the audit log', (client) =>
      appendAudit(client, this.#database, { actor, action, subject, detail: toJson(detail) }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #table(name: string): string {
    return quote(this.#database, name);
  }

  async #requestIn(client: Client, id: string): Promise<RequestRow | null> {
    const sql = `SELECT ${REQUEST} FROM ${this.#table('request')} WHERE id = ?`;
    const [row] = await client.rows<RequestRecord>(sql, [BigInt(id)]);
    return row === undefined ? null : toRequest(row);
  }

  #do<T>(doing: string, fn: (client: Client) => Promise<T>): Promise<T> {
    return this.#connection.use({ doing, otherwise: 'INTERNAL' }, fn);
  }
}

/** Times come as texts: the driver keeps 64 bits so. */
function ofRecord(row: RolloutRecord): RolloutRow {
  return toRollout({
    ...row,
    created: Number(row.created),
    expires: row.expires === null ? null : Number(row.expires),
  });
}
