/**
 * The audit log: each entry carries the hash of the one before, so that a change or a hole in the
 * middle shows. (Cutting off the end shows only against a hash noted elsewhere.)
 */
import { createHash } from 'node:crypto';

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

/** What a caller says of an entry; the log adds place and time. */
export type AuditedAct = Pick<AuditEntry, 'actor' | 'action' | 'subject' | 'detail'>;

const FIRST = '';

/** The entry that follows `last`, with the hash before it and its own. */
export function nextAuditEntry(
  last: { readonly seq: bigint | null; readonly hash: string | null; readonly now: bigint },
  what: AuditedAct,
): { readonly entry: AuditEntry; readonly previous: string; readonly hash: string } {
  const entry: AuditEntry = { ...what, seq: (last.seq ?? 0n) + 1n, atMs: last.now };
  const previous = last.hash ?? FIRST;
  return { entry, previous, hash: auditHash(previous, entry) };
}

/** SHA-256, hexadecimal, over the entry's fields and the hash before it. */
export function auditHash(previous: string, entry: AuditEntry): string {
  const { seq, atMs, actor, action, subject, detail } = entry;
  const fields = [previous, String(seq), String(atMs), actor, action, subject, detail];
  return createHash('sha256').update(JSON.stringify(fields)).digest('hex');
}
