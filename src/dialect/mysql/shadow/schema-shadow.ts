import type { Migration } from '../session/migrations.ts';

const TABLE = 'ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin';
/** So that a second row cannot come to be. */
const ONE = 'one TINYINT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1)';

/**
 * What we keep in the companion of every shadow database. Tables with one row are keyed by `one`.
 *
 * - `marker`: that the database is ours, and which one. `state` is `creating` until its schema is
 *   whole. `source_database` is the name of the followed database in production: events name
 *   their tables by it.
 * - `fence`: the generation that may write. Every act holds a share lock on this row, so a
 *   take-over waits for acts that run. The sign of life is beside it, to be written meanwhile.
 * - `topic`: ids of the topics that positions are of, see TopicLedger.
 * - `position`, `progress`: how far production's log is applied, see StoredProgress.
 * - `ahead`, `delivered`: what of the log is not to be applied again, see ResumePoint. `upto` counts
 *   the ids of all rows so far; there is one id a line.
 * - `dead_letter`, with `dead_key` and `dead_event`: what could not be written, and what waits for it,
 *   by places in the log; `unread` events could not be read. No row values but keys, as lists in JSON,
 *   and but those in `dead_record`, sealed with the user's key.
 *   `told_letter` has those that somebody was told of.
 * - `bootstrap`, with `bootstrap_table` and `bootstrap_end`: how the copy stands that a trunk is filled
 *   with, see BootstrapState. Without a row in `bootstrap` there is none, or it lies behind.
 *   `bootstrap_only` names its tables, where it is not of all.
 * - `former_column`: columns that a carried change dropped, or gave another name (`now`).
 * - `noted_table`: tables that production dropped and that are here still, see NotedTable.
 * - `account`: accounts of the server that are ours and go with the rollout, see accounts.ts.
 * - `applier`: of a rollout, the account that applies to it, which programs of the trunk let pass.
 * - `captured_table`: tables of which the candidate's writes are captured, see overlay/install.ts.
 * - `renamed_table`: names that tables had, see TableRename. Until it is `done`, the table may have either.
 * - `parked`: keys whose events were discarded: what the row is in production is not known.
 * - `outcome`: how rows that the candidate owned came to be production's again, see outcomes.ts; `row_key` is
 *   a list in JSON. Neither a trace nor where the log stood when they were written first is kept so far.
 * - `reshaped`: tables that the candidate's migrations gave another shape than production's, as they are
 *   there, with what became of them (JSON, see sql/reshaped.ts); `own_table`: tables that it made. `migrating`: a
 *   migration that was begun and not ended, see overlay/migrating.ts; without `kept` nothing was changed yet.
 * - `capture_gap`: tables whose capture was lost for a while, see overlay/watch.ts.
 * - `member`, `share`, `hand_over`: who else follows which partitions, and what has to be passed by
 *   the holder alone, see sharing.ts. Without a share a partition is the holder's. `granting` is what
 *   acts of the holder hold a share lock on, so that nothing is given away meanwhile: the number of the
 *   newest grant, and whether there may be a share.
 */
