/**
 * Rows of production's that the candidate's rows, or its schema, keep out of the visible table: pure
 * statements. Production's image stands in the journal; the visible row stays as it was before, or there is
 * none. The entry notes the visible row's `xmin` (0: there is none). That one is another now tells that the
 * candidate came to the row, and owns it: its triggers need not do more for that than for any row.
 *
 * Aliases: t the table, s the staging table, j the journal.
 */
import { escapeLiteral } from 'pg';
import type { UniqueKey } from '../../../schema/table-schema.ts';
import { keysEqual, type ApplyColumn, type ApplyTable } from '../apply/apply-table.ts';
import { sourceOf, stageRelation } from '../apply/stage.ts';
import type { Comparisons } from '../catalogue/key-facts.ts';
import { JOURNAL } from '../session/names.ts';
import { baseImage, settledKind } from './conflict-sql.ts';

const TABLE = ['t', 'name'] as const;
const STAGED = ['s', 'staged'] as const;
const JOURNALED = ['j', 'name'] as const;

/** No row of a table has it: it stands for that there is none. */
const NO_ROW = `'0'::pg_catalog.xid`;

/** The row is production's, and kept out: over `j`, and `t`, which is null where there is no visible row. */
export const IS_BLOCKED = blockedAs('j', 't');

/** The same of an entry and a row by other names. */
export function blockedAs(entry: string, row: string): string {
  return `(${entry}.${JOURNAL.blocked} IS NOT NULL
    AND ${entry}.${JOURNAL.blocked} = COALESCE(${row}.xmin, ${NO_ROW}))`;
}

/** The same of an entry, `j`, alone. */
export function isBlocked(table: ApplyTable): string {
  return `(j.${JOURNAL.blocked} IS NOT NULL AND j.${JOURNAL.blocked} = COALESCE((SELECT t.xmin
    FROM ${table.rows} t WHERE ${keysEqual(table, TABLE, JOURNALED)}), ${NO_ROW}))`;
}

/** Kept out, and there is no visible row. */
export function isBlockedAbsent(table: ApplyTable): string {
  return `(j.${JOURNAL.blocked} = ${NO_ROW} AND NOT EXISTS (SELECT FROM ${table.rows} t
    WHERE ${keysEqual(table, TABLE, JOURNALED)}))`;
}

/** Kept out, beside the visible row `t`. */
export const IS_STALE = `j.${JOURNAL.blocked} = t.xmin`;

/**
 * Entries that the candidate came to since are its own: with the stale row as what both began with. Conflicts
 * by which a row was kept out become those that they are then. Where its triggers did not say when it wrote the
 * row first, that is now at the latest. `staged`: only of staged keys that are owned.
 */
function settle(table: ApplyTable, staged: boolean): string {
  const journal = table.journal ?? '';
  const same = (left: string, right: string): string =>
    keysEqual(table, [left, 'name'], [right, 'name']);
  return `UPDATE ${journal} j SET ${JOURNAL.at} = CASE WHEN j.${JOURNAL.blocked} IS NULL THEN j.${JOURNAL.at}
        ELSE pg_catalog.clock_timestamp() END,
      ${JOURNAL.blocked} = NULL, ${JOURNAL.refused} = NULL,
      ${JOURNAL.detail} = NULL, ${JOURNAL.conflict} = ${settledKind(table)}
    FROM ${journal} k ${staged ? `JOIN ${stageRelation(table)} s ON s.own AND ${keysEqual(table, ['k', 'name'], STAGED)}` : ''}
      LEFT JOIN ${table.rows} t ON ${same('t', 'k')}
    WHERE k.${JOURNAL.refused} IS NOT NULL AND ${same('j', 'k')}
      AND j.${JOURNAL.refused} IS NOT NULL AND NOT ${IS_BLOCKED}`;
}

export function settleStaged(table: ApplyTable): string {
  return settle(table, true);
}

export function settleAll(table: ApplyTable): string {
  return settle(table, false);
}

/** After the visible rows were written anew, as a changed column does, and settled before. */
export function noteVersions(table: ApplyTable): string {
  return `UPDATE ${table.journal ?? ''} j SET ${JOURNAL.blocked} = COALESCE((SELECT t.xmin
      FROM ${table.rows} t WHERE ${keysEqual(table, TABLE, JOURNALED)}), ${NO_ROW})
    WHERE j.${JOURNAL.blocked} IS NOT NULL`;
}

