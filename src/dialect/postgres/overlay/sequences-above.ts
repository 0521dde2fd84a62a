import type { ClientBase } from 'pg';

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

/** Above production's ids for good, and still exact as a JavaScript number. */
const BIGINT_FLOOR = 2n ** 52n;
/** A range this wide has room for BIGINT_FLOOR and as much again beyond it. */
const WIDE = 2n ** 62n;

/**
 * Where a sequence goes on in a rollout so that its values meet none of production's: 2^52 for
 * bigint, three quarters of the way up for what is smaller (int 1.5 * 2^30, smallint 24576), the
 * same below zero for a descending one. Null if it is there already. The step's rhythm is kept.
 */
function sequenceTarget(sequence: {
  readonly increment: bigint;
  readonly start: bigint;
  readonly low: bigint;
  readonly high: bigint;
  readonly last: bigint | null;
  readonly widths: readonly number[];
}): bigint | null {
  const { increment, start, last, widths } = sequence;
  const width = BigInt(Math.min(8, ...widths));
  const reach = 2n ** (width * 8n - 1n);
  const up = increment > 0n;
  const limit = up ? min(sequence.high + 1n, reach) : min(-sequence.low, reach);
  const distance = limit >= WIDE ? BIGINT_FLOOR : (limit * 3n) / 4n;
  const goal = up ? distance : -distance;
  const steps = (goal - start) / increment;
  const target = start + steps * increment;
  const beyond = up ? target <= (last ?? start) : target >= (last ?? start);
  return beyond || target < sequence.low || target > sequence.high ? null : target;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

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
