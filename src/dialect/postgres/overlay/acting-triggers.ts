/**
 * Triggers of the user's that act on what is applied as well (overlay.applierTriggers): they fire ALWAYS, and so in
 * the applier's sessions of role replica. What captures does not, so that what they write is nobody's write.
 */
import { escapeIdentifier, type ClientBase } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { ActingTriggers } from '../../overlay.ts';
import type { SparedAccount } from '../apply/applier-rights.ts';
import { OWN_SCHEMA, relation } from '../session/names.ts';

interface Found extends TableId {
  readonly trigger: string;
  readonly always: boolean;
}

/** Not ours; of partitions their root's, by which they are named. */
const TRIGGERS = `SELECT n.nspname AS schema, c.relname AS name, t.tgname AS trigger, t.tgenabled = 'A' AS always
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
  WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('O', 'A') AND c.relkind IN ('r', 'p')
    AND p.pronamespace IS DISTINCT FROM pg_catalog.to_regnamespace('${OWN_SCHEMA}')
    AND n.nspname <> '${OWN_SCHEMA}' AND n.nspname !~ '^pg_'
  ORDER BY 1, 2, 3`;

/**
 * Null: none is named. In the caller's fenced transaction. Waits for who is writing a
 * table of which a trigger changes. UNSUPPORTED where the applier's account cannot be of role replica.
 */
export async function ensureActing(
  client: ClientBase,
  spared: SparedAccount,
  acts: ActingTriggers | null,
): Promise<void> {
  const { rows } = await client.query<Found>(TRIGGERS);
  for (const { schema, name, trigger, always } of rows) {
    const id = { schema, name };
    const wanted = acts?.(id, trigger) === true;
    if (wanted === always) continue;
    if (spared !== null && wanted) {
      throw new UnderstudyError(
        'UNSUPPORTED',
        'the applier’s account cannot tell triggers that act on what is applied from others',
        {
          table: tableName(id),
          detail: `trigger ${trigger}: see shadow.url for the right it needs`,
        },
      );
    }
    const state = wanted ? 'ENABLE ALWAYS' : 'ENABLE';
    await client.query(`ALTER TABLE ${relation(id)} ${state} TRIGGER ${escapeIdentifier(trigger)}`);
  }
}
