import { escapeIdentifier, type ClientBase } from 'pg';
import type { NumberRange } from '../../overlay.ts';
import { sequenceTarget, usedShares } from '../../sql/sequence-target.ts';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';

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
  /** Those among them that lead an index: tables, and their columns beside them. */
  readonly tables: readonly string[];
  readonly columns: readonly string[];
}

/** Columns of a sequence that an index finds the greatest number of. */
const INDEXED = `FROM fed f WHERE f.sequence = c.oid AND EXISTS (SELECT FROM pg_catalog.pg_index i
  WHERE i.indrelid = f.attrelid AND i.indkey[0] = f.attnum AND i.indpred IS NULL)
  ORDER BY f.attrelid, f.attnum`;

/** Not of a session’s own: nobody else may read these. */
const LASTING = `(SELECT o.relpersistence FROM pg_catalog.pg_class o WHERE o.oid = a.attrelid) <> 't'`;

/**
 * All sequences of user schemas with the columns they feed: as their owner (serial, identity), or
 * by a default.
 */
const SEQUENCES = `WITH fed AS (
    SELECT d.objid AS sequence, a.attrelid, a.attnum, a.attname, a.attlen FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.deptype IN ('a', 'i') AND a.atttypid IN (20, 21, 23) AND ${LASTING}
    UNION
    SELECT d.refobjid, a.attrelid, a.attnum, a.attname, a.attlen FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid
      JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
      WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND a.atttypid IN (20, 21, 23)
        AND ${LASTING}
  )
  SELECT c.oid::text AS oid, n.nspname || '.' || c.relname AS name,
    s.seqincrement::text AS increment, s.seqstart::text AS start,
    s.seqmin::text AS low, s.seqmax::text AS high,
    pg_catalog.pg_sequence_last_value(c.oid)::text AS last,
    ARRAY(SELECT DISTINCT f.attlen::int4 FROM fed f WHERE f.sequence = c.oid) AS widths,
    ARRAY(SELECT f.attrelid::pg_catalog.regclass::text ${INDEXED}) AS tables,
    ARRAY(SELECT f.attname::text ${INDEXED}) AS columns
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
      ...factsOf(row),
      last: row.last === null ? null : BigInt(row.last),
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

function factsOf(row: SequenceRow) {
  return {
    ...{ increment: BigInt(row.increment), start: BigInt(row.start) },
    ...{ low: BigInt(row.low), high: BigInt(row.high), widths: row.widths },
  };
}

/** How long somebody who locks a table is waited for. */
const PATIENCE = '100ms';

/** How far both sides have come, see NumberRange; null if a table is locked. In the caller's transaction. */
export async function readNumberRanges(client: ClientBase): Promise<readonly NumberRange[] | null> {
  await client.query(`SET LOCAL lock_timeout = '${PATIENCE}'; SAVEPOINT understudy_numbers`);
  try {
    return await numberRanges(client);
  } catch (error) {
    if (!hasSqlState(error, SQLSTATE.lockNotAvailable)) throw error;
    await client.query('ROLLBACK TO SAVEPOINT understudy_numbers');
    return null;
  }
}

async function numberRanges(client: ClientBase): Promise<readonly NumberRange[]> {
  const found = (await client.query<SequenceRow>(SEQUENCES)).rows.flatMap((row) => {
    const target = sequenceTarget({ ...factsOf(row), last: null });
    return target === null ? [] : [{ row, target }];
  });
  const asked = found.flatMap(({ row, target }, number) => {
    const up = !row.increment.startsWith('-');
    return row.columns.map(
      (column, i) =>
        `SELECT ${String(number)} AS number, (SELECT ${up ? 'max' : 'min'}(t.${escapeIdentifier(column)})
          FROM ${row.tables[i] ?? ''} t WHERE t.${escapeIdentifier(column)} ${up ? '<' : '>'} ${String(target)})::text AS most`,
    );
  });
  const most = new Map<number, bigint>();
  if (asked.length > 0) {
    const { rows } = await client.query<{ number: number; most: string | null }>(
      asked.join(' UNION ALL '),
    );
    for (const one of rows.filter((row) => row.most !== null)) {
      const [is, was] = [BigInt(one.most ?? 0), most.get(one.number) ?? null];
      const isFurther =
        was === null || (found[one.number]?.row.increment.startsWith('-') ? is < was : is > was);
      if (isFurther) most.set(one.number, is);
    }
  }
  return found.flatMap(({ row, target }, number) => {
    const { start, ...facts } = factsOf(row);
    const last = row.last === null ? null : BigInt(row.last);
    const width = 8n * BigInt(Math.min(8, ...facts.widths)) - 1n;
    const shares = usedShares({
      ...{ start, target, theirs: most.get(number) ?? null, ours: last },
      ...{ high: least(facts.high, 2n ** width - 1n), low: -least(-facts.low, 2n ** width) },
    });
    return (['production', 'candidate'] as const).map((side) => ({
      ...{ name: row.name, side, used: shares[side] },
    }));
  });
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