/** A row if any row of the table is kept out. */
export function findAnyBlocked(journal: string): string {
  return `SELECT 1 AS found FROM ${journal} j WHERE j.${JOURNAL.refused} IS NOT NULL LIMIT 1`;
}

/** A row if one of the staged keys is kept out. */
export function findBlocked(table: ApplyTable): string {
  return `SELECT 1 AS found FROM ${stageRelation(table)} s JOIN ${table.journal ?? ''} j
    ON ${keysEqual(table, JOURNALED, STAGED)} WHERE s.own AND j.${JOURNAL.blocked} IS NOT NULL LIMIT 1`;
}

/** Columns of a unique constraint, with the operators of its index. */
export interface UniqueColumns {
  readonly name: string;
  readonly columns: readonly { readonly column: ApplyColumn; readonly equals: string }[];
}

/** The constraints that can be looked up by columns: all but the key's, and those on expressions or a part. */
export function lookedUp(
  table: ApplyTable,
  comparisons: Comparisons,
  uniques: readonly UniqueKey[] = table.schema.uniques,
): readonly UniqueColumns[] {
  const compared = comparisons.get(table.label);
  const key = table.schema.key.toSorted().join('\0');
  return uniques.flatMap(({ name, columns, plain }) => {
    if (!plain || columns.toSorted().join('\0') === key) return [];
    const found = columns.flatMap((of) => {
      const column = table.columns.find(({ schema }) => schema.name === of);
      const equals = compared?.get(of)?.equals;
      return column === undefined || equals === undefined ? [] : [{ column, equals }];
    });
    return found.length === columns.length ? [{ name, columns: found }] : [];
  });
}

/** Another row, `u`, holds the values of `of` (`j` or `s`). */
function holds(table: ApplyTable, unique: UniqueColumns, of: 'j' | 's'): string {
  const side = of === 'j' ? 'name' : 'staged';
  const same = unique.columns.map(
    ({ column, equals }) => `u.${column.name} ${equals} ${of}.${column[side]}`,
  );
  return `${same.join(' AND ')} AND NOT (${keysEqual(table, ['u', 'name'], [of, side])})`;
}

/**
 * Of an entry, `j`: its visible row holds a value of a row that is kept out, whose entry `selected` holds for
 * (as a condition over an alias `j` of its own).
 */
export function holdsBlocked(
  table: ApplyTable,
  uniques: readonly UniqueColumns[],
  selected: string,
): string {
  const journal = table.journal ?? '';
  const holding = uniques.map((unique) => {
    const same = unique.columns.map(
      ({ column, equals }) => `t.${column.name} ${equals} b.${column.name}`,
    );
    return `(${same.join(' AND ')})`;
  });
  return `EXISTS (SELECT FROM ${table.rows} t,
      (SELECT j.* FROM ${journal} j WHERE j.${JOURNAL.blocked} IS NOT NULL AND ${selected}) b
    WHERE ${keysEqual(table, TABLE, JOURNALED)} AND NOT (${keysEqual(table, TABLE, ['b', 'name'])})
      AND (${holding.join(' OR ')}))`;
}

/** Of an entry, `j`: its visible row holds a value of a staged image that was refused. */
export function holdsStaged(table: ApplyTable, uniques: readonly UniqueColumns[]): string {
  const holding = uniques.map((unique) => {
    const same = unique.columns.map(
      ({ column, equals }) => `u.${column.name} ${equals} b.${column.staged}`,
    );
    return `(${same.join(' AND ')})`;
  });
  return `EXISTS (SELECT FROM ${table.rows} u JOIN ${stageRelation(table)} b ON b.refused IS NOT NULL
      AND (${holding.join(' OR ')})
    WHERE ${keysEqual(table, ['u', 'name'], JOURNALED)}
      AND NOT (${keysEqual(table, ['u', 'name'], ['b', 'staged'])}))`;
}

/** A row if a staged image that nobody owns holds what another row does: of what the session did not check. */
export function findDuplicate(table: ApplyTable, unique: UniqueColumns): string {
  return `SELECT 1 AS found FROM ${stageRelation(table)} s WHERE s.op = 'f' AND NOT s.own
    AND EXISTS (SELECT FROM ${table.rows} u WHERE ${holds(table, unique, 's')}) LIMIT 1`;
}

/** As isOfTheRow has it. */
export const REFUSAL = `integrity_constraint_violation OR data_exception OR program_limit_exceeded
  OR plpgsql_error`;

