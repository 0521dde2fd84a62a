/**
 * Names of what understudy keeps on a MySQL or MariaDB server, and how names and texts are
 * written in SQL.
 */
import { createHash } from 'node:crypto';
import { shortenedTo } from '../../sql/shortened.ts';

/** Beside each shadow database: our tables, out of the candidate's sight. */
export function companionName(database: string): string {
  return `${database}__understudy`;
}

/** What views of a rollout's tables show (overlay/views.ts). */
export const VIEWS = ['production', 'difference'] as const;

/** Beside a rollout: the database of these views. */
export function viewDatabase(database: string, kind: (typeof VIEWS)[number]): string {
  return `${database}__${kind}`;
}

/** What the longest name of an account is on MySQL. */
const ACCOUNT_CHARACTERS = 32;

/** The account that goes by `name`, which may be too long for a server. */
export function accountName(name: string, suffix = ''): string {
  return shortenedTo(ACCOUNT_CHARACTERS, name, suffix);
}

/** What the longest name of anything else is. */
const NAME_CHARACTERS = 64;

/** The journal of a captured table, in the companion. */
export function journalName(table: string): string {
  return shortenedTo(NAME_CHARACTERS, table, '#journal');
}

/** The same while it is made anew: the one to come, and the one to go. */
export function nextJournalName(table: string, which: 'next' | 'last'): string {
  return shortenedTo(NAME_CHARACTERS, table, `#journal_${which}`);
}

/** Where changes of a captured table's rows wait, in the companion (overlay/waiting.ts). */
export function waitingName(table: string): string {
  return shortenedTo(NAME_CHARACTERS, table, '#waiting');
}

/** A trigger of ours on a table; `purpose` tells them apart. */
export function triggerName(table: string, purpose: string): string {
  return shortenedTo(NAME_CHARACTERS, table, `#understudy_${purpose}`);
}

/** Ends the name of a new table until it is closed to the candidate. */
export const UNADMITTED = '#understudy_new';

/** The name of a new table until it is closed to the candidate. */
export function unadmittedName(table: string): string {
  return shortenedTo(NAME_CHARACTERS, table, UNADMITTED);
}

/** What names of our triggers match, as the servers' REGEXP has it: those that capture, and that close. */
export const CAPTURING = '#understudy_[ab][iud]$';
export const CLOSING = '#understudy_c[iud]2{0,1}$';
/** That guard tables which the candidate may only read. */
export const GUARDING = '#understudy_r[iud]$';

/** Columns of a journal beside those of its table. */
export const JOURNAL = {
  /** 0: production has no such row. */
  present: 'understudy_present',
  /** When the candidate first wrote the row. */
  at: 'understudy_at',
  /** 1: production changed the row since, or said again what it is. */
  moved: 'understudy_moved',
  /** The candidate's `@understudy_trace` at its first write; as bytes, whatever it is. */
  trace: 'understudy_trace',
  /**
   * Of production's row that is kept out, and nobody's: why, as the kind of conflict it is. NULL: the entry is
   * of the candidate's. Its first write of the row clears it.
   */
  blocked: 'understudy_blocked',
  /** What both sides did to the row (overlay/conflict.ts); NULL where nothing waits to be resolved. */
  conflict: 'understudy_conflict',
  /** Production's image before that, as texts by column, in JSON; NULL if it had no such row. */
  conflictBase: 'understudy_conflict_base',
  conflictAt: 'understudy_conflict_at',
  /** Where production's log stood with that change, as text. */
  conflictSource: 'understudy_conflict_source',
  /** What keeps a row out, as the server names it. */
  detail: 'understudy_conflict_detail',
} as const;

/** Columns of what waits beside those of its table. */
export const WAITING = {
  /** 0: production has no such row. As in a journal, for either is asked by the same statements. */
  present: JOURNAL.present,
  since: 'understudy_since',
  /** How often it could not be written among others, so that it is tried with ever fewer. */
  apart: 'understudy_apart',
  /** Of a row that was not there before: by the table's columns, 0 for each that was never sent. NULL: none. */
  lacks: 'understudy_lacks',
} as const;

/** A session's variable: the request, or trace, that it writes for. As many bytes of it are kept. */
export const TRACE_VARIABLE = '@understudy_trace';
export const TRACE_BYTES = 200;

/** A database as GRANT names one: `_` and `%` would stand for others too. */
export function quoteForGrant(database: string): string {
  return quote(database.replaceAll(/[_%\\]/g, '\\$&'));
}

/** Quoted. */
export function quote(...parts: readonly string[]): string {
  return parts.map((part) => `\`${part.replaceAll('`', '``')}\``).join('.');
}

/** A text as a literal. For sessions with NO_BACKSLASH_ESCAPES, as all of ours are. */
export function literal(text: string): string {
  return `'${text.replaceAll(`'`, `''`)}'`;
}

/** What a backslash and the letter after it stand for; any other letter stands for itself. */
const ESCAPES: Readonly<Record<string, string>> = {
  '0': '\0',
  n: '\n',
  r: '\r',
  t: '\t',
  Z: '\x1a',
};

/**
 * What a text stands for that the server wrote between quotes: they are doubled, and letters escaped by
 * backslashes, whatever the session's sql_mode.
 */
export function unescaped(text: string): string {
  return text.replaceAll(/''|\\(.)/gs, (pair, letter?: string) =>
    pair === `''` ? `'` : (ESCAPES[letter ?? ''] ?? letter ?? ''),
  );
}

/** Names of user-level locks have at most 64 characters, and ignore case. */
function lockName(purpose: string, of: string): string {
  const hash = createHash('sha256').update(of).digest('hex').slice(0, 24);
  return `understudy:${purpose}:${hash}`;
}

/** Held while a database is made or dropped by name. */
export function workLock(database: string): string {
  return lockName('work', database);
}

/** Held while the audit log is written. */
export const AUDIT_LOCK = 'understudy:audit';

/** Sessions of a holder that write copied rows, at most. */
export const MOST_WRITERS = 64;

/** What a session of a fence's holder does; each holds a lock that names its generation. */
export type HolderRole = 'acts' | 'signs' | `copy${number}`;

export function presenceLock(database: string, generation: bigint, role: HolderRole): string {
  const suffix = role.replace(/^([a-z])[a-z]+/, '$1');
  return `${lockName('at', database)}:${String(generation)}:${suffix}`;
}

/** What a session of a member's does. */
export type MemberRole = 'acts' | 'signs';

/** What locks of members are named by, before their number and role. */
export function memberLocks(database: string): string {
  return `${lockName('by', database)}:`;
}

/** Held by a session of a member's. */
export function memberLock(database: string, member: bigint, role: MemberRole): string {
  return `${memberLocks(database)}${String(member)}:${role}`;
}

/** The isolation guard's random lock: a name that nobody else has. */
export function probeLock(probe: bigint): string {
  return `understudy:probe:${String(probe)}`;
}
