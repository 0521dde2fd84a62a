/**
 * The triggers that capture what a candidate writes. They fire after the row is written: what is there
 * then is final, and what a statement leaves out (INSERT IGNORE, DELETE IGNORE) fires nothing; but that
 * MariaDB fires for a row whose update was refused (UPDATE IGNORE). Should they fail, the candidate's
 * statement does.
 */
import { sameImage, sameValue } from './images.ts';
import { absentColumns, imageColumns, KEEPING, TRACE, type CapturedTable } from './journal.ts';

export type CaptureEvent = 'INSERT' | 'UPDATE' | 'DELETE';

/**
 * The body of a trigger. `unless`: holds for all but who applies. A condition that asks a table stands
 * alone: the servers open its tables before they evaluate what stands beside it, which costs a sixth.
 */
export function captureBody(table: CapturedTable, event: CaptureEvent, unless: string): string {
  switch (event) {
    case 'INSERT':
      return `IF ${unless} THEN ${absent(table)}; END IF`;
    case 'DELETE':
      return `IF ${unless} THEN ${image(table)}; END IF`;
    case 'UPDATE':
      return `IF ${unless} AND NOT ${sameImage(table.columns, 'OLD', 'NEW')} THEN
        ${image(table)};
        IF NOT (${table.key.map((column) => sameKey(column)).join(' AND ')}) THEN
          IF NOT EXISTS (${unmoved(table)}) THEN ${absent(table)}; END IF;
        END IF;
      END IF`;
  }
}

/** As the journal's key compares them: two spellings may be one. */
function sameKey(column: CapturedTable['key'][number]): string {
  return column.schema.type.kind === 'timestamptz'
    ? sameValue(column, 'OLD', 'NEW')
    : `OLD.${column.name} <=> NEW.${column.name}`;
}

/** The row where it was: it was not moved, and what has the other key is as it was, production's perhaps. */
function unmoved({ key, keyHint, relation }: CapturedTable): string {
  const is = key.map(({ name }) => `x.${name} = OLD.${name}`).join(' AND ');
  return `SELECT 1 FROM ${relation} x ${keyHint} WHERE ${is} LOCK IN SHARE MODE`;
}

function absent(table: CapturedTable): string {
  const values = table.key.map(({ name }) => `NEW.${name}`);
  return `INSERT INTO ${table.journal} (${absentColumns(table)})
    VALUES (${values.join(', ')}, 0, ${TRACE}) ${KEEPING}`;
}

function image(table: CapturedTable): string {
  const values = table.columns.map(({ name }) => `OLD.${name}`);
  return `INSERT INTO ${table.journal} (${imageColumns(table)})
    VALUES (${values.join(', ')}, 1, ${TRACE}) ${KEEPING}`;
}
