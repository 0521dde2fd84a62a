/** How a change of production's schema is carried into a shadow, by production's catalogue. */
import { escapeIdentifier, escapeLiteral, type ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import type { PlanStatement, ShadowPlan } from '../../../schema/shadow-plan.ts';
import type { ColumnType } from '../../../schema/table-schema.ts';
import { sameType } from '../../../schema/type-width.ts';
import { unreachable } from '../../../util/assert.ts';
import type { ChangeFinding } from '../../evolving.ts';
import { planFromProduction } from '../schema/plan-from-production.ts';
import { relation } from '../session/names.ts';
import { addColumn, addedColumn, readAddedColumn, spelledType } from './added-column.ts';

/** Words that every server reads alike, and names that no search path shortens. */
const SPELLING = `SET search_path = ''; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = postgres;
  SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = hex; SET lc_monetary = 'C'`;

/** Changes settings of the session, which must be idle. `includes`: tables that take part. */
export async function findChange(
  client: ClientBase,
  change: SchemaChange,
  includes: (table: TableId) => boolean,
): Promise<ChangeFinding> {
  await client.query(SPELLING);
  switch (change.kind) {
    case 'add':
      return findAdded(client, change);
    case 'widen':
    case 'retype':
      return findWidened(client, change);
    case 'enumValue':
      return carried(change, labelStatements(change), () => []);
    case 'drop':
      return renamedOrGone(change, `DROP COLUMN ${escapeIdentifier(change.column.name)}`);
    case 'rename': {
      const { from, to } = change;
      const names = [from.name, to.name].map((name) => escapeIdentifier(name)).join(' TO ');
      return renamedOrGone(change, `RENAME COLUMN ${names}`);
    }
    case 'newTable': {
      const plan = await planFromProduction(client, includes);
      const statements = statementsOf(plan, change.table);
      return statements.length === 0 ? { kind: 'absent' } : carried(change, statements, () => []);
    }
    case 'key':
      return findKey(client, change);
    case 'droppedTable':
      return carried(
        change,
        statements(change.table, [`DROP TABLE ${relation(change.table)}`]),
        () => [],
      );
    case 'renameTable': {
      const { from, table } = change;
      const moved = { schema: table.schema, name: from.name };
      const alter = (what: string, on: TableId): string => `ALTER TABLE ${relation(on)} ${what}`;
      const moves = [
        `CREATE SCHEMA IF NOT EXISTS ${escapeIdentifier(table.schema)}`,
        alter(`SET SCHEMA ${escapeIdentifier(table.schema)}`, from),
      ];
      return carried(
        change,
        statements(from, [
          ...(from.schema === table.schema ? [] : moves),
          ...(from.name === table.name
            ? []
            : [alter(`RENAME TO ${escapeIdentifier(table.name)}`, moved)]),
        ]),
        () => [],
      );
    }
    default:
      return unreachable(change);
  }
}

type Of<K extends SchemaChange['kind']> = Extract<SchemaChange, { kind: K }>;

async function findAdded(client: ClientBase, change: Of<'add'>): Promise<ChangeFinding> {
  const { table, column } = change;
  const found = await readAddedColumn(client, table, column.name);
  if (found === null) return { kind: 'absent' };
  const finding = addedColumn(found);
  if (finding.kind === 'untold') return finding;
  const { old } = finding;
  const { domainOf } = column.type;
  // No constraint, and the type beneath a domain: it holds rows that are not there, too.
  const plain = { ...found, notNull: false, newRows: null, type: domainOf ?? found.type };
  return carried(
    change,
    statements(table, addColumn(relation(table), column.name, { found, old })),
    (beside) => addColumn(beside, column.name, { found: plain, old }),
  );
}

async function findWidened(
  client: ClientBase,
  change: Of<'widen' | 'retype'>,
): Promise<ChangeFinding> {
  const { table, from, to } = change;
  const found = await readAddedColumn(client, table, to.name);
  if (found === null) return { kind: 'absent' };
  if (from.generated !== 'no' || to.generated !== 'no') return untold('it is computed');
  const name = escapeIdentifier(to.name);
  const type = spelledType(found);
  const alter = (on: string, what: string): string =>
    `ALTER TABLE ${on} ALTER COLUMN ${name} ${what}`;
  const retyped = (on: string, as: string): readonly string[] =>
    sameType(from.type, to.type) ? [] : [alter(on, `TYPE ${as} USING ${name}::${as}`)];
  const loosened = to.nullable && !from.nullable ? [alter(relation(table), 'DROP NOT NULL')] : [];
  return carried(
    change,
    statements(table, [...retyped(relation(table), type), ...loosened]),
    (beside) => retyped(beside, to.type.domainOf ?? type),
  );
}

/** The primary key of before has the name that it was made with. */
async function findKey(client: ClientBase, change: Of<'key'>): Promise<ChangeFinding> {
  const { table, primary, to } = change;
  const { rows } = await client.query<{ name: string; sql: string }>(
    `SELECT c.conname AS name, pg_catalog.pg_get_constraintdef(c.oid) AS sql
      FROM pg_catalog.pg_constraint c WHERE c.contype = 'p' AND c.conrelid = pg_catalog.to_regclass($1)`,
    [relation(table)],
  );
  const [made] = rows;
  if (made === undefined) return untold(`(${to.join(', ')}) are of a unique index`);
  const drop = `DO $do$ DECLARE was name; BEGIN
    SELECT conname INTO was FROM pg_catalog.pg_constraint
      WHERE contype = 'p' AND conrelid = ${escapeLiteral(relation(table))}::pg_catalog.regclass;
    EXECUTE pg_catalog.format('ALTER TABLE ${relation(table).replaceAll('%', '%%').replaceAll("'", "''")} DROP CONSTRAINT %I', was);
    END $do$`;
  const add = `ALTER TABLE ${relation(table)} ADD CONSTRAINT ${escapeIdentifier(made.name)} ${made.sql}`;
  return carried(change, statements(table, [...(primary ? [drop] : []), add]), () => []);
}

function labelStatements({ table, to, labels }: Of<'enumValue'>): readonly PlanStatement[] {
  const type = enumOf(to.type);
  return statements(
    table,
    labels.map(({ label, before }) => {
      const place = before === null ? '' : ` BEFORE ${escapeLiteral(before)}`;
      return `ALTER TYPE ${type} ADD VALUE IF NOT EXISTS ${escapeLiteral(label)}${place}`;
    }),
  );
}

/** The enum beneath a column's array or domain, as the server writes it. */
function enumOf(type: ColumnType): string {
  const { element } = type;
  if (element !== undefined) return enumOf(element);
  return type.domainOf ?? type.sql;
}

function renamedOrGone(change: Of<'drop' | 'rename'>, what: string): ChangeFinding {
  const alter = (on: string): string => `ALTER TABLE ${on} ${what}`;
  const { table } = change;
  return carried(change, statements(table, [alter(relation(table))]), (beside) => [alter(beside)]);
}

/**
 * Of the plan of all tables, what makes one of them: with all that it needs, and all that needs it. Of
 * another table it needs at most all: half of one (a table that a foreign key comes from, without its own
 * key) would pass for made. What ties it to one that is not here yet is made with that one.
 */
function statementsOf(plan: ShadowPlan, table: TableId): readonly PlanStatement[] {
  const what = `table ${tableName(table)}`;
  const needs = Map.groupBy(plan.statements, (statement) => statement.what);
  if (!needs.has(what)) return [];
  const needsOf = (name: string): readonly string[] =>
    (needs.get(name) ?? []).flatMap((one) => one.needs ?? []);
  const wanted = new Set<string>();
  const whole = new Set<string>();
  const want = (name: string): void => {
    if (wanted.has(name)) return;
    wanted.add(name);
    if (name.startsWith(TABLE)) whole.add(name);
    for (const need of needsOf(name)) want(need);
  };
  const isOfOther = (name: string): boolean =>
    !wanted.has(name) && (name.startsWith(TABLE) || needsOf(name).some(isOfOther));
  want(what);
  for (const { what: one, needs: its } of plan.statements) {
    if (its?.some((name) => whole.has(name)) !== true) continue;
    // Partitions come with their table.
    if (one.startsWith(TABLE)) want(one);
    wanted.add(one);
    whole.add(one);
    for (const need of its) if (!isOfOther(need)) want(need);
  }
  return plan.statements.filter(
    (statement) => statement.what === 'settings' || wanted.has(statement.what),
  );
}

const TABLE = 'table ';

function statements(table: TableId, sql: readonly string[]): readonly PlanStatement[] {
  return sql.map((one) => ({ sql: one, what: `table ${tableName(table)}`, optional: false }));
}

function carried(
  change: SchemaChange,
  made: readonly PlanStatement[],
  beside: (relation: string) => readonly string[],
): ChangeFinding {
  return { kind: 'carried', carried: { change, statements: made, beside } };
}

function untold(why: string): ChangeFinding {
  return { kind: 'untold', why };
}