export const SHADOW_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    what: 'marker, fence, position and progress',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.marker (
        ${ONE},
        id CHAR(36) NOT NULL,
        kind VARCHAR(8) NOT NULL CHECK (kind IN ('trunk', 'rollout')),
        name VARCHAR(64) NOT NULL,
        \`database\` VARCHAR(64) NOT NULL,
        source_database VARCHAR(64) NOT NULL,
        topic_prefix VARCHAR(255) NOT NULL,
        state VARCHAR(8) NOT NULL CHECK (state IN ('creating', 'ready')),
        created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.fence (
        ${ONE},
        generation BIGINT NOT NULL,
        holder VARCHAR(255)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.sign_of_life (
        ${ONE},
        generation BIGINT NOT NULL,
        at_us BIGINT NOT NULL,
        note TEXT
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.position (
        topic VARCHAR(255) NOT NULL,
        \`partition\` INT NOT NULL,
        next_offset BIGINT NOT NULL,
        PRIMARY KEY (topic, \`partition\`)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.progress (
        ${ONE},
        source TEXT,
        event_time_ms BIGINT,
        unmarked BIGINT NOT NULL DEFAULT 0
      ) ${TABLE}`,
    ],
  },
  {
    version: 2,
    what: 'what of the log is not to be applied again',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.ahead (
        topic VARCHAR(255) NOT NULL,
        \`partition\` INT NOT NULL,
        first_offset BIGINT NOT NULL,
        next_offset BIGINT NOT NULL,
        PRIMARY KEY (topic, \`partition\`, first_offset)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.delivered (
        upto BIGINT NOT NULL PRIMARY KEY,
        ids LONGTEXT NOT NULL
      ) ${TABLE}`,
    ],
  },
  {
    version: 3,
    what: 'what is set aside because it cannot be written',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.dead_letter (
        id VARCHAR(64) NOT NULL PRIMARY KEY,
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        code VARCHAR(64) NOT NULL,
        message TEXT NOT NULL,
        topic VARCHAR(255) NOT NULL,
        \`partition\` INT NOT NULL,
        at_offset BIGINT NOT NULL,
        transaction_id TEXT,
        at_us BIGINT NOT NULL
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.dead_key (
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        id VARCHAR(64) NOT NULL,
        \`key\` LONGTEXT,
        letter VARCHAR(64) NOT NULL,
        PRIMARY KEY (table_schema, table_name, id),
        KEY of_letter (letter)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.dead_event (
        seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        letter VARCHAR(64) NOT NULL,
        topic VARCHAR(255) NOT NULL,
        \`partition\` INT NOT NULL,
        at_offset BIGINT NOT NULL,
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        unread TINYINT NOT NULL,
        KEY of_letter (letter, seq)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.parked (
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        id VARCHAR(64) NOT NULL,
        \`key\` LONGTEXT NOT NULL,
        at_us BIGINT NOT NULL,
        PRIMARY KEY (table_schema, table_name, id)
      ) ${TABLE}`,
    ],
  },
  {
    version: 4,
    what: 'whether somebody was told of what is set aside',
    // Beside the letters, since a column that is there already cannot be added again.
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.told_letter (
        id VARCHAR(64) NOT NULL PRIMARY KEY
      ) ${TABLE}`,
    ],
  },
  {
    version: 5,
    what: 'the copy that a trunk is filled with',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.bootstrap (
        ${ONE},
        started_us BIGINT NOT NULL,
        mark TEXT,
        copied TINYINT NOT NULL DEFAULT 0
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.bootstrap_table (
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        snapshot LONGTEXT NOT NULL,
        marker BIGINT NOT NULL,
        done TINYINT NOT NULL DEFAULT 0,
        ranges INT NOT NULL,
        ranges_done INT NOT NULL DEFAULT 0,
        \`rows\` BIGINT NOT NULL DEFAULT 0,
        bytes BIGINT NOT NULL,
        bytes_done BIGINT NOT NULL DEFAULT 0,
        PRIMARY KEY (table_schema, table_name)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.bootstrap_end (
        topic VARCHAR(255) NOT NULL,
        \`partition\` INT NOT NULL,
        end_offset BIGINT NOT NULL,
        PRIMARY KEY (topic, \`partition\`)
      ) ${TABLE}`,
    ],
  },
  {
    version: 6,
    what: 'what is kept of records that are set aside',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.dead_record (
        topic VARCHAR(255) NOT NULL,
        \`partition\` INT NOT NULL,
        at_offset BIGINT NOT NULL,
        part INT NOT NULL,
        key_id VARCHAR(64),
        why TEXT,
        bytes MEDIUMBLOB NOT NULL,
        PRIMARY KEY (topic, \`partition\`, at_offset, part)
      ) ${TABLE}`,
    ],
  },
  {
    version: 7,
    what: 'columns that tables had before',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.former_column (
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        name VARCHAR(64) NOT NULL,
        \`now\` VARCHAR(64),
        PRIMARY KEY (table_schema, table_name, name)
      ) ${TABLE}`,
    ],
  },
  {
    version: 8,
    what: 'which topics positions are of',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.topic (
        topic VARCHAR(255) NOT NULL PRIMARY KEY,
        id VARCHAR(64) NOT NULL
      ) ${TABLE}`,
    ],
  },
  {
    version: 9,
    what: 'who follows which partitions',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.member (
        number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        name VARCHAR(255) NOT NULL,
        at_us BIGINT NOT NULL,
        note TEXT
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.share (
        topic VARCHAR(255) NOT NULL,
        \`partition\` INT NOT NULL,
        member BIGINT NOT NULL,
        granted BIGINT NOT NULL UNIQUE,
        PRIMARY KEY (topic, \`partition\`)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.hand_over (
        topic VARCHAR(255) NOT NULL,
        \`partition\` INT NOT NULL,
        at_offset BIGINT NOT NULL,
        why VARCHAR(16) NOT NULL,
        PRIMARY KEY (topic, \`partition\`)
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.granting (
        ${ONE},
        newest BIGINT NOT NULL DEFAULT 0,
        shared TINYINT NOT NULL DEFAULT 0
      ) ${TABLE}`,
      `INSERT IGNORE INTO {db}.granting (one) VALUES (1)`,
    ],
  },
  {
    version: 10,
    what: 'tables that are copied anew alone',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.bootstrap_only (
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        PRIMARY KEY (table_schema, table_name)
      ) ${TABLE}`,
    ],
  },
  {
    version: 11,
    what: 'tables that are kept or wait, since production has others under their names',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.noted_table (
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        state VARCHAR(8) NOT NULL CHECK (state IN ('kept', 'waits', 'mixed')),
        at_us BIGINT NOT NULL,
        PRIMARY KEY (table_schema, table_name)
      ) ${TABLE}`,
    ],
  },
  {
    version: 12,
    what: 'accounts of a rollout, and the tables whose writes are captured',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.account (
        name VARCHAR(80) NOT NULL PRIMARY KEY,
        host VARCHAR(255) NOT NULL
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.captured_table (
        name VARCHAR(64) NOT NULL PRIMARY KEY
      ) ${TABLE}`,
    ],
  },
  {
    version: 13,
    what: 'tables that got other names',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.renamed_table (
        seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        from_schema VARCHAR(64) NOT NULL,
        from_name VARCHAR(64) NOT NULL,
        to_schema VARCHAR(64) NOT NULL,
        to_name VARCHAR(64) NOT NULL,
        until_place TEXT NOT NULL,
        turn BIGINT NOT NULL,
        done TINYINT NOT NULL
      ) ${TABLE}`,
    ],
  },
  {
    version: 14,
    what: 'the account that applies',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.applier (
        ${ONE},
        name VARBINARY(255) NOT NULL
      ) ${TABLE}`,
    ],
  },
  {
    version: 15,
    what: 'how rows came to be production’s again that the candidate owned',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.outcome (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        row_key LONGTEXT NOT NULL,
        outcome VARCHAR(10) NOT NULL
          CHECK (outcome IN ('converged', 'released', 'reset', 'ours', 'theirs', 'merged')),
        trace VARBINARY(200),
        first_at_us BIGINT NOT NULL,
        first_source TEXT,
        decided_at_us BIGINT NOT NULL,
        decided_source TEXT,
        KEY decided (decided_at_us)
      ) ${TABLE}`,
    ],
  },
  {
    version: 16,
    // A program that does not know them would take them for the candidate's.
    what: 'rows that are kept out, in journals, which are made anew for it (overlay/journal.ts)',
    statements: [],
  },
  {
    version: 17,
    what: 'what the candidate’s migrations made of tables, and what may not have been captured',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.reshaped (
        name VARCHAR(64) NOT NULL PRIMARY KEY,
        shape LONGTEXT NOT NULL
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.own_table (
        name VARCHAR(64) NOT NULL PRIMARY KEY
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.migrating (
        ${ONE},
        account VARCHAR(80) NOT NULL,
        renames LONGTEXT NOT NULL,
        kept TINYINT NOT NULL DEFAULT 0
      ) ${TABLE}`,
      `CREATE TABLE IF NOT EXISTS {db}.capture_gap (
        name VARCHAR(64) NOT NULL PRIMARY KEY,
        at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)
      ) ${TABLE}`,
    ],
  },
  {
    version: 18,
    // A program that does not know them would write past them.
    what: 'changes that wait, in tables of theirs, which are made with journals (overlay/waiting.ts)',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.waiting_table (
        name VARCHAR(64) NOT NULL PRIMARY KEY
      ) ${TABLE}`,
    ],
  },
  {
    version: 19,
    what: 'places of production’s log as they were passed',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.passed (
        at_us BIGINT NOT NULL PRIMARY KEY,
        source TEXT NOT NULL
      ) ${TABLE}`,
    ],
  },
  {
    version: 20,
    what: 'production’s triggers, which rollouts get (triggers-aside.ts)',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.production_trigger (
        place INT NOT NULL PRIMARY KEY,
        name VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        timing VARCHAR(10) NOT NULL,
        event VARCHAR(10) NOT NULL,
        body LONGTEXT NOT NULL,
        sql_mode TEXT NOT NULL,
        collation_name VARCHAR(64) NOT NULL,
        named LONGTEXT NOT NULL
      ) ${TABLE}`,
    ],
  },
  {
    version: 21,
    what: 'which routines production’s triggers call',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.production_trigger_call (
        name VARCHAR(64) NOT NULL,
        routine VARCHAR(64) NOT NULL,
        PRIMARY KEY (name, routine)
      ) ${TABLE}`,
    ],
  },
  {
    version: 22,
    what: 'rows that refer to none and stay so (sql/orphan-decisions.ts)',
    statements: [
      `CREATE TABLE IF NOT EXISTS {db}.accepted_orphan (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        table_schema VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        reference VARCHAR(64) NOT NULL,
        row_key LONGTEXT NOT NULL,
        referring LONGTEXT NOT NULL
      ) ${TABLE}`,
    ],
  },
];
