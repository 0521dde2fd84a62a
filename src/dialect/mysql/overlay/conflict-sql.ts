/**
 * Conflicts, as overlay/conflict.ts names them, for whole batches: over a staged change `s`, the entry `j` whose
 * image is about to be moved, and the row `t` that the candidate sees, which is NULL where there is none. What
 * the candidate changed is told by the ancestor: production's image from before it first moved beside the
 * candidate's, which the entry keeps as texts.
 */
import type { ConflictKind } from '../../../overlay/conflict.ts';
import { columnPolicy, type ColumnPolicy } from '../../../overlay/policy.ts';
import type { ApplyColumn } from '../apply/apply-table.ts';
import type { Masks } from '../apply/stage.ts';
import { besideEntry, joined, OWN } from '../apply/staged-rows.ts';
import { exactText, isLost } from '../compare/exact-text.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL, literal } from '../session/names.ts';
import { exactValue, sameImage, sameValue } from './images.ts';
import type { CapturedTable } from './journal.ts';

/** Kinds whose texts may be long. */
const LONG = new Set<string>(['text', 'char', 'bytes', 'json', 'geometry', 'vector']);
/** Bytes that one byte of a value may become in JSON. */
const ESCAPED = 12;

/**
 * Notes the conflicts that staged changes of rows of the candidate's make, before their images are moved.
 * `source`: where the log stands by then, as text. `unmerged`: rows that have a conflict already, for a policy
 * could not be followed.
 */
export async function noteConflicts(
  client: Client,
  table: CapturedTable,
  masks: Masks,
  { source, unmerged }: { readonly source: string | null; readonly unmerged: number },
): Promise<void> {
  let found = unmerged;
  // What the candidate came to since is no longer what it was when it was kept out, whatever comes now.
  await settleStaged(client, table);
  const groups: readonly (readonly [which: string, sent: readonly ApplyColumn[]])[] = [
    [`s.op IN ('f', 'd')`, table.columns],
    ...[...masks].map(
      ([number, mask]) =>
        [
          `s.op = 'q' AND s.mask = ${String(number)}`,
          table.columns.filter((_, i) => mask[i] === true),
        ] as const,
    ),
  ];
  for (const [which, sent] of groups) {
    const kind = conflictKind(table, sent);
    const { rows } = await client.run(
      `UPDATE ${joined(table, 'j', 'staged')} ${besideEntry(table)} SET s.conflict = ${kind}
        WHERE s.own = ${String(OWN.candidates)} AND ${which} AND ${kind} IS NOT NULL`,
    );
    found += rows;
  }
  const entries = joined(table, 'j', 'staged');
  await client.run(
    `UPDATE ${entries} SET j.${JOURNAL.conflictBase} = ${imageText(table, 'j')}
      WHERE s.own = ${String(OWN.candidates)} AND j.${JOURNAL.present} = 1
        AND j.${JOURNAL.moved} = 0 AND j.${JOURNAL.conflictBase} IS NULL`,
  );
  if (found === 0) return;
  // Moment and place are those of the first; the kind is that of the last.
  await client.run(
    `UPDATE ${entries}
      SET j.${JOURNAL.conflictAt} = CURRENT_TIMESTAMP(6), j.${JOURNAL.conflictSource} = ${orNull(source)}
      WHERE s.conflict IS NOT NULL AND j.${JOURNAL.conflict} IS NULL`,
  );
  await client.run(
    `UPDATE ${entries} SET j.${JOURNAL.conflict} = s.conflict WHERE s.conflict IS NOT NULL`,
  );
}

export function orNull(source: string | null): string {
  return source === null ? 'NULL' : literal(source);
}

/** NULL for none. `sent`: the columns that the changes bring. */
function conflictKind(table: CapturedTable, sent: readonly ApplyColumn[]): string {
  const gone = `t.${table.key[0]?.name ?? ''} IS NULL`;
  const staged = ({ staged: name, schema }: ApplyColumn): string => exactValue(`s.${name}`, schema);
  const of = (alias: 'j' | 't', { name, schema }: ApplyColumn): string =>
    exactValue(`${alias}.${name}`, schema);
  const isAs = (alias: 'j' | 't', column: ApplyColumn): string =>
    `${staged(column)} <=> ${of(alias, column)}`;
  const all = (alias: 'j' | 't'): string => sent.map((column) => isAs(alias, column)).join(' AND ');
  // Of a counter both changes count.
  const overlaps = sent
    .filter((column) => ruleOf(table, column) !== 'delta')
    .map(
      (column) =>
        `(NOT (${isAs('j', column)} OR ${isAs('t', column)}) AND ${isOurs(table, column)})`,
    );
  const kind = (is: ConflictKind): string => literal(is);
  return `CASE WHEN s.conflict IS NOT NULL THEN s.conflict
    WHEN j.${JOURNAL.present} = 0 THEN
      IF(s.op = 'd' OR ${gone} OR (${all('t')}), NULL, ${kind('insert_exists')})
    WHEN ${gone} THEN IF(s.op = 'd' OR (${all('j')}), NULL, ${kind('delete_updated')})
    WHEN ${sameImage(table.columns, 'j', 't')} THEN NULL
    WHEN s.op = 'd' THEN ${kind('update_deleted')}
    WHEN ${overlaps.join(' OR ')} THEN ${kind('update_differs')} END`;
}