/**
 * Finds out which staged images the visible table refuses, and by which constraint, and notes it with them:
 * all of them are taken out, put in one by one, and what was done is undone. Then, beside those that it takes,
 * the rows that the others leave as they were are put back: one that is in the way of a row of the batch is to
 * be `evicted`. `insert`: the statement that inserts the staged images, which a condition can be added to.
 * `out` takes them out. `unchecked`: constraints that the session does not check, see apply-rows.ts. Other
 * refusals, of a lock, fail it.
 */
export function probe(
  table: ApplyTable,
  parts: {
    readonly out: string;
    readonly insert: string;
    readonly unchecked: readonly UniqueColumns[];
  },
): string {
  const stage = stageRelation(table);
  const key = table.key.map((column) => `s.${column.staged}`).join(', ');
  const names = table.columns.map(({ name }) => name);
  const left = names.map((name) => `understudy_one.${name}`);
  const twice = parts.unchecked.map(
    (unique) => `FOR understudy_seq IN SELECT s.seq FROM ${stage} s
        WHERE s.op = 'f' AND NOT s.own AND s.seq <> ALL (understudy_seqs)
          AND EXISTS (SELECT FROM ${table.rows} u WHERE ${holds(table, unique, 's')}) LOOP
      understudy_seqs := understudy_seqs || understudy_seq;
      understudy_kinds := understudy_kinds || 'multiple_unique'::text;
      understudy_names := understudy_names || ${escapeLiteral(unique.name)}::text;
    END LOOP;`,
  );
  const leftTwice = parts.unchecked.map(
    (unique) => `FOR understudy_seq IN SELECT s.seq FROM ${stage} s
          JOIN ${table.rows} j ON ${keysEqual(table, JOURNALED, STAGED)}
          WHERE s.seq = ANY (understudy_left_seqs)
            AND EXISTS (SELECT FROM ${table.rows} u WHERE ${holds(table, unique, 'j')}) LOOP
        understudy_evicted := understudy_evicted || understudy_seq;
      END LOOP;`,
  );
  return `DO $probe$
#variable_conflict use_column
DECLARE
  understudy_place tid;
  understudy_seq int4;
  understudy_state text;
  understudy_name text;
  understudy_seqs int4[] := '{}';
  understudy_kinds text[] := '{}';
  understudy_names text[] := '{}';
  understudy_one ${table.relation};
  understudy_left ${table.relation}[];
  understudy_left_seqs int4[];
  understudy_evicted int4[] := '{}';
BEGIN
  BEGIN
    ${parts.out};
    FOR understudy_place, understudy_seq IN SELECT s.ctid, s.seq FROM ${stage} s
        WHERE s.op = 'f' AND NOT s.own ORDER BY ${key} LOOP
      BEGIN
        ${parts.insert} AND s.ctid = understudy_place;
      EXCEPTION WHEN ${REFUSAL} THEN
        GET STACKED DIAGNOSTICS understudy_state = RETURNED_SQLSTATE,
          understudy_name = CONSTRAINT_NAME;
        understudy_seqs := understudy_seqs || understudy_seq;
        understudy_kinds := understudy_kinds
          || CASE WHEN understudy_state IN ('23505', '23P01') THEN 'multiple_unique' ELSE 'schema' END;
        understudy_names := understudy_names || COALESCE(understudy_name, '');
      END;
    END LOOP;
    ${twice.join('\n    ')}
    RAISE SQLSTATE 'US001';
  EXCEPTION WHEN SQLSTATE 'US001' THEN NULL;
  END;
  SELECT pg_catalog.array_agg(t.*), pg_catalog.array_agg(s.seq)
    INTO understudy_left, understudy_left_seqs
    FROM ${stage} s JOIN ${table.rows} t ON ${keysEqual(table, TABLE, STAGED)}
    WHERE s.seq = ANY (understudy_seqs);
  IF understudy_left IS NOT NULL THEN
    BEGIN
      ${parts.out};
      ${parts.insert} AND s.seq <> ALL (understudy_seqs);
      FOR understudy_seq IN 1 .. pg_catalog.cardinality(understudy_left) LOOP
        understudy_one := understudy_left[understudy_seq];
        BEGIN
          INSERT INTO ${table.relation} (${names.join(', ')}) OVERRIDING SYSTEM VALUE
            VALUES (${left.join(', ')});
        EXCEPTION WHEN ${REFUSAL} THEN
          understudy_evicted := understudy_evicted || understudy_left_seqs[understudy_seq];
        END;
      END LOOP;
      ${leftTwice.join('\n      ')}
      RAISE SQLSTATE 'US001';
    EXCEPTION WHEN SQLSTATE 'US001' THEN NULL;
    -- The candidate has come to hold a value between the two: it is all tried again.
    WHEN ${REFUSAL} THEN understudy_seqs := '{}';
    END;
  END IF;
  UPDATE ${stage} s SET refused = r.kind, detail = r.name, evicted = s.seq = ANY (understudy_evicted)
    FROM unnest(understudy_seqs, understudy_kinds, understudy_names) r(seq, kind, name)
    WHERE s.seq = r.seq;
END $probe$`;
}

