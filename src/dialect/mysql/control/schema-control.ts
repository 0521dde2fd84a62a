import type { Migration } from '../session/migrations.ts';

const TABLE = 'ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin';

/** What the control database holds: see ControlStore. Times are epoch milliseconds. */
export const CONTROL_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    what: 'rollouts, requests, drift runs, audit',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.control_marker (
        one TINYINT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
        id CHAR(36) NOT NULL
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.rollout (
        name VARCHAR(64) NOT NULL PRIMARY KEY,
        \`database\` VARCHAR(64) NOT NULL UNIQUE,
        role VARCHAR(64) NOT NULL,
        url TEXT NOT NULL,
        state VARCHAR(16) NOT NULL
          CHECK (state IN ('creating', 'following', 'paused', 'failed', 'deleting')),
        created_ms BIGINT NOT NULL,
        expires_ms BIGINT
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.request (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        kind VARCHAR(32) NOT NULL,
        \`database\` VARCHAR(64) NOT NULL,
        args LONGTEXT NOT NULL,
        state VARCHAR(16) NOT NULL DEFAULT 'open'
          CHECK (state IN ('open', 'running', 'done', 'failed')),
        holder VARCHAR(255),
        outcome LONGTEXT,
        submitted_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
        claimed_at TIMESTAMP(3) NULL,
        finished_at TIMESTAMP(3) NULL,
        KEY open_request (\`database\`, state, id)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.drift_run (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        \`database\` VARCHAR(64) NOT NULL,
        verdict VARCHAR(32) NOT NULL,
        report LONGTEXT NOT NULL,
        at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.audit (
        seq BIGINT NOT NULL PRIMARY KEY,
        at_ms BIGINT NOT NULL,
        actor VARCHAR(255) NOT NULL,
        action VARCHAR(255) NOT NULL,
        subject VARCHAR(255) NOT NULL,
        detail LONGTEXT NOT NULL,
        previous VARCHAR(64) NOT NULL,
        hash VARCHAR(64) NOT NULL UNIQUE
      ) ${TABLE}`,
    ],
  },
];

/**
 * Make the audit log refuse changes of what it holds. Apart from the migration, since a server
 * with a binlog grants triggers only to a privileged account or under
 * log_bin_trust_function_creators; without them the log's chain of hashes still shows a change.
 */
export const AUDIT_GUARDS: readonly string[] = ['UPDATE', 'DELETE'].map(
  (what) => `CREATE TRIGGER IF NOT EXISTS {db}.audit_only_grows_${what.toLowerCase()}
    BEFORE ${what} ON {db}.audit FOR EACH ROW
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the audit log can only grow'`,
);