/** What a policy says of a column: of the key, which is the row's identity, nothing. */
export function ruleOf({ key, policy }: CapturedTable, { schema }: ApplyColumn): ColumnPolicy {
  const isKey = key.some((column) => column.schema.name === schema.name);
  return isKey ? 'overlay-wins' : columnPolicy(policy, schema.name);
}

/**
 * The candidate changed the column. Where a policy merges it, what it did not change follows production, and
 * is as production's image has it; as it is where there is no ancestor.
 */
function isOurs(table: CapturedTable, column: ApplyColumn): string {
  const { schema } = column;
  const isNow = `NOT (${sameValue(column, 'j', 't')})`;
  if (ruleOf(table, column) !== 'overlay-wins') return isNow;
  return `IF(${ancestor(schema)} IS NULL, ${isNow}, ${isSince(column, 't')})`;
}

/** What an entry keeps of the ancestor's value, as JSON; NULL where nothing is kept. */
function ancestor({ name }: ApplyColumn['schema']): string {
  return `JSON_EXTRACT(j.${JOURNAL.conflictBase}, ${literal(`$.${JSON.stringify(name)}`)})`;
}

/** An entry's image, or its row, has another value than the ancestor that is kept. */
function isSince({ name, schema }: ApplyColumn, alias: 'j' | 't'): string {
  const was = ancestor(schema);
  const text = `IF(JSON_TYPE(${was}) = 'NULL', NULL, JSON_UNQUOTE(${was}))`;
  const bytes = (one: string): string => `CAST(${one} AS BINARY)`;
  const differs = `NOT (${bytes(exactText(`${alias}.${name}`, schema))} <=> ${bytes(text)})`;
  const lost = isLost(`${alias}.${name}`, schema);
  return lost === null ? differs : `(${differs} OR ${lost})`;
}

const OF_KEPT_OUT = (['multiple_unique', 'schema'] as const satisfies readonly ConflictKind[])
  .map(literal)
  .join(', ');

/** Of an entry of a row that was kept out, and that the candidate came to since: its kind is to be told anew. */
export const IS_UNSETTLED = `(j.${JOURNAL.blocked} IS NULL AND j.${JOURNAL.conflict} IN (${OF_KEPT_OUT}))`;

/** Tells it, of staged keys that the candidate owns, whose rows and entries are locked. */
export async function settleStaged(client: Client, table: CapturedTable): Promise<void> {
  await client.run(
    `UPDATE ${joined(table, 'j', 'staged')} ${besideEntry(table)}
      SET j.${JOURNAL.conflict} = ${settledKind(table)}
      WHERE s.own = ${String(OWN.candidates)} AND ${IS_UNSETTLED}`,
  );
}

/** What kind such an entry, `j`, is of now, beside the row `t`; NULL for none. */
function settledKind(table: CapturedTable): string {
  const both = table.columns.map(
    (column) =>
      `(NOT (${sameValue(column, 'j', 't')}) AND ${isSince(column, 'j')} AND ${isSince(column, 't')})`,
  );
  const kind = (is: ConflictKind): string => literal(is);
  return `CASE WHEN j.${JOURNAL.present} = 0 THEN NULL
    WHEN t.${table.key[0]?.name ?? ''} IS NULL THEN ${kind('delete_updated')}
    WHEN j.${JOURNAL.conflictBase} IS NULL
      THEN IF(${sameImage(table.columns, 'j', 't')}, NULL, ${kind('insert_exists')})
    WHEN ${both.join(' OR ')} THEN ${kind('update_differs')} END`;
}

/** An entry's image, or a row, as texts by column, in JSON; NULL if there is none, or one longer than a text may be. */
export function imageText(
  { columns }: CapturedTable,
  alias: 'j' | 't',
  isThere = `${alias}.${JOURNAL.present} = 1`,
): string {
  const pairs = columns.map(
    ({ name, schema }) => `${literal(schema.name)}, ${exactText(`${alias}.${name}`, schema)}`,
  );
  const long = columns
    .filter(({ schema }) => LONG.has(schema.type.kind))
    .map(({ name }) => `COALESCE(OCTET_LENGTH(${alias}.${name}), 0)`);
  const isShort =
    long.length === 0
      ? ''
      : `AND (${long.join(' + ')}) * ${String(ESCAPED)} < @@SESSION.max_allowed_packet`;
  return `IF(${isThere} ${isShort}, JSON_OBJECT(${pairs.join(', ')}), NULL)`;
}
