/**
 * How a change of production's schema is carried into a shadow: by production's catalogue, and by what
 * the schema-change topic told of a column when it came to be. Of each change the first statement that is
 * not optional does it; the others may be run again.
 */
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { ToldAddition } from '../../../change/table-change.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import type { PlanStatement } from '../../../schema/shadow-plan.ts';
import { unreachable } from '../../../util/assert.ts';
import type { CarriedChange, ChangeFinding } from '../../evolving.ts';
import { planTable } from '../schema/plan-from-production.ts';
import { readTables } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import { quote, unescaped } from '../session/names.ts';
import {
  columnDefinition,
  defaultOf,
  hasForm,
  indexesOn,
  isNumbered,
  nullable,
  primaryKeyOf,
  setsLiteral,
  typeOf,
  type DefaultValue,
} from './defined.ts';

type Of<K extends SchemaChange['kind']> = Extract<SchemaChange, { kind: K }>;

/** `includes`: tables that take part. */
export async function findChange(
  client: Client,
  change: SchemaChange,
  includes: (table: TableId) => boolean,
): Promise<ChangeFinding> {
  const { table } = change;
  const alter = (what: string): string => `ALTER TABLE ${quote(table.name)} ${what}`;
  switch (change.kind) {
    case 'add':
      return findAdded(client, change, alter);
    case 'widen':
    case 'retype':
    case 'enumValue': {
      if (change.from.generated !== 'no' || change.to.generated !== 'no') {
        return untold('it is computed');
      }
      const found = await readColumn(client, table, change.to.name);
      if (found === null) return { kind: 'absent' };
      // Rows may have NULL still where production has none by now.
      const definition = change.from.nullable ? nullable(found.definition) : found.definition;
      const modify = alter(`MODIFY COLUMN ${quote(change.to.name)} ${definition}`);
      return carried(change, [modify], { prepares: found.prepares.map(alter) });
    }
    case 'drop':
      return carried(change, [alter(`DROP COLUMN ${quote(change.column.name)}`)]);
    case 'rename': {
      const names = [change.from.name, change.to.name].map((name) => quote(name)).join(' TO ');
      return carried(change, [alter(`RENAME COLUMN ${names}`)]);
    }
    case 'key':
      return findKey(client, change, alter);
    case 'newTable': {
      const made = await planTable(client, table, includes);
      return made === null ? { kind: 'absent' } : carried(change, [made.sql]);
    }
    case 'droppedTable':
      return carried(change, [`DROP TABLE ${quote(table.name)}`]);
    case 'renameTable':
      return carried(change, [`RENAME TABLE ${quote(change.from.name)} TO ${quote(table.name)}`]);
    default:
      return unreachable(change);
  }
}

async function findAdded(
  client: Client,
  change: Of<'add'>,
  alter: (what: string) => string,
): Promise<ChangeFinding> {
  const { table, column, told } = change;
  const found = await readColumn(client, table, column.name);
  if (found === null) return { kind: 'absent' };
  const name = quote(column.name);
  const add = (definition: string): string => alter(`ADD COLUMN ${name} ${definition}`);
  const around = { after: found.before, prepares: found.prepares.map(alter) };
  if (column.generated !== 'no') return carried(change, [add(found.definition)], around);
  if (isNumbered(found.definition)) return untold('production numbered the rows that were there');
  if (told === undefined) {
    return untold('the schema-change topic does not tell what rows that were there have in it');
  }
  const now = defaultOf(found.definition);
  if (now.kind === 'computed' || !setsLiteral(told.ddl, column.name)) {
    return untold('rows that were there have a computed value each');
  }
  const made = asItWasAdded(told, now, found.definition);
  const first = made?.[0]?.definition ?? '';
  const beside = (relation: string): readonly string[] => [
    `ALTER TABLE ${relation} ADD COLUMN ${name} ${first}`,
  ];
  if (made === null) return untold('rows that were there have a default that is spelled unclearly');
  return carried(
    change,
    made.map((one) =>
      one.kind === 'add' ? add(one.definition) : alter(`MODIFY COLUMN ${name} ${one.definition}`),
    ),
    { ...around, beside },
  );
}

interface Definition {
  readonly kind: 'add' | 'modify';
  readonly definition: string;
}

