import type { Migration } from '../session/migration.ts';

/**
 * What we keep in every shadow database, beside the user's tables. Tables named `…` with one row
 * are keyed by `one`, so that a second row cannot come to be.
 *
 * - `marker`: that the database is ours, and which one. A clone not yet stamped is told by
 *   `database`, which still names the database it was copied from. `spared_account` is set in
 *   fallback mode: see applier-rights.ts.
 * - `fence`: the generation that may write. Every act holds a share lock on this row, so a
 *   take-over waits for acts that run. The sign of life is beside it, to be written meanwhile;
 *   `away` says that the holder's sessions were ended for a copy, so that only silence counts.
 * - `topic`: ids of the topics that positions are of, see TopicLedger.
 * - `position`, `progress`, `unproven`: how far production's log is applied, see StoredProgress.
 * - `ahead`, `delivered`: what of the log is not to be applied again, see ResumePoint. `upto` counts
 *   the ids of all rows so far.
 * - `bootstrap`, with `bootstrap_snapshot`, `bootstrap_table`, `bootstrap_index` and
 *   `bootstrap_end`: how the copy stands that a trunk is filled with, see BootstrapState. Without a
 *   row there is none. `bootstrap_only` names its tables, where it is not of all.
 * - `parked`, `unknown_value`: rows and values of production that are not known here, see
 *   parked-sql.ts and unknown-sql.ts.
 * - `dead_letter`, with `dead_key` and `dead_event`: what could not be written, and what waits for it,
 *   by places in the log; `unread` events could not be read. No row values but keys, and but those in
 *   `dead_record`, sealed with the user's key. (`unknown_table` is not used.) What
 *   production's rows are by these events is in `<schema>.<table>#image`, see images.ts; of `hidden`
 *   and `unplaced` rows that is not known.
 * - `former_column`: columns that a carried change dropped, or gave another name (`now`); `noted_table`:
 *   tables that production dropped and that are here still, see NotedTable.
 * - `renamed_table`: names that tables had, see TableRename; `table_identity`: see IdentityLedger.
 * - `outcome`: how rows that the candidate owned came to be production's again, see outcomes.ts. Where the
 *   log stood when they were written first is not kept so far.
 * - `reshaped`: tables that the candidate's migrations gave another shape than production's, as they are
 *   there, with what became of them (JSON, see sql/reshaped.ts); `own_table`: tables that it made. `migrating`: a
 *   migration that was begun and not ended, see overlay/migrating.ts.
 * - `self_migration`: where the candidate migrates by itself, what begins one, see overlay/self-migrating.ts;
 *   `turn` is raised whenever that is written down.
 * - `capture_gap`: tables whose capture was lost for a while, see overlay/watch.ts.
 * - `member`, `share`, `hand_over`: who else follows which partitions, and what has to be passed by
 *   the holder alone, see sharing.ts. Without a share a partition is the holder's.
 */
