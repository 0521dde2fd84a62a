/**
 * The audit log: each entry carries the hash of the one before, so that a change or a hole in the
 * middle shows. (Cutting off the end shows only against a hash noted elsewhere.)
 */
import { createHash } from 'node:crypto';
import type pg from 'pg';
import { transaction } from '../session/session.ts';

/** One entry, without its hash. `detail` is JSON. */
export interface AuditEntry {
  readonly seq: bigint;
  /** By the database's clock, epoch milliseconds. */
  readonly atMs: bigint;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly detail: string;
}

/** Serialises writers, for each entry needs the one before. */
const AUDIT_LOCK = 0x756e_6401n;
const FIRST = '';

/** SHA-256, hexadecimal, over the entry's fields and the hash before it. */
export function auditHash(previous: string, entry: AuditEntry): string {
  const { seq, atMs, actor, action, subject, detail } = entry;
  const fields = [previous, String(seq), String(atMs), actor, action, subject, detail];
  return createHash('sha256').update(JSON.stringify(fields)).digest('hex');
}

/** Appends one entry. */
export async function appendAudit(
  client: pg.ClientBase,
  what: Pick<AuditEntry, 'actor' | 'action' | 'subject' | 'detail'>,
): Promise<void> {
  await transaction(client, async () => {
    await client.query('SELECT pg_catalog.pg_advisory_xact_lock($1)', [AUDIT_LOCK]);
    const { rows } = await client.query<{ seq: bigint | null; hash: string | null; now: bigint }>(
      `SELECT a.seq, a.hash,
          pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000)::int8 AS now
        FROM (SELECT) AS one
        LEFT JOIN (SELECT seq, hash FROM understudy.audit ORDER BY seq DESC LIMIT 1) a ON true`,
    );
    const last = rows[0] ?? { seq: null, hash: null, now: 0n };
    const entry: AuditEntry = { ...what, seq: (last.seq ?? 0n) + 1n, atMs: last.now };
    const previous = last.hash ?? FIRST;
    await client.query(
      `INSERT INTO understudy.audit
        (seq, at_ms, actor, action, subject, detail, previous, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [
        ...[entry.seq, entry.atMs, entry.actor, entry.action, entry.subject, entry.detail],
        ...[previous, auditHash(previous, entry)],
      ],
    );
  });
}
