import { nextAuditEntry, type AuditedAct } from '../../sql/audit-entry.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { transaction, type Client } from '../session/client.ts';
import { AUDIT_LOCK, quote } from '../session/names.ts';
import { giveLock, takeLock } from '../session/server-locks.ts';

const WAIT_MS = 30_000;

/** Appends one entry to the log in `database`. Writers wait for each other. */
export async function appendAudit(
  client: Client,
  database: string,
  what: AuditedAct,
): Promise<void> {
  const table = quote(database, 'audit');
  // Each entry needs the one before.
  if (!(await takeLock(client, AUDIT_LOCK, WAIT_MS))) {
    throw new UnderstudyError('SHADOW_UNREACHABLE', 'the audit log is locked', { database });
  }
  try {
    await transaction(client, async () => {
      const found = await client.row<{ seq: string | null; hash: string | null; now: string }>(
        `SELECT a.seq, a.hash, CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS CHAR) AS now
          FROM (SELECT 1 AS one) AS this
          LEFT JOIN (SELECT seq, hash FROM ${table} ORDER BY seq DESC LIMIT 1) a ON TRUE`,
      );
      const last = {
        seq: found.seq === null ? null : BigInt(found.seq),
        ...{ hash: found.hash, now: BigInt(found.now) },
      };
      const { entry, previous, hash } = nextAuditEntry(last, what);
      await client.run(
        `INSERT INTO ${table} (seq, at_ms, actor, action, subject, detail, previous, hash)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
        [
          ...[entry.seq, entry.atMs, entry.actor, entry.action, entry.subject, entry.detail],
          ...[previous, hash],
        ],
      );
    });
  } finally {
    if (!client.gone.aborted) await giveLock(client, AUDIT_LOCK);
  }
}