export const SHADOW_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    what: 'marker, fence, position and progress',
    sql: `
      CREATE TABLE understudy.marker (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        id uuid NOT NULL,
        kind text NOT NULL CHECK (kind IN ('trunk', 'rollout')),
        name text NOT NULL,
        database text NOT NULL,
        topic_prefix text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
      );
      CREATE TABLE understudy.fence (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        generation bigint NOT NULL,
        holder text
      );
      CREATE TABLE understudy.sign_of_life (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        generation bigint NOT NULL,
        at timestamptz NOT NULL,
        away boolean NOT NULL DEFAULT false,
        note json
      ) WITH (fillfactor = 10);
      CREATE TABLE understudy.position (
        topic text NOT NULL,
        partition int NOT NULL,
        next_offset bigint NOT NULL,
        PRIMARY KEY (topic, partition)
      ) WITH (fillfactor = 50);
      CREATE TABLE understudy.progress (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        source json,
        event_time_ms bigint,
        unproven_count int NOT NULL DEFAULT 0,
        unproven_evicted bigint,
        unmarked bigint NOT NULL DEFAULT 0
      ) WITH (fillfactor = 10);
      CREATE TABLE understudy.unproven (
        tx_id bigint PRIMARY KEY,
        seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE
      );
      CREATE TABLE understudy.parked (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        table_schema text NOT NULL,
        table_name text NOT NULL,
        key text[] NOT NULL,
        reason text NOT NULL,
        at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
        UNIQUE (table_schema, table_name, key)
      );
      CREATE TABLE understudy.dead_letter (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        topic text NOT NULL,
        partition int NOT NULL,
        at_offset bigint NOT NULL,
        reason text NOT NULL,
        at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
        UNIQUE (topic, partition, at_offset)
      );
      CREATE TABLE understudy.unknown_table (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        events bigint NOT NULL,
        PRIMARY KEY (table_schema, table_name)
      );`,
  },
  {
    version: 2,
    what: 'the account that triggers spare',
    sql: 'ALTER TABLE understudy.marker ADD COLUMN spared_account text',
  },
  {
    version: 3,
    what: 'unknown values and what is known of parked keys',
    sql: `
      CREATE TABLE understudy.unknown_value (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        key text[] NOT NULL,
        column_name text NOT NULL,
        source json,
        at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
        PRIMARY KEY (table_schema, table_name, key, column_name)
      );
      ALTER TABLE understudy.parked
        ADD COLUMN image jsonb NOT NULL DEFAULT '{}',
        ADD COLUMN source json;`,
  },
  {
    version: 4,
    what: 'the copy that a trunk is filled with',
    sql: `
      CREATE TABLE understudy.bootstrap (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
        mark text,
        copied boolean NOT NULL DEFAULT false
      );
      CREATE TABLE understudy.bootstrap_snapshot (
        id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        snapshot text NOT NULL,
        marker bigint NOT NULL
      );
      CREATE TABLE understudy.bootstrap_table (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        snapshot int NOT NULL REFERENCES understudy.bootstrap_snapshot,
        done boolean NOT NULL DEFAULT false,
        ranges int NOT NULL,
        ranges_done int NOT NULL DEFAULT 0,
        rows bigint NOT NULL DEFAULT 0,
        bytes bigint NOT NULL,
        bytes_done bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (table_schema, table_name)
      ) WITH (fillfactor = 50);
      CREATE TABLE understudy.bootstrap_index (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        name text NOT NULL,
        sql text NOT NULL,
        PRIMARY KEY (table_schema, table_name, name)
      );
      CREATE TABLE understudy.bootstrap_end (
        topic text NOT NULL,
        partition int NOT NULL,
        end_offset bigint NOT NULL,
        PRIMARY KEY (topic, partition)
      );`,
  },
  {
    version: 5,
    what: 'what of the log is not to be applied again',
    sql: `
      CREATE TABLE understudy.ahead (
        topic text NOT NULL,
        partition int NOT NULL,
        first_offset bigint NOT NULL,
        next_offset bigint NOT NULL,
        PRIMARY KEY (topic, partition, first_offset)
      );
      CREATE TABLE understudy.delivered (
        upto bigint PRIMARY KEY,
        ids text[] NOT NULL
      );`,
  },
  {
    version: 6,
    what: 'what is set aside because it cannot be written',
    sql: `
      DROP TABLE understudy.dead_letter;
      CREATE TABLE understudy.dead_letter (
        id text PRIMARY KEY,
        table_schema text NOT NULL,
        table_name text NOT NULL,
        code text NOT NULL,
        message text NOT NULL,
        topic text NOT NULL,
        partition int NOT NULL,
        at_offset bigint NOT NULL,
        transaction_id text,
        at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
      );
      CREATE TABLE understudy.dead_key (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        id text NOT NULL,
        key text[],
        letter text NOT NULL,
        PRIMARY KEY (table_schema, table_name, id)
      );
      CREATE TABLE understudy.dead_event (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        letter text NOT NULL,
        topic text NOT NULL,
        partition int NOT NULL,
        at_offset bigint NOT NULL,
        table_schema text NOT NULL,
        table_name text NOT NULL,
        unread boolean NOT NULL
      );
      CREATE INDEX ON understudy.dead_event (letter, seq);`,
  },
  {
    version: 7,
    what: 'what is not known of rows that are set aside',
    sql: `
      ALTER TABLE understudy.dead_letter
        ADD COLUMN hidden int NOT NULL DEFAULT 0,
        ADD COLUMN unplaced int NOT NULL DEFAULT 0;
      UPDATE understudy.dead_letter l SET unplaced =
        (SELECT pg_catalog.count(*) FROM understudy.dead_key k WHERE k.letter = l.id);`,
  },
  {
    version: 8,
    what: 'whether somebody was told of what is set aside',
    sql: 'ALTER TABLE understudy.dead_letter ADD COLUMN told boolean NOT NULL DEFAULT false',
  },
  {
    version: 9,
    what: 'who follows which partitions',
    sql: `
      CREATE TABLE understudy.member (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
        note json
      );
      CREATE TABLE understudy.share (
        topic text NOT NULL,
        partition int NOT NULL,
        member bigint NOT NULL,
        granted bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
        PRIMARY KEY (topic, partition)
      );
      CREATE TABLE understudy.hand_over (
        topic text NOT NULL,
        partition int NOT NULL,
        at_offset bigint NOT NULL,
        why text NOT NULL,
        PRIMARY KEY (topic, partition)
      );`,
  },
  {
    version: 10,
    what: 'what is kept of records that are set aside',
    sql: `
      CREATE TABLE understudy.dead_record (
        topic text NOT NULL,
        partition int NOT NULL,
        at_offset bigint NOT NULL,
        part int NOT NULL,
        key_id text,
        why text,
        bytes bytea NOT NULL,
        PRIMARY KEY (topic, partition, at_offset, part)
      );
      ALTER TABLE understudy.dead_record ALTER COLUMN bytes SET STORAGE EXTERNAL;
      CREATE INDEX ON understudy.dead_event (topic, partition, at_offset);`,
  },
  {
    version: 11,
    what: 'columns that tables had before',
    sql: `
      CREATE TABLE understudy.former_column (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        name text NOT NULL,
        now text,
        PRIMARY KEY (table_schema, table_name, name)
      );`,
  },
  {
    version: 12,
    what: 'which topics positions are of',
    sql: 'CREATE TABLE understudy.topic (topic text PRIMARY KEY, id text NOT NULL)',
  },
  {
    version: 13,
    what: 'tables that are copied anew alone',
    sql: `
      CREATE TABLE understudy.bootstrap_only (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        PRIMARY KEY (table_schema, table_name)
      );`,
  },
  {
    version: 14,
    what: 'tables that are kept or wait, since production has others under their names',
    sql: `
      CREATE TABLE understudy.noted_table (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        state text NOT NULL CHECK (state IN ('kept', 'waits', 'mixed')),
        at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
        PRIMARY KEY (table_schema, table_name)
      );`,
  },
  {
    version: 15,
    what: 'tables that got other names, and what production’s tables keep through that',
    sql: `
      CREATE TABLE understudy.renamed_table (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        from_schema text NOT NULL,
        from_name text NOT NULL,
        to_schema text NOT NULL,
        to_name text NOT NULL,
        until text NOT NULL,
        turn bigint NOT NULL
      );
      CREATE TABLE understudy.table_identity (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        id text NOT NULL,
        columns jsonb NOT NULL,
        PRIMARY KEY (table_schema, table_name)
      );`,
  },
  {
    version: 16,
    what: 'how rows came to be production’s again that the candidate owned',
    sql: `
      CREATE TABLE understudy.outcome (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        table_schema text NOT NULL,
        table_name text NOT NULL,
        key text[] NOT NULL,
        outcome text NOT NULL
          CHECK (outcome IN ('converged', 'released', 'reset', 'ours', 'theirs', 'merged')),
        trace text,
        first_at timestamptz NOT NULL,
        first_source json,
        decided_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
        decided_source json
      );
      CREATE INDEX ON understudy.outcome (decided_at);
      DO $journals$ DECLARE journal text; BEGIN
        IF pg_catalog.to_regclass('understudy.captured_table') IS NULL THEN RETURN; END IF;
        FOR journal IN EXECUTE 'SELECT journal FROM understudy.captured_table' LOOP
          EXECUTE pg_catalog.format('ALTER TABLE understudy.%I
            ADD COLUMN IF NOT EXISTS understudy_moved boolean NOT NULL DEFAULT false', journal);
        END LOOP;
      END $journals$;`,
  },
  {
    version: 17,
    what: 'rows that are kept out, and conflicts',
    sql: `
      DO $journals$ DECLARE journal text; BEGIN
        IF pg_catalog.to_regclass('understudy.captured_table') IS NULL THEN RETURN; END IF;
        FOR journal IN EXECUTE 'SELECT journal FROM understudy.captured_table' LOOP
          EXECUTE pg_catalog.format('ALTER TABLE understudy.%I
            ADD COLUMN IF NOT EXISTS understudy_refused text,
            ADD COLUMN IF NOT EXISTS understudy_detail text,
            ADD COLUMN IF NOT EXISTS understudy_conflict text,
            ADD COLUMN IF NOT EXISTS understudy_conflict_base jsonb,
            ADD COLUMN IF NOT EXISTS understudy_conflict_at timestamptz,
            ADD COLUMN IF NOT EXISTS understudy_conflict_source json', journal);
          EXECUTE pg_catalog.format('CREATE INDEX ON understudy.%I (understudy_at)
            WHERE understudy_refused IS NOT NULL', journal);
          EXECUTE pg_catalog.format('CREATE INDEX ON understudy.%I (understudy_at)
            WHERE understudy_conflict IS NOT NULL', journal);
        END LOOP;
      END $journals$;`,
  },
  {
    version: 18,
    what: 'what the candidate’s migrations made of tables, and what may not have been captured',
    sql: `
      CREATE TABLE understudy.reshaped (
        schema text NOT NULL,
        name text NOT NULL,
        shape text NOT NULL,
        PRIMARY KEY (schema, name)
      );
      CREATE TABLE understudy.own_table (
        schema text NOT NULL,
        name text NOT NULL,
        PRIMARY KEY (schema, name)
      );
      CREATE TABLE understudy.migrating (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        candidate text NOT NULL,
        begun text NOT NULL
      );
      CREATE TABLE understudy.capture_gap (
        schema text NOT NULL,
        name text NOT NULL,
        at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
        PRIMARY KEY (schema, name)
      );`,
  },
  {
    version: 19,
    what: 'tables of which keys wait for the candidate',
    sql: `
      CREATE TABLE understudy.waiting_table (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        PRIMARY KEY (table_schema, table_name)
      );`,
  },
  {
    version: 20,
    what: 'errors that capture raised',
    sql: `
      CREATE SEQUENCE understudy.raised_row;
      CREATE SEQUENCE understudy.raised_insert;
      CREATE SEQUENCE understudy.raised_truncate;`,
  },
  {
    version: 21,
    what: 'places of production’s log as they were passed',
    sql: `
      CREATE TABLE understudy.passed (
        at timestamptz PRIMARY KEY,
        source json NOT NULL
      );`,
  },
  {
    version: 22,
    what: 'where production’s log stood with what waits',
    sql: `
      DO $waiting$ DECLARE waits text; BEGIN
        FOR waits IN SELECT c.relname FROM pg_catalog.pg_class c
          WHERE c.relnamespace = 'understudy'::pg_catalog.regnamespace AND c.relkind = 'r'
            AND pg_catalog."right"(c.relname, 8) = '#waiting' LOOP
          EXECUTE pg_catalog.format('ALTER TABLE understudy.%I
            ADD COLUMN IF NOT EXISTS understudy_source json', waits);
        END LOOP;
      END $waiting$;`,
  },
  {
    version: 23,
    what: 'candidates that migrate by themselves',
    sql: `
      CREATE TABLE understudy.self_migration (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        candidate text NOT NULL,
        turn bigint NOT NULL DEFAULT 0,
        begun text NOT NULL DEFAULT '',
        tables oid[] NOT NULL DEFAULT '{}',
        shape text,
        labels text[] NOT NULL DEFAULT '{}',
        waits text NOT NULL DEFAULT '',
        locks text[] NOT NULL DEFAULT '{}',
        keep text[] NOT NULL DEFAULT '{}',
        let_go text[] NOT NULL DEFAULT '{}'
      );
      ALTER TABLE understudy.migrating ADD COLUMN by_itself boolean NOT NULL DEFAULT false;`,
  },
  {
    version: 24,
    what: 'rows that refer to none and stay so (sql/orphan-decisions.ts)',
    sql: `
      CREATE TABLE understudy.accepted_orphan (
        table_schema text NOT NULL,
        table_name text NOT NULL,
        reference text NOT NULL,
        row_key text NOT NULL,
        referring text NOT NULL
      );`,
  },
];
