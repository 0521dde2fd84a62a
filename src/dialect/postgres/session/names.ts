/**
 * Names of everything understudy keeps inside a shadow database, and how names are written in
 * SQL. PostgreSQL cuts identifiers at 63 bytes without a word, so longer ones are shortened here
 * with a hash that keeps them apart.
 */
import { escapeIdentifier } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import { shortenedTo } from '../../sql/shortened.ts';

/** The schema that holds all of ours; a candidate has no right on it. */
export const OWN_SCHEMA = 'understudy';

/** Registry of the tables whose candidate writes are captured. */
export const CAPTURED_TABLE = `${OWN_SCHEMA}.captured_table`;

/** How entries ended, see outcomes.ts. */
export const OUTCOME_TABLE = `${OWN_SCHEMA}.outcome`;

/** Columns of a journal beside those of its table. */
export const JOURNAL = {
  /** False: production has no such row. */
  present: 'understudy_present',
  /** When the candidate first wrote the row. */
  at: 'understudy_at',
  /** The candidate's `understudy.trace` setting at its first write. */
  trace: 'understudy_trace',
  /** Production changed the row since, or said again what it is. */
  moved: 'understudy_moved',
  /** Of a row of production's that is kept out: xmin of the visible row; see blocked-sql.ts. */
  blocked: 'understudy_blocked',
  /** And why: `multiple_unique` or `schema`. */
  refused: 'understudy_refused',
  /** The constraint that refused it; may be empty. */
  detail: 'understudy_detail',
  /** Both sides changed the row, see overlay/conflict.ts; null where nothing waits to be resolved. */
  conflict: 'understudy_conflict',
  /** Production's image before that, as texts by column; null if it had no such row. */
  conflictBase: 'understudy_conflict_base',
  conflictAt: 'understudy_conflict_at',
  /** Where production's log stood with that change. */
  conflictSource: 'understudy_conflict_source',
} as const;

/** Columns of a table's images beside those of the table: see images.ts. */
export const IMAGE = {
  /** `i`: production has this row; `g`: it has none; `u`: what it has is not known. */
  state: 'understudy_state',
  /** Null for what was discarded. */
  letter: 'understudy_letter',
} as const;

/** Registry of the tables of which keys may wait, see overlay/waiting.ts. */
export const WAITING_TABLE = `${OWN_SCHEMA}.waiting_table`;

/**
 * Sequences that count errors of the candidate which capture raised, since what a sequence counts stays when
 * the transaction is rolled back.
 */
export const RAISED = {
  row: `${OWN_SCHEMA}.raised_row`,
  insert: `${OWN_SCHEMA}.raised_insert`,
  truncate: `${OWN_SCHEMA}.raised_truncate`,
} as const;

/** Columns of a table's waiting keys beside those of the table. */
export const WAITING = {
  /** False: production has no such row. */
  present: 'understudy_present',
  /** Since when it waits. */
  at: 'understudy_at',
} as const;

/** Setting in which a candidate may name the request it serves. */
export const TRACE_SETTING = 'understudy.trace';

/** As much of a trace is kept. */
export const TRACE_CHARACTERS = 200;

const LIMIT = 63;

/** `name`, or one of at most 63 bytes that is like it. */
export function shortened(name: string, suffix = ''): string {
  return shortenedTo(LIMIT, name, suffix);
}

/** Quoted and qualified. */
export function relation(table: TableId): string {
  return `${escapeIdentifier(table.schema)}.${escapeIdentifier(table.name)}`;
}

/** The journal of a captured table: `understudy."schema.table"`. */
export function journalId(table: TableId): TableId {
  return { schema: OWN_SCHEMA, name: shortened(`${table.schema}.${table.name}`, '#journal') };
}

/** The images of a table's rows that are set aside: `understudy."schema.table#image"`. */
export function imageId(table: TableId): TableId {
  return { schema: OWN_SCHEMA, name: shortened(`${table.schema}.${table.name}`, '#image') };
}

/** Where the keys of a table wait: `understudy."schema.table#waiting"`. */
export function waitingId(table: TableId): TableId {
  return { schema: OWN_SCHEMA, name: shortened(`${table.schema}.${table.name}`, '#waiting') };
}

/** The capture function of a table; `purpose` tells its functions apart. */
export function functionId(table: TableId, purpose: string): TableId {
  return { schema: OWN_SCHEMA, name: shortened(`${table.schema}.${table.name}`, `#${purpose}`) };
}

/** Schema of the views beside a user schema: production's image, or the candidate's difference. */
export function viewSchema(schema: string, view: 'production' | 'difference'): string {
  return shortened(schema, `__${view}`);
}

/** The view beside a captured table. */
export function viewId(table: TableId, view: 'production' | 'difference'): TableId {
  return { schema: viewSchema(table.schema, view), name: table.name };
}
