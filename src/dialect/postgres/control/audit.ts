import type pg from 'pg';
import { nextAuditEntry, type AuditedAct } from '../../sql/audit-entry.ts';
import { transaction } from '../session/session.ts';

/** Serialises writers, for each entry needs the one before. */
const AUDIT_LOCK = 0x756e_6401n;

/** Appends one entry. */
export async function appendAudit(client: pg.ClientBase, what: AuditedAct): Promise<void> {
  await transaction(client, async () => {
    await client.query('SELECT pg_catalog.pg_advisory_xact_lock($1)', [AUDIT_LOCK]);
    const { rows } = await client.query<{ seq: bigint | null; hash: string | null; now: bigint }>(
      `SELECT a.seq, a.hash,
          pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000)::int8 AS now
        FROM (SELECT) AS one
        LEFT JOIN (SELECT seq, hash FROM understudy.audit ORDER BY seq DESC LIMIT 1) a ON true`,
    );
    const last = rows[0] ?? { seq: null, hash: null, now: 0n };
    const { entry, previous, hash } = nextAuditEntry(last, what);
    await client.query(
      `INSERT INTO understudy.audit
        (seq, at_ms, actor, action, subject, detail, previous, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [
        ...[entry.seq, entry.atMs, entry.actor, entry.action, entry.subject, entry.detail],
        ...[previous, hash],
      ],
    );
  });
}
