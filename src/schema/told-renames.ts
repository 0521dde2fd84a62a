/** Tables that got another name, as a statement tells it that a connector passes on. */
import type { SchemaChangeRecord } from '../change/table-change.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import { plainStatement } from './plain-statement.ts';
import type { TableRename } from './table-renames.ts';

const NAME = String.raw`(?:\x60(?:[^\x60]|\x60\x60)+\x60|"(?:[^"]|"")+"|[\w$\u0080-\uffff]+)`;
const TABLE = String.raw`${NAME}(?:\s*\.\s*${NAME})?`;
/** MariaDB's, behind a table. */
const WAITS = String.raw`(?:\s+(?:wait\s+\d+|nowait))?`;
const EXISTS = String.raw`(?:if\s+exists\s+)?`;

const PAIR = new RegExp(
  String.raw`^\s*${EXISTS}(${TABLE})${WAITS}\s+to\s+(${TABLE})\s*;?\s*$`,
  'i',
);
const RENAME = new RegExp(String.raw`^\s*rename\s+tables?\s+([^]*)$`, 'i');
const ALTER = new RegExp(
  String.raw`^\s*alter\s+(?:online\s+)?(?:ignore\s+)?table\s+${EXISTS}(${TABLE})${WAITS}\s*([^]*)$`,
  'i',
);
/** Not of a column, an index or a key; such a name would be quoted. */
const TO = new RegExp(
  String.raw`(?:^|,)\s*rename\s*(?:(?:to\b|as\b|=)\s*|\s)(?!(?:column|index|key)\s)(${TABLE})\s*(?=,|;|$|partition\b|remove\b)`,
  'i',
);

/** In the order in which they were done. What the shadow follows of it is not looked at. */
export function toldRenames(record: SchemaChangeRecord): readonly TableRename[] {
  const { at, snapshot, source: until, tables } = record;
  if (snapshot) return [];
  const database = record.database ?? tables[0]?.table.schema ?? '';
  // Of a name that lasts for a moment within the statement no table is told.
  const isTold = (to: TableId): boolean =>
    tables.length === 0 ||
    tables.some(({ kind, table }) => kind === 'altered' && tableName(table) === tableName(to));
  return renamedIn(plainStatement(record.ddl), database)
    .filter(({ to }) => isTold(to))
    .map((pair) => ({ ...pair, until, turn: at.offset }));
}

interface Pair {
  readonly from: TableId;
  readonly to: TableId;
}

function renamedIn(ddl: string, database: string): readonly Pair[] {
  const list = RENAME.exec(ddl)?.[1] ?? (PAIR.test(ddl) ? ddl : null);
  if (list !== null) {
    return splitList(list).flatMap((part) => {
      const [, from, to] = PAIR.exec(part) ?? [];
      return from === undefined || to === undefined
        ? []
        : [{ from: idOf(from, database), to: idOf(to, database) }];
    });
  }
  const [, from, rest] = ALTER.exec(ddl) ?? [];
  const to = rest === undefined ? undefined : TO.exec(rest)?.[1];
  if (from === undefined || to === undefined) return [];
  const pair = { from: idOf(from, database), to: idOf(to, idOf(from, database).schema) };
  return tableName(pair.from) === tableName(pair.to) ? [] : [pair];
}

/** By commas that stand in no quotes. */
function splitList(text: string): readonly string[] {
  return text.match(/(?:\x60(?:[^\x60]|\x60\x60)*\x60|"(?:[^"]|"")*"|[^,\x60"])+/g) ?? [];
}

function idOf(text: string, database: string): TableId {
  const parts = Array.from(text.matchAll(new RegExp(NAME, 'gu')), ([part]) => unquoted(part));
  const [first = '', second] = parts;
  return second === undefined ? { schema: database, name: first } : { schema: first, name: second };
}

function unquoted(name: string): string {
  const [mark = ''] = name;
  if (mark !== '`' && mark !== '"') return name;
  return name.slice(1, -1).replaceAll(mark + mark, mark);
}
