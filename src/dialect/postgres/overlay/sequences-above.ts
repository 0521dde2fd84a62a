import { escapeIdentifier, type ClientBase } from 'pg';
import type { NumberRange } from '../../overlay.ts';
import { nextAbove, sequenceTarget, usedShares, withinWidth } from '../../sql/sequence-target.ts';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';
import { OWN_SCHEMA } from '../session/names.ts';

interface SequenceRow {
  readonly oid: string;
  readonly name: string;
  /** As a statement names it. */
  readonly relation: string;
  readonly increment: string;
  readonly start: string;
  readonly low: string;
  readonly high: string;
  /** Null of one that gave no number since it was set. */
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

/** Columns with the sequences that feed them: as their owner (serial, identity), or by a default. */
const FED = `fed AS (
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
  )`;

/** All sequences of user schemas that are ours to set, with the columns they feed. */
const SEQUENCES = `WITH ${FED}
  SELECT c.oid::text AS oid, n.nspname || '.' || c.relname AS name,
    c.oid::pg_catalog.regclass::text AS relation,
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
    AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
  ORDER BY 2`;

/**
 * Of these, those that the candidate sets as it likes: that feed none of production's tables (who made one that
 * feeds none is not known), and those that begin anew by themselves.
 */
const OWN = `WITH ${FED}
  SELECT s.oid::text AS oid FROM unnest($1::oid[]) s (oid)
  WHERE (SELECT q.seqcycle FROM pg_catalog.pg_sequence q WHERE q.seqrelid = s.oid)
    OR NOT EXISTS (SELECT FROM fed f JOIN pg_catalog.pg_class c ON c.oid = f.attrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE f.sequence = s.oid AND NOT EXISTS (SELECT FROM ${OWN_SCHEMA}.own_table o
        WHERE o.schema = n.nspname AND o.name = c.relname))`;

/**
 * Moves the sequences of all user tables far above production's, in a fresh clone. Returns those that could
 * not be moved because they were that far already: their values may meet production's.
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

interface LowSequence {
  readonly row: SequenceRow;
  readonly target: bigint;
}

/**
 * Moves sequences that are not there above production's again, and above the rows that the candidate has there:
 * those of new tables, and those that somebody set back. Others are not touched, since `setval` is not undone, and
 * a number that is given out meanwhile would be given out twice. Returns those that were moved. In the caller's
 * transaction; waits for who locks such a sequence, or a table that it feeds.
 */
export async function raiseSequences(client: ClientBase): Promise<readonly string[]> {
  return raise(client, await readLow(client));
}

/**
 * The same of what a look from time to time finds. Of the candidate's own tables numbers are as it sets them; and
 * nobody is waited for: what is locked is left for the next look.
 */
export async function watchSequences(client: ClientBase): Promise<readonly string[]> {
  const moved = await unlessLocked(client, async () => {
    const low = await readLow(client);
    if (low.length === 0) return [];
    const { rows } = await client.query<{ oid: string }>(OWN, [low.map(({ row }) => row.oid)]);
    const own = new Set(rows.map(({ oid }) => oid));
    return raise(
      client,
      low.filter(({ row }) => !own.has(row.oid)),
    );
  });
  return moved ?? [];
}

async function readLow(client: ClientBase): Promise<readonly LowSequence[]> {
  const { rows } = await client.query<SequenceRow>(SEQUENCES);
  // Where one stands that gave no number so far is told by itself alone.
  const unused = rows.filter(({ last }) => last === null);
  const standing = new Map<string, string>();
  if (unused.length > 0) {
    const each = unused.map(
      ({ oid, relation }) =>
        `SELECT '${oid}' AS oid, s.last_value::text AS last FROM ${relation} s`,
    );
    const read = await client.query<{ oid: string; last: string }>(each.join(' UNION ALL '));
    for (const { oid, last } of read.rows) standing.set(oid, last);
  }
  return rows.flatMap((row) => {
    const last = row.last ?? standing.get(row.oid) ?? row.start;
    const target = sequenceTarget({ ...factsOf(row), last: BigInt(last) });
    return target === null ? [] : [{ row, target }];
  });
}

async function raise(client: ClientBase, low: readonly LowSequence[]): Promise<readonly string[]> {
  if (low.length === 0) return [];
  const furthest = await furthestOf(client, low, 'beyond');
  const moves = low.map(({ row, target }, number) => {
    const facts = factsOf(row);
    return nextAbove({ ...facts, target, furthest: furthest.get(number) ?? null });
  });
  // Looked at again right before, for somebody may have set one above.
  const { rows } = await client.query<{ oid: string }>(
    `SELECT u.oid::text AS oid, pg_catalog.setval(u.oid::pg_catalog.regclass, u.place, false)
      FROM unnest($1::oid[], $2::int8[], $3::int8[], $4::boolean[]) AS u(oid, target, place, up)
      CROSS JOIN LATERAL (SELECT pg_catalog.pg_sequence_last_value(u.oid) AS last) s
      WHERE s.last IS NULL OR CASE WHEN u.up THEN s.last < u.target ELSE s.last > u.target END`,
    [
      low.map(({ row }) => row.oid),
      low.map(({ target }) => target.toString()),
      moves.map(String),
      low.map(({ row }) => !row.increment.startsWith('-')),
    ],
  );
  const moved = new Set(rows.map(({ oid }) => oid));
  return low.flatMap(({ row }) => (moved.has(row.oid) ? [row.name] : []));
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
export function readNumberRanges(client: ClientBase): Promise<readonly NumberRange[] | null> {
  return unlessLocked(client, () => numberRanges(client));
}

/** Null if somebody locks what it needs. */
async function unlessLocked<T>(client: ClientBase, act: () => Promise<T>): Promise<T | null> {
  await client.query(`SET LOCAL lock_timeout = '${PATIENCE}'; SAVEPOINT understudy_numbers`);
  try {
    return await act();
  } catch (error) {
    if (!hasSqlState(error, SQLSTATE.lockNotAvailable)) throw error;
    await client.query('ROLLBACK TO SAVEPOINT understudy_numbers');
    return null;
  }
}

/**
 * The number that is furthest along, of those that an index finds: before the target, or at it and beyond. By the
 * places of `sequences`.
 */
async function furthestOf(
  client: ClientBase,
  sequences: readonly LowSequence[],
  where: 'before' | 'beyond',
): Promise<ReadonlyMap<number, bigint>> {
  const asked = sequences.flatMap(({ row, target }, number) => {
    const up = !row.increment.startsWith('-');
    const side = where === 'before' ? (up ? '<' : '>') : up ? '>=' : '<=';
    return row.columns.map(
      (column, i) =>
        `SELECT ${String(number)} AS number, (SELECT ${up ? 'max' : 'min'}(t.${escapeIdentifier(column)})
          FROM ${row.tables[i] ?? ''} t WHERE t.${escapeIdentifier(column)} ${side} ${String(target)})::text AS most`,
    );
  });
  const most = new Map<number, bigint>();
  if (asked.length === 0) return most;
  const { rows } = await client.query<{ number: number; most: string | null }>(
    asked.join(' UNION ALL '),
  );
  for (const one of rows.filter((row) => row.most !== null)) {
    const [is, was] = [BigInt(one.most ?? 0), most.get(one.number) ?? null];
    const isFurther =
      was === null || (sequences[one.number]?.row.increment.startsWith('-') ? is < was : is > was);
    if (isFurther) most.set(one.number, is);
  }
  return most;
}

async function numberRanges(client: ClientBase): Promise<readonly NumberRange[]> {
  const found = (await client.query<SequenceRow>(SEQUENCES)).rows.flatMap((row) => {
    const target = sequenceTarget({ ...factsOf(row), last: null });
    return target === null ? [] : [{ row, target }];
  });
  const most = await furthestOf(client, found, 'before');
  return found.flatMap(({ row, target }, number) => {
    const { start, widths, ...facts } = factsOf(row);
    const last = row.last === null ? null : BigInt(row.last);
    const shares = usedShares({
      ...{ start, target, theirs: most.get(number) ?? null, ours: last },
      ...withinWidth({ ...facts, widths }),
    });
    return (['production', 'candidate'] as const).map((side) => ({
      ...{ name: row.name, side, used: shares[side] },
    }));
  });
}