/** The rows that would be in the way of the batch's: what is kept out is seen by nobody then. */
export function evict(table: ApplyTable): string {
  return `DELETE FROM ${table.rows} t USING ${stageRelation(table)} s
    WHERE ${keysEqual(table, TABLE, STAGED)} AND s.evicted AND NOT s.own`;
}

/**
 * Makes the entries of the staged images that were refused, whose rows are locked. Who makes such a row
 * meanwhile has made its entry, or waits for this one and then owns it. `again`: production changed none of them.
 */
export function blockRows(
  table: ApplyTable,
  { source, again }: { readonly source: string | null; readonly again: boolean },
): string {
  const columns = table.columns.map(({ name }) => name).join(', ');
  const values = table.columns.map(({ staged }) => `s.${staged}`).join(', ');
  const more = [JOURNAL.present, JOURNAL.moved, JOURNAL.blocked, JOURNAL.refused, JOURNAL.detail];
  const of = [
    ...[JOURNAL.at, JOURNAL.conflict, JOURNAL.conflictAt, JOURNAL.conflictSource],
    JOURNAL.conflictBase,
  ];
  const now = 'pg_catalog.clock_timestamp()';
  // Tried again without a change of production's, it is what it was, also where it was resolved.
  const told = (name: string, type: string, otherwise: string): string =>
    again
      ? `CASE WHEN s.kept IS NULL THEN ${otherwise} ELSE (s.kept->>'${name}')::${type} END`
      : otherwise;
  return `INSERT INTO ${table.journal ?? ''} (${[columns, ...more, ...of].join(', ')})
    SELECT ${values}, true, true, COALESCE(t.xmin, ${NO_ROW}), s.refused, s.detail,
      COALESCE((s.kept->>'at')::timestamptz, ${now}), ${told('conflict', 'text', 's.refused')},
      ${told('conflictAt', 'timestamptz', now)}, ${told('conflictSource', 'json', sourceOf('s', source))},
      CASE WHEN t.${table.key[0]?.name ?? ''} IS NULL THEN s.kept->'base'
        ELSE ${baseImage(table, 't')} END
    FROM ${stageRelation(table)} s LEFT JOIN ${table.rows} t ON ${keysEqual(table, TABLE, STAGED)}
    WHERE s.refused IS NOT NULL AND NOT s.own AND s.op = 'f'
    ON CONFLICT (${table.key.map(({ name }) => name).join(', ')}) DO NOTHING`;
}

/** What an entry that is given up to be tried again hands on to the one that may come after it. */
export const KEPT = `pg_catalog.jsonb_build_object('at', j.${JOURNAL.at}, 'conflict', j.${JOURNAL.conflict},
  'conflictAt', j.${JOURNAL.conflictAt}, 'conflictSource', j.${JOURNAL.conflictSource},
  'base', CASE WHEN pg_catalog.jsonb_typeof(j.${JOURNAL.conflictBase}) = 'object'
    THEN j.${JOURNAL.conflictBase} END)`;

/**
 * Rows of production's as they were before, which rows of the batch find in their way though nobody owns them:
 * first their locks, then they go, and who is kept out with them is seen by nobody.
 */
