import type { ClientBase } from 'pg';
import type { Diagnosis, StreamFacts } from '../../dialect.ts';

interface SlotFacts {
  readonly temporary: boolean;
  readonly active: boolean;
  readonly here: boolean;
  readonly database: string | null;
  /** reserved, extended, unreserved, lost. */
  readonly status: string | null;
  /** Why the server gave it up; null if it did not, and before PostgreSQL 17. */
  readonly invalidation: string | null;
  /** Bytes of WAL that the connector has not confirmed. */
  readonly behind: string | null;
}

/** WAL behind which a slot counts as far behind. */
const FAR_BEHIND = 1024n ** 3n;

/** What of the connector's slot and publication keeps changes from being sent. */
export async function diagnoseStream(
  client: ClientBase,
  stream: StreamFacts,
): Promise<readonly Diagnosis[]> {
  return [...(await diagnoseSlot(client, stream)), ...(await diagnosePublication(client, stream))];
}

async function diagnoseSlot(client: ClientBase, stream: StreamFacts): Promise<Diagnosis[]> {
  const { slot } = stream;
  if (slot === null) return [];
  const { rows } = await client.query<SlotFacts>(
    `SELECT s.temporary, s.active, s.database = current_database() AS here, s.database,
       s.wal_status AS status, to_jsonb(s)->>'invalidation_reason' AS invalidation,
       CASE WHEN NOT pg_is_in_recovery()
         THEN trunc(pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn))::text END
         AS behind
     FROM pg_replication_slots s WHERE s.slot_name = $1`,
    [slot],
  );
  const [facts] = rows;
  if (facts === undefined) return stream.started ? [missingSlot(slot)] : [];
  return slotTraps(slot, facts, stream.started);
}

function missingSlot(slot: string): Diagnosis {
  return {
    id: 'production.slot-missing',
    level: 'error',
    message: `there is no slot ${slot}: what changed since it was dropped is never sent`,
    cure: 'Start the connector and let it snapshot anew, or correct its slot.name.',
  };
}

/** What of a slot that is there loses changes, or may. */
export function slotTraps(slot: string, facts: SlotFacts, started: boolean): Diagnosis[] {
  const found: Diagnosis[] = [];
  const add = (id: string, level: Diagnosis['level'], message: string, cure: string): void => {
    found.push({ id: `production.slot-${id}`, level, message: `slot ${slot} ${message}`, cure });
  };
  if (!facts.here) {
    const cure = 'Point production.url at that database, or correct the connector’s slot.name.';
    add('elsewhere', 'error', `belongs to database ${facts.database ?? '(none)'}`, cure);
  }
  if (facts.status === 'lost' || facts.invalidation !== null) {
    const why = facts.invalidation ?? 'its WAL was removed';
    const cure = 'Drop it and let the connector snapshot anew; raise max_slot_wal_keep_size.';
    add('lost', 'error', `is invalid (${why}): changes were lost`, cure);
    return found;
  }
  if (facts.temporary) {
    const message = 'is temporary: changes are lost whenever its session ends';
    add('temporary', 'error', message, 'Let the connector make its slot itself.');
  }
  if (facts.status === 'unreserved') {
    const cure = 'Start the connector now; raise max_slot_wal_keep_size.';
    add('at-risk', 'warning', 'loses its WAL at the next checkpoint', cure);
  }
  if (started && !facts.active) {
    const message = 'is read by nobody, and production keeps all WAL for it';
    add('idle', 'warning', message, 'Look at the connector’s state in Kafka Connect.');
  }
  const behind = BigInt(facts.behind ?? '0');
  if (behind > FAR_BEHIND) {
    const message = `is ${behind / 1024n ** 2n} MiB of WAL behind: the shadow is as late`;
    const cure =
      'Wait for the connector; on a database that is quiet beside others, set its heartbeat.interval.ms.';
    add('behind', 'warning', message, cure);
  }
  return found;
}

async function diagnosePublication(client: ClientBase, stream: StreamFacts): Promise<Diagnosis[]> {
  const { publication } = stream;
  if (publication === null) return [];
  const { rows } = await client.query('SELECT FROM pg_publication WHERE pubname = $1', [
    publication.name,
  ]);
  if (rows.length > 0 || (publication.madeByConnector && !stream.started)) return [];
  return [
    {
      id: 'production.publication-missing',
      level: 'error',
      message: `there is no publication ${publication.name}: the connector sends no change`,
      cure: publication.madeByConnector
        ? 'Restart the connector, which makes it, or correct its publication.name.'
        : `CREATE PUBLICATION ${publication.name} FOR ALL TABLES WITH (publish_via_partition_root = true).`,
    },
  ];
}
