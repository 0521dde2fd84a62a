/** Deciding of rows that refer to none, see orphans.ts. */
import { tableName } from '../../../change/table-id.ts';
import type { Side } from '../../../overlay/conflict.ts';
import type { OverlayConflict, ResolvedRows, RowSelection } from '../../overlay.ts';
import { accepting, decideOrphans } from '../../sql/orphan-decisions.ts';
import type { ApplySession } from '../apply/apply.ts';
import type { OverlaidTable } from '../apply/overlaid-table.ts';
import { NOW_US } from '../session/clock.ts';
import { JOURNAL } from '../session/names.ts';
import { passedBy } from '../shadow/passed.ts';
import type { Edge } from './edges.ts';
import { acceptedIn, readOrphans, referenceName, refersTo } from './orphans.ts';
import type { MySqlPairs } from './pairs.ts';
import { putBack } from './put-back.ts';
import { selectionCondition } from './read.ts';
import { writeAllWaiting } from './write-waiting.ts';

/** In the caller's transaction. Errors: USAGE, TABLE_UNKNOWN, APPLY_BLOCKED. */
export async function resolveOrphans(
  session: ApplySession,
  pairs: MySqlPairs,
  only: RowSelection,
  side: Side,
): Promise<ResolvedRows> {
  const { client, database } = session;
  const tables = [...session.captured.values()];
  return decideOrphans(
    {
      read: (limit) => readOrphans(client, database, { tables, pairs }, { limit, only }),
      accept: async (orphans) => {
        for (const orphan of orphans) await accept(session, orphan);
      },
      putBack: (orphans) => giveBack(session, orphans),
    },
    tables,
    only,
    side,
  );
}

function captured(session: ApplySession, label: string): OverlaidTable {
  const found = session.captured.get(label);
  if (found === undefined) throw new Error(`no table ${label} is captured`);
  return found;
}

async function accept(session: ApplySession, orphan: OverlayConflict): Promise<void> {
  const { client } = session;
  const { companion } = captured(session, tableName(orphan.table));
  const { schema, name, reference, key, referring } = accepting(orphan);
  await client.run(
    `INSERT INTO ${acceptedIn(companion)} (table_schema, table_name, reference, row_key, referring)
      VALUES (?, ?, ?, ?, ?)`,
    [schema, name, reference, key, referring],
  );
  const firstAt = String(orphan.firstAt.getTime() * 1000);
  await client.run(
    `INSERT INTO ${companion}.outcome (table_schema, table_name, row_key, outcome, trace, first_at_us,
        decided_at_us, first_source, decided_source)
      SELECT ?, ?, ?, 'ours', ?, ${firstAt}, ${NOW_US}, ${passedBy(companion, firstAt)},
        (SELECT p.source FROM ${companion}.progress p)`,
    [schema, name, key, orphan.trace],
  );
}

/** Keys that one condition holds. */
const PART = 500;

/** The rows first; where production's refers to none either, what the candidate deleted. */
async function giveBack(session: ApplySession, orphans: readonly OverlayConflict[]): Promise<void> {
  const [first] = orphans;
  if (first === undefined) return;
  const child = captured(session, tableName(first.table));
  const edge = session.edges.find(
    (one) => one.child.label === child.label && referenceName(one) === first.detail,
  );
  const parent = edge === undefined ? undefined : session.captured.get(edge.parent.label);
  for (const table of [child, parent]) {
    if (table !== undefined) await writeAllWaiting(session, table);
  }
  for (let at = 0; at < orphans.length; at += PART) {
    const part = orphans.slice(at, at + PART);
    const of = (alias: string): string =>
      `(${part.map(({ key }) => selectionCondition(child, { key }, alias) ?? 'FALSE').join(' OR ')})`;
    await putBack(session, child, of, 'theirs');
    if (edge === undefined || parent === undefined || parent.isolated) continue;
    await putBack(session, parent, (alias) => isMissed(edge, alias, of('c')), 'theirs');
  }
}

/** An entry of the parent, as `alias`, whose row such a row of the child refers to, and which is not there. */
function isMissed({ child, parent, reference }: Edge, alias: string, which: string): string {
  const refers = (to: string): string => refersTo(reference, to);
  return `${alias}.${JOURNAL.present} = 1 AND EXISTS (SELECT 1 FROM ${child.relation} c
    WHERE ${which} AND ${refers(alias)}
      AND NOT EXISTS (SELECT 1 FROM ${parent.relation} p WHERE ${refers('p')}))`;
}
