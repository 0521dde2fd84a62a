/**
 * Rows of a rollout that refer to none: production deleted what a row of the candidate's refers to, or the
 * candidate what a row of production's does. Who applies checks no foreign key, and neither side did wrong.
 * Only a row with an entry, or a parent with one that is gone, can be at an end of such a reference.
 */
import type { OverlayConflict, RowSelection } from '../../overlay.ts';
import { Accepted, type AcceptedOrphan, type forgottenBy } from '../../sql/orphan-decisions.ts';
import { selectTables } from '../../sql/overlay-rows.ts';
import type { KeyReference } from '../catalogue/catalogue.ts';
import { exactText } from '../compare/exact-text.ts';
import type { Client } from '../session/client.ts';
import { momentUs } from '../session/clock.ts';
import { companionName, JOURNAL, quote } from '../session/names.ts';
import { passedBy } from '../shadow/passed.ts';
import { readEdges, type Edge } from './edges.ts';
import { traceText } from './journal.ts';
import type { MySqlPairs, PairedTables } from './pairs.ts';
import { selectionCondition, type Listing } from './read.ts';

type Found = Readonly<Record<string, string | number | null>>;

/** As `fk_orphan`, of each foreign key at most `limit`; a row once for each. Errors: USAGE, TABLE_UNKNOWN. */
export async function readOrphans(
  client: Client,
  database: string,
  { tables, pairs }: PairedTables,
  { limit, only = {} }: Listing,
): Promise<readonly OverlayConflict[]> {
  const found: OverlayConflict[] = [];
  const accepted = await readAccepted(client, database);
  const selected = selectTables(tables, only);
  for (const edge of await readEdges(client, database, tables)) {
    if (!selected.some(({ label }) => label === edge.child.label)) continue;
    const sql = orphansOf(edge, { only, limit: limit + accepted.size, pairs });
    if (sql === null) continue;
    // A row may be reached by its own entry and by its parent's.
    const rows = new Map<string, OverlayConflict>();
    for (const row of await client.rows<Found>(sql)) {
      const conflict = toConflict(edge, row);
      const key = JSON.stringify(conflict.key);
      if (!rows.has(key) && !accepted.has(conflict)) rows.set(key, conflict);
    }
    found.push(...[...rows.values()].slice(0, limit));
  }
  return found;
}

/** Those that stay as they are, see sql/orphan-decisions.ts. */
export const acceptedIn = (companion: string): string => `${companion}.accepted_orphan`;

async function readAccepted(client: Client, database: string): Promise<Accepted> {
  return new Accepted(
    await client.rows<AcceptedOrphan>(
      `SELECT table_schema AS \`schema\`, table_name AS name, reference, row_key AS \`key\`, referring
        FROM ${acceptedIn(quote(companionName(database)))}`,
    ),
  );
}

export async function forgetAccepted(
  client: Client,
  database: string,
  forgotten: ReturnType<typeof forgottenBy>,
): Promise<void> {
  const accepted = acceptedIn(quote(companionName(database)));
  for (const { table, key } of forgotten) {
    await client.run(
      `DELETE FROM ${accepted} WHERE table_schema = ? AND table_name = ? ${key === null ? '' : 'AND row_key = ?'}`,
      [table.schema, table.name, ...(key === null ? [] : [key])],
    );
  }
}

/** What the foreign key is called; null if its table does not tell. */
export function referenceName({
  child,
  reference,
}: Pick<Edge, 'child' | 'reference'>): string | null {
  const found = child.schema.foreignKeys.find(
    ({ columns, references }) =>
      references.name === reference.references &&
      columns.join('\0') === reference.columns.join('\0'),
  );
  return found?.name ?? null;
}

/** Of a row `c`: what it refers to, as `alias`. */
export function refersTo({ columns, referencedColumns }: KeyReference, alias: string): string {
  return columns
    .map((name, i) => `${alias}.${quote(referencedColumns[i] ?? '')} = c.${quote(name)}`)
    .join(' AND ');
}

/** Null if no row can have the key. */
function orphansOf(
  edge: Edge,
  { only, limit, pairs }: { only: RowSelection; limit: number; pairs: MySqlPairs },
): string | null {
  const { child, parent, reference, childAccess, parentAccess } = edge;
  // A trace is an entry's, of the row or of what it refers to.
  const { key, trace } = only;
  const keyed = selectionCondition(child, key === undefined ? {} : { key }, 'c');
  if (keyed === null) return null;
  const traced = selectionCondition(child, trace === undefined ? {} : { trace }, 'e') ?? 'TRUE';
  const refers = (alias: string): string => refersTo(reference, alias);
  const twin = pairs.refersToTwin(child, reference.columns, 'c');
  const set = reference.columns.map((name) => `c.${quote(name)} IS NOT NULL`);
  const wanted = [
    ...set,
    `NOT EXISTS (SELECT 1 FROM ${parent.relation} p ${parentAccess.hint} WHERE ${refers('p')})`,
    // Under another key the candidate has what it refers to.
    ...(twin === null ? [] : [`NOT ${twin}`]),
    ...[keyed, traced],
  ].join(' AND ');
  const texts = [
    ...child.key.map((one, i) => `${exactText(`c.${one.name}`, one.schema)} AS k${String(i)}`),
    ...reference.columns.map((name, i) => {
      const column = child.schema.columns.find((one) => one.name === name);
      const of = `c.${quote(name)}`;
      return `${column === undefined ? of : exactText(of, column)} AS r${String(i)}`;
    }),
    `UNIX_TIMESTAMP(e.${JOURNAL.at}) * 1000 AS at, ${traceText('e')} AS trace`,
    `${passedBy(child.companion, momentUs(`e.${JOURNAL.at}`))} AS firstSource`,
  ].join(', ');
  const same = child.key.map(({ name }) => `c.${name} = e.${name}`).join(' AND ');
  const owned = `SELECT ${texts} FROM ${child.journal} e
    STRAIGHT_JOIN ${child.relation} c ${child.keyHint} ON ${same} WHERE ${wanted}`;
  const gone = `SELECT ${texts} FROM ${parent.journal} e
    STRAIGHT_JOIN ${child.relation} c ${childAccess.hint} ON ${refers('e')}
    WHERE e.${JOURNAL.present} = 1 AND ${wanted}`;
  const order = child.key.map((_, i) => `k${String(i)}`).join(', ');
  return `${pairs.with(child)}SELECT * FROM ((${owned}) UNION ALL (${gone})) o ORDER BY ${order}, at
    LIMIT ${String(2 * limit)}`;
}

function toConflict({ child, reference }: Edge, row: Found): OverlayConflict {
  const at = new Date(Number(row['at']));
  const text = (name: string): string | null => {
    const value = row[name] ?? null;
    return value === null ? null : String(value);
  };
  return {
    ...{ table: child.schema.id, key: child.key.map((_, i) => text(`k${String(i)}`) ?? '') },
    ...{ kind: 'fk_orphan', detail: referenceName({ child, reference }) },
    columns: reference.columns.map((column, i) => ({
      ...{ column, base: null, production: null },
      candidate: text(`r${String(i)}`),
    })),
    ...{ firstAt: at, at, trace: text('trace'), firstSource: text('firstSource'), source: null },
  };
}
