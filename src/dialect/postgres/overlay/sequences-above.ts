import type { ClientBase } from 'pg';
import { sequenceTarget } from '../../sql/sequence-target.ts';

interface SequenceRow {
  readonly oid: string;
  readonly name: string;
  readonly increment: string;
  readonly start: string;
  readonly low: string;
  readonly high: string;
  readonly last: string | null;
  /** Widths in bytes of the integer columns that the sequence feeds. */
  readonly widths: readonly number[];
}

/**
 * All sequences of user schemas with the columns they feed: as their owner (serial, identity), or
 * by a default.
 */
const SEQUENCES = `SELECT c.oid::text AS oid, n.nspname || '.' || c.relname AS name,
    s.seqincrement::text AS increment, s.seqstart::text AS start,
    s.seqmin::text AS low, s.seqmax::text AS high,
    pg_catalog.pg_sequence_last_value(c.oid)::text AS last,
    ARRAY(
      SELECT DISTINCT a.attlen::int4 FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND d.deptype IN ('a', 'i') AND a.atttypid IN (20, 21, 23)
      UNION
      SELECT a.attlen::int4 FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid
        JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
        WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND d.refobjid = c.oid AND a.atttypid IN (20, 21, 23)
    ) AS widths
  FROM pg_catalog.pg_sequence s
  JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname <> 'understudy' AND n.nspname !~ '^pg_' AND c.relpersistence <> 't'
  ORDER BY 2`;

/**
 * Moves the sequences of all user tables far above production's. Returns those that could not be
 * moved because they were that far already: their values may meet production's.
 */
export async function moveSequencesAbove(client: ClientBase): Promise<readonly string[]> {
  const left: string[] = [];
  const moves: { readonly oid: string; readonly target: bigint }[] = [];
  for (const row of (await client.query<SequenceRow>(SEQUENCES)).rows) {
    const target = sequenceTarget({
      increment: BigInt(row.increment),
      start: BigInt(row.start),
      low: BigInt(row.low),
      high: BigInt(row.high),
      last: row.last === null ? null : BigInt(row.last),
      widths: row.widths,
    });
    if (target === null) left.push(row.name);
    else moves.push({ oid: row.oid, target });
  }
  await client.query(
    `SELECT pg_catalog.setval(u.oid::pg_catalog.regclass, u.target, false)
     FROM unnest($1::oid[], $2::int8[]) AS u(oid, target)`,
    [moves.map((move) => move.oid), moves.map((move) => move.target.toString())],
  );
  return left;
}
