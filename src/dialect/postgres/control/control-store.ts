/**
 * The control database: one row per rollout, request and drift run, and the audit log. Every
 * method is one statement or one transaction; nothing is cached.
 */
import type pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ControlStore, RequestKind, RequestRow, RolloutRow } from '../../dialect.ts';
import {
  toJson,
  toRequest,
  toRollout,
  type RequestRecord,
  type RolloutRecord,
} from '../../sql/control-rows.ts';
import { appendAudit } from './audit.ts';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';
import type { Connection } from '../session/session.ts';

const ROLLOUT = `name, database, role, url, state,
  (EXTRACT(epoch FROM created_at) * 1000)::float8 AS created,
  (EXTRACT(epoch FROM expires_at) * 1000)::float8 AS expires`;

const REQUEST = 'id::text AS id, kind, database, args, state, outcome';

export class PgControlStore implements ControlStore {
  readonly #connection: Connection;

  /** The connection goes to the control database, migrated; it is closed with the store. */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  async now(): Promise<Date> {
    return this.#do('ask for the time', async (client) => {
      const sql = `SELECT (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000)::float8 AS now`;
      return new Date((await client.query<{ now: number }>(sql)).rows[0]?.now ?? NaN);
    });
  }

  async rollouts(): Promise<readonly RolloutRow[]> {
    return this.#do('list rollouts', async (client) => {
      const sql = `SELECT ${ROLLOUT} FROM understudy.rollout ORDER BY created_at, name`;
      return (await client.query<RolloutRecord>(sql)).rows.map(toRollout);
    });
  }

  async rollout(name: string): Promise<RolloutRow | null> {
    return this.#do('read a rollout', async (client) => {
      const sql = `SELECT ${ROLLOUT} FROM understudy.rollout WHERE name = $1`;
      const row = (await client.query<RolloutRecord>(sql, [name])).rows[0];
      return row === undefined ? null : toRollout(row);
    });
  }

  async insertRollout(row: RolloutRow): Promise<void> {
    await this.#do('write a rollout', async (client) => {
      try {
        await client.query(
          `INSERT INTO understudy.rollout
            (name, database, role, url, state, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)`,
          [
            ...[row.name, row.database, row.role, row.url, row.state],
            ...[row.createdAt.toISOString(), row.expiresAt?.toISOString() ?? null],
          ],
        );
      } catch (error) {
        if (!hasSqlState(error, SQLSTATE.uniqueViolation)) throw error;
        throw new UnderstudyError('ROLLOUT_EXISTS', `there is a rollout '${row.name}'`, {}, error);
      }
    });
  }

  async updateRollout(
    name: string,
    change: Partial<Pick<RolloutRow, 'state' | 'url' | 'expiresAt'>>,
  ): Promise<void> {
    await this.#do('update a rollout', async (client) => {
      const { rowCount } = await client.query(
        `UPDATE understudy.rollout SET state = coalesce($2, state), url = coalesce($3, url),
            expires_at = CASE WHEN $4::boolean THEN $5::timestamptz ELSE expires_at END
          WHERE name = $1`,
        [
          ...[name, change.state ?? null, change.url ?? null],
          ...[change.expiresAt !== undefined, change.expiresAt?.toISOString() ?? null],
        ],
      );
      if (rowCount === 0) {
        throw new UnderstudyError('ROLLOUT_NOT_FOUND', `there is no rollout '${name}'`);
      }
    });
  }

  async deleteRollout(name: string): Promise<void> {
    await this.#do('delete a rollout', (client) =>
      client.query('DELETE FROM understudy.rollout WHERE name = $1', [name]),
    );
  }

  async submitRequest(kind: RequestKind, database: string, args: unknown): Promise<string> {
    return this.#do('submit a request', async (client) => {
      const sql = `INSERT INTO understudy.request (kind, database, args) VALUES ($1, $2, $3)
        RETURNING id::text AS id`;
      return onlyId(await client.query<{ id: string }>(sql, [kind, database, toJson(args)]));
    });
  }

  async request(id: string): Promise<RequestRow | null> {
    return this.#do('read a request', async (client) => {
      const sql = `SELECT ${REQUEST} FROM understudy.request WHERE id = $1`;
      const row = (await client.query<RequestRecord>(sql, [id])).rows[0];
      return row === undefined ? null : toRequest(row);
    });
  }

  async claimRequest(database: string, holder: string): Promise<RequestRow | null> {
    return this.#do('claim a request', async (client) => {
      const sql = `UPDATE understudy.request
        SET state = 'running', holder = $2, claimed_at = pg_catalog.clock_timestamp()
        WHERE id = (SELECT id FROM understudy.request WHERE database = $1 AND state = 'open'
          ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING ${REQUEST}`;
      const row = (await client.query<RequestRecord>(sql, [database, holder])).rows[0];
      return row === undefined ? null : toRequest(row);
    });
  }

  async reopenRequests(database: string, holder: string): Promise<number> {
    return this.#do('reopen requests', async (client) => {
      const { rowCount } = await client.query(
        `UPDATE understudy.request SET state = 'open', holder = NULL, claimed_at = NULL
          WHERE database = $1 AND state = 'running' AND holder <> $2`,
        [database, holder],
      );
      return rowCount ?? 0;
    });
  }

  async withdrawRequest(id: string): Promise<boolean> {
    return this.#do('withdraw a request', async (client) => {
      const sql = `DELETE FROM understudy.request WHERE id = $1 AND state = 'open'`;
      return (await client.query(sql, [id])).rowCount === 1;
    });
  }

  async finishRequest(id: string, state: 'done' | 'failed', outcome: unknown): Promise<void> {
    await this.#do('finish a request', (client) =>
      client.query(
        `UPDATE understudy.request
          SET state = $2, outcome = $3, finished_at = pg_catalog.clock_timestamp() WHERE id = $1`,
        [id, state, toJson(outcome)],
      ),
    );
  }

  async saveDriftRun(run: {
    readonly database: string;
    readonly verdict: string;
    readonly report: unknown;
  }): Promise<string> {
    return this.#do('save a drift run', async (client) => {
      const sql = `INSERT INTO understudy.drift_run (database, verdict, report)
        VALUES ($1, $2, $3) RETURNING id::text AS id`;
      const values = [run.database, run.verdict, toJson(run.report)];
      return onlyId(await client.query<{ id: string }>(sql, values));
    });
  }

  async audit(actor: string, action: string, subject: string, detail: unknown): Promise<void> {
    await this.#do('write the audit log', (client) =>
      appendAudit(client, { actor, action, subject, detail: toJson(detail) }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #do<T>(doing: string, fn: (client: pg.Client) => Promise<T>): Promise<T> {
    return this.#connection.use({ doing, otherwise: 'INTERNAL' }, fn);
  }
}

function onlyId(result: pg.QueryResult<{ id: string }>): string {
  const row = result.rows[0];
  if (row === undefined) throw new UnderstudyError('INTERNAL', 'an insert returned no id');
  return row.id;
}
