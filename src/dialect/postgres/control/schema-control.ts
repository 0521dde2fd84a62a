import type { Migration } from '../session/migration.ts';

/** What the control database holds: see ControlStore. The audit log can only grow. */
export const CONTROL_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    what: 'rollouts, requests, drift runs, audit',
    sql: `
      CREATE TABLE understudy.control_marker (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        id uuid NOT NULL
      );
      CREATE TABLE understudy.rollout (
        name text PRIMARY KEY,
        database text NOT NULL UNIQUE,
        role text NOT NULL,
        url text NOT NULL,
        state text NOT NULL
          CHECK (state IN ('creating', 'following', 'paused', 'failed', 'deleting')),
        created_at timestamptz NOT NULL,
        expires_at timestamptz
      );
      CREATE TABLE understudy.request (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text NOT NULL,
        database text NOT NULL,
        args json NOT NULL,
        state text NOT NULL DEFAULT 'open'
          CHECK (state IN ('open', 'running', 'done', 'failed')),
        holder text,
        outcome json,
        submitted_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
        claimed_at timestamptz,
        finished_at timestamptz
      );
      CREATE INDEX ON understudy.request (database, id) WHERE state IN ('open', 'running');
      CREATE TABLE understudy.drift_run (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        database text NOT NULL,
        verdict text NOT NULL,
        report json NOT NULL,
        at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
      );
      CREATE TABLE understudy.audit (
        seq bigint PRIMARY KEY,
        at_ms bigint NOT NULL,
        actor text NOT NULL,
        action text NOT NULL,
        subject text NOT NULL,
        detail text NOT NULL,
        previous text NOT NULL,
        hash text NOT NULL UNIQUE
      );
      CREATE FUNCTION understudy.audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE EXCEPTION 'the audit log can only grow' USING ERRCODE = '0A000';
        END $$;
      CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON understudy.audit
        FOR EACH STATEMENT EXECUTE FUNCTION understudy.audit_only_grows();`,
  },
];