/** So that rows that are there have what the column had for them when it was added; null if unclear. */
function asItWasAdded(
  { column }: ToldAddition,
  now: DefaultValue,
  definition: string,
): readonly Definition[] | null {
  const isNullable = nullable(definition) === definition;
  const loose = column.nullable ? nullable(definition) : definition;
  const old = column.default;
  // The connector tells of a text as the statement spelled it, with its escapes.
  const same = now.text === old || (old !== null && now.text === unescaped(old));
  if (same && (column.nullable || !isNullable)) return [{ kind: 'add', definition: loose }];
  const type = typeOf(definition);
  if (old !== null && (/['\\]/.test(old) || /^(bit|binary|varbinary)\b/.test(type))) return null;
  const value = old === null ? '' : ` DEFAULT '${old}'`;
  return [
    { kind: 'add', definition: `${type}${column.nullable ? ' NULL' : ' NOT NULL'}${value}` },
    { kind: 'modify', definition: loose },
  ];
}

async function findKey(
  client: Client,
  change: Of<'key'>,
  alter: (what: string) => string,
): Promise<ChangeFinding> {
  const { table, primary } = change;
  const text = await readDefinition(client, table);
  if (text === null) return { kind: 'absent' };
  const key = primaryKeyOf(text);
  if (key === null && !primary) return untold('it is of a unique index');
  const parts = [...(primary ? ['DROP PRIMARY KEY'] : []), ...(key === null ? [] : [`ADD ${key}`])];
  // A column that is numbered must be the first of some index at any time.
  const indexes = indexesOn(text).map((index) => alter(`ADD ${index}`));
  return {
    kind: 'carried',
    carried: {
      change,
      statements: [
        ...indexes.map((sql) => statement(table, sql, true)),
        statement(table, alter(parts.join(', ')), false),
      ],
      beside: () => [],
    },
  };
}

interface FoundColumn {
  readonly definition: string;
  /** What the table's definition must be for that to mean the same, as parts of an ALTER TABLE. */
  readonly prepares: readonly string[];
  /** The columns before it, in order. */
  readonly before: readonly string[];
}

/** Null if production has not this column any more. */
async function readColumn(
  client: Client,
  table: TableId,
  column: string,
): Promise<FoundColumn | null> {
  const text = await readDefinition(client, table);
  const definition = text === null ? null : columnDefinition(text, column);
  if (definition === null) return null;
  const { catalogue, textForms } = await readTables(client, table.schema, table.schema);
  const label = tableName(table);
  const names = catalogue.get(label)?.columns.map(({ name }) => name) ?? [];
  const form = textForms.get(label)?.get(column);
  const isOfTable = form !== undefined && !hasForm(definition);
  return {
    definition,
    prepares: isOfTable ? [`DEFAULT CHARACTER SET ${form.charset} COLLATE ${form.collation}`] : [],
    before: names.slice(0, Math.max(0, names.indexOf(column))),
  };
}

/** As SHOW CREATE prints it; null if there is no such table. */
async function readDefinition(client: Client, table: TableId): Promise<string | null> {
  try {
    const row = await client.row<Record<string, string>>(
      `SHOW CREATE TABLE ${quote(table.schema, table.name)}`,
    );
    const text = row['Create Table'];
    if (text === undefined) throw new UnderstudyError('INTERNAL', 'a table has no definition');
    return text;
  } catch (error) {
    if (hasErrno(error, ERRNO.noSuchTable, ERRNO.unknownDatabase)) return null;
    throw error;
  }
}

function statement(table: TableId, sql: string, optional: boolean): PlanStatement {
  return { sql, what: `table ${tableName(table)}`, optional };
}

function carried(
  change: SchemaChange,
  made: readonly string[],
  around: {
    readonly after?: readonly string[];
    readonly prepares?: readonly string[];
    readonly beside?: CarriedChange['beside'];
  } = {},
): ChangeFinding {
  const { after, prepares = [], beside = () => [] } = around;
  const statements = [
    ...prepares.map((sql) => statement(change.table, sql, true)),
    ...made.map((sql) => statement(change.table, sql, false)),
  ];
  const placed = after === undefined ? {} : { after };
  return { kind: 'carried', carried: { change, statements, beside, ...placed } };
}

function untold(why: string): ChangeFinding {
  return { kind: 'untold', why };
}