export function evictStale(
  table: ApplyTable,
  uniques: readonly UniqueColumns[],
): readonly string[] {
  if (uniques.length === 0) return [];
  const journal = table.journal ?? '';
  const wanted = uniques.map((unique) => {
    const same = unique.columns.map(
      ({ column, equals }) => `t.${column.name} ${equals} s.${column.staged}`,
    );
    return `(${same.join(' AND ')})`;
  });
  const inTheWay = `EXISTS (SELECT FROM ${journal} j
      WHERE ${keysEqual(table, TABLE, JOURNALED)} AND ${IS_STALE})
    AND EXISTS (SELECT FROM ${stageRelation(table)} s WHERE s.op = 'f' AND NOT s.own
      AND (${wanted.join(' OR ')}) AND NOT (${keysEqual(table, TABLE, STAGED)}))`;
  const key = table.key.map(({ name }) => `t.${name}`).join(', ');
  return [
    `SELECT pg_catalog.count(*) FROM (SELECT FROM ${table.rows} t WHERE ${inTheWay}
      ORDER BY ${key} FOR UPDATE OF t) locked`,
    `WITH gone AS (DELETE FROM ${table.rows} t WHERE ${inTheWay} RETURNING ${key})
      UPDATE ${journal} j SET ${JOURNAL.blocked} = ${NO_ROW} FROM gone g
      WHERE ${table.key.map((c) => `j.${c.name} ${c.equals} g.${c.name}`).join(' AND ')}`,
  ];
}

/**
 * Stages rows that are kept out, as images to be written, `limit` at most: those of which no row can be found
 * that holds a value of theirs, but as it was before; and a few, by chance, of those of which that cannot be
 * told (`others`: how many). `schema`: those too that the schema refused.
 */
export function stageBlocked(
  table: ApplyTable,
  uniques: readonly UniqueColumns[],
  wanted: {
    readonly schema: boolean;
    readonly limit: number;
    readonly others: number;
  },
): string {
  const journal = table.journal ?? '';
  const free = uniques.map(
    (unique) => `NOT EXISTS (SELECT FROM ${table.rows} u WHERE ${holds(table, unique, 'j')}
      AND NOT EXISTS (SELECT FROM ${journal} o
        WHERE ${keysEqual(table, ['o', 'name'], ['u', 'name'])} AND o.${JOURNAL.blocked} = u.xmin))`,
  );
  const told = uniques.map(({ name, columns }) => {
    const set = columns.map(({ column }) => `j.${column.name} IS NOT NULL`);
    return `(j.${JOURNAL.detail} = ${escapeLiteral(name)} AND ${set.join(' AND ')})`;
  });
  const isTold = told.length === 0 ? 'false' : `COALESCE(${told.join(' OR ')}, false)`;
  const stage = stageRelation(table);
  const names = table.columns.map(({ name }, i) => `j.${name} AS i${String(i)}`).join(', ');
  const which = [
    isBlocked(table),
    ...(wanted.schema ? [] : [`j.${JOURNAL.refused} = 'multiple_unique'`]),
    ...free,
  ].join(' AND ');
  const part = (isLookedUp: string, limit: number): string =>
    `(SELECT ${names} FROM ${journal} j WHERE j.${JOURNAL.refused} IS NOT NULL AND ${which} AND ${isLookedUp}
      ${isLookedUp.startsWith('NOT') ? 'ORDER BY pg_catalog.random()' : ''} LIMIT ${String(limit)})`;
  return `INSERT INTO ${stage} (${table.columns.map(({ staged }) => staged).join(', ')},
      seq, op, own, seen, held, freed)
    SELECT ${table.columns.map((_, i) => `b.i${String(i)}`).join(', ')},
      COALESCE((SELECT pg_catalog.max(m.seq) FROM ${stage} m), 0)
        + (pg_catalog.row_number() OVER ())::int4, 'f', true, false, false, false
    FROM (${part(isTold, wanted.limit)} UNION ALL ${part(`NOT ${isTold}`, wanted.others)}) b`;
}

/** What could not be taken up, since somebody is at it. */
export function unstageOwned(table: ApplyTable): string {
  return `DELETE FROM ${stageRelation(table)} WHERE own`;
}

/** Production emptied the table: its rows that were kept out are no more. Nobody else writes meanwhile. */
export function dropBlocked(table: ApplyTable, within: string): readonly string[] {
  return [
    settleAll(table),
    `DELETE FROM ${table.rows} t USING ${table.journal ?? ''} j
      WHERE ${keysEqual(table, TABLE, JOURNALED)} AND j.${JOURNAL.blocked} IS NOT NULL
        AND ${inJournal(table, within)}`,
    `DELETE FROM ${table.journal ?? ''} j WHERE j.${JOURNAL.blocked} IS NOT NULL AND (${within})`,
  ];
}

/** `within` names columns without a table, of an entry. */
function inJournal(table: ApplyTable, within: string): string {
  if (within === 'true') return 'true';
  const same = keysEqual(table, ['w', 'name'], ['j', 'name']);
  return `EXISTS (SELECT FROM (SELECT * FROM ${table.journal ?? ''} WHERE ${within}) w WHERE ${same})`;
}
