/**
 * Tables to which a candidate's migrations gave another shape than production's. Production's image of such a
 * table is whole in a table of ours, in production's own shape (it is kept), and what the candidate
 * sees gets of production's changes what there is a column for.
 *
 * Events, and whoever compares with production, know a table as it is kept: what the candidate made of it
 * is no change of production's schema.
 */
import { tableName, type TableId } from '../../change/table-id.ts';
import { UNAVAILABLE, UNSURE, RowShape, type RowImage } from '../../change/value.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import { assertMergeable, type PolicyOf, type TablePolicy } from '../../overlay/policy.ts';
import type { BatchStep, NetChange, ParentChange } from '../../order/change-batch.ts';
import { describeChange, type SchemaChange } from '../../schema/schema-change.ts';
import {
  writableColumns,
  type SchemaCatalogue,
  type TableSchema,
} from '../../schema/table-schema.ts';
import { unreachable } from '../../util/assert.ts';
import type { ReshapedTable } from '../migrating.ts';
import type { Isolates, ReadOnly } from '../overlay.ts';

/** A table as production has it, beside what the candidate made of it. */
export interface Reshaped {
  /** Production's. */
  readonly schema: TableSchema;
  /** Null: it is gone, or has another key. */
  readonly visible: TableId | null;
  /** Columns of production's to those of the candidate; null where there is none. */
  readonly columns: ReadonlyMap<string, string | null>;
  /** Of a partitioned table, as production has it: tables that its changes may be told of. */
  readonly partitions: readonly TableSchema[];
}

/** What a rollout's registry holds of its migrations. */
export interface Reshapes {
  /** By `tableName()` of production's tables. */
  readonly tables: ReadonlyMap<string, Reshaped>;
  /** Names, by `tableName()`, of tables that only the candidate has. */
  readonly own: ReadonlySet<string>;
}

export const NO_RESHAPES: Reshapes = { tables: new Map(), own: new Set() };

/** As it is stored. */
interface StoredReshaped {
  readonly schema: TableSchema;
  readonly visible: TableId | null;
  readonly columns: readonly (readonly [string, string | null])[];
  readonly partitions: readonly TableSchema[];
}

export function reshapedText({ schema, visible, columns, partitions }: Reshaped): string {
  const { former: _, names: __, ...plain } = schema;
  const stored: StoredReshaped = { schema: plain, visible, columns: [...columns], partitions };
  return JSON.stringify(stored);
}

export function parseReshaped(text: string): Reshaped {
  const { columns, ...rest } = JSON.parse(text) as StoredReshaped;
  return { ...rest, columns: new Map(columns) };
}

/** The tables as production has them, of those that a rollout has. */
export function facing(catalogue: SchemaCatalogue, { tables, own }: Reshapes): SchemaCatalogue {
  if (tables.size === 0 && own.size === 0) return catalogue;
  const visible = new Set([...tables.values()].flatMap((one) => nameOf(one.visible) ?? []));
  const isOthers = (label: string): boolean =>
    !own.has(label) && !visible.has(label) && !tables.has(label);
  const others = [...catalogue].filter(
    ([label, { partitionOf }]) =>
      isOthers(label) && (partitionOf === undefined || isOthers(tableName(partitionOf))),
  );
  const kept = [...tables.values()].flatMap(({ schema, partitions }) => [schema, ...partitions]);
  return new Map([...others, ...kept.map((table) => [tableName(table.id), table] as const)]);
}

function nameOf(table: TableId | null): string | null {
  return table === null ? null : tableName(table);
}

/**
 * Steps of which production's image is kept, and those for what the candidate sees. Of a partition they are
 * of its root.
 */
export function splitSteps(
  steps: readonly BatchStep[],
  reshaped: ReadonlyMap<string, Reshaped>,
): { readonly kept: readonly BatchStep[]; readonly visible: readonly BatchStep[] } {
  if (reshaped.size === 0) return { kept: [], visible: steps };
  const roots = new Map(
    [...reshaped.values()].flatMap(({ schema, partitions }) =>
      partitions.map((partition) => [tableName(partition.id), { schema, partition }] as const),
    ),
  );
  const kept: BatchStep[] = [];
  const visible: BatchStep[] = [];
  for (const step of steps) {
    const root = roots.get(tableName(step.table));
    const whole = root === undefined ? step : ofRoot(step, root);
    const one = reshaped.get(tableName(whole.table));
    if (one === undefined) visible.push(step);
    else {
      kept.push(whole);
      const seen = toVisible(whole, one);
      if (seen !== null) visible.push(seen);
    }
  }
  return { kept, visible };
}

/** A partition may name the key's columns in another order. A truncated one is not told from its root. */
function ofRoot(
  step: BatchStep,
  { schema, partition }: { readonly schema: TableSchema; readonly partition: TableSchema },
): BatchStep {
  if (step.kind !== 'rows') {
    throw new UnderstudyError(
      'SCHEMA_FAILED',
      'one partition of a table was emptied that the candidate migrated',
      { table: tableName(step.table), detail: 'make the rollout anew, and migrate it again' },
    );
  }
  const order = schema.key.map((column) => partition.key.indexOf(column));
  const sort = (key: NetChange['key']): NetChange['key'] => order.map((from) => key[from] ?? null);
  const changes = step.changes.map((change) =>
    change.kind === 'delete'
      ? { ...change, key: sort(change.key) }
      : { ...change, key: sort(change.key), from: sort(change.from) },
  );
  return { ...step, table: schema.id, changes };
}

const SHAPES = new WeakMap<Reshaped, WeakMap<RowShape, RowShape>>();

/** What of a step reaches the table that the candidate sees; null if nothing does. */
function toVisible(step: BatchStep, reshaped: Reshaped): BatchStep | null {
  const { visible: table } = reshaped;
  if (table === null) return null;
  switch (step.kind) {
    case 'rows':
      return { ...step, table, changes: step.changes.map((one) => visibleChange(one, reshaped)) };
    case 'truncate':
      return { ...step, table };
    case 'bag':
      throw new UnderstudyError('INTERNAL', 'a table without key is not reshaped', {
        table: tableName(step.table),
      });
    case 'cascade':
      return {
        ...step,
        table,
        changes: step.changes.flatMap((change): readonly ParentChange[] => {
          if (change.kind === 'delete') return [change];
          const columns = change.columns.flatMap(([name, value]) => {
            const now = reshaped.columns.get(name) ?? null;
            return now === null ? [] : [[now, value] as const];
          });
          return columns.length === 0 ? [] : [{ ...change, columns }];
        }),
      };
    default:
      return unreachable(step);
  }
}

/** Values in doubt are settled in the table that is kept: here they are as if they had not been sent. */
function visibleChange(change: NetChange, reshaped: Reshaped): NetChange {
  if (change.kind === 'delete') return change;
  const { doubted: _, ...rest } = change;
  const image = visibleImage(change.image, reshaped);
  return { ...rest, image, complete: change.complete && !image.values.includes(UNAVAILABLE) };
}

function visibleImage({ shape, values }: RowImage, reshaped: Reshaped): RowImage {
  const known = SHAPES.get(reshaped) ?? new WeakMap<RowShape, RowShape>();
  SHAPES.set(reshaped, known);
  const now = shape.columns.map((name) => reshaped.columns.get(name) ?? null);
  const mapped = known.get(shape) ?? new RowShape(now.filter((name) => name !== null));
  known.set(shape, mapped);
  return {
    shape: mapped,
    values: values
      .filter((_, i) => now[i] !== null)
      .map((value) => (value === UNSURE ? UNAVAILABLE : value)),
  };
}

/**
 * The same table after production changed it: the candidate's stays as the candidate made it. SCHEMA_FAILED
 * for a change of the key or of the name, which the image is kept by.
 */
export function afterChange(reshaped: Reshaped, change: SchemaChange): Reshaped {
  const { schema } = reshaped;
  const columns = new Map(reshaped.columns);
  const of = (all: TableSchema['columns']): Reshaped => ({
    ...reshaped,
    ...{ schema: { ...schema, columns: all }, columns },
  });
  switch (change.kind) {
    case 'add':
      columns.set(change.column.name, null);
      return of([...schema.columns, change.column]);
    case 'drop':
      columns.delete(change.column.name);
      return of(schema.columns.filter(({ name }) => name !== change.column.name));
    case 'rename':
      columns.set(change.to.name, columns.get(change.from.name) ?? null);
      columns.delete(change.from.name);
      return {
        ...{ ...reshaped, columns },
        schema: {
          ...schema,
          columns: schema.columns.map((one) => (one.name === change.from.name ? change.to : one)),
          key: schema.key.map((name) => (name === change.from.name ? change.to.name : name)),
        },
      };
    case 'widen':
    case 'retype':
    case 'enumValue':
      return of(schema.columns.map((one) => (one.name === change.to.name ? change.to : one)));
    case 'key':
    case 'newTable':
    case 'droppedTable':
    case 'renameTable':
      throw new UnderstudyError(
        'SCHEMA_FAILED',
        `cannot change table ${tableName(schema.id)} as production did: the candidate migrated it`,
        {
          table: tableName(schema.id),
          detail: `${describeChange(change)}; make the rollout anew, and migrate it again`,
        },
      );
    default:
      return unreachable(change);
  }
}

/** SCHEMA_FAILED where production made a table of a name that the candidate gave to one of its own. */
export function assertNotOwn(change: SchemaChange, { own, tables }: Reshapes): void {
  const table = tableName(change.table);
  const named = [...tables].some(
    ([label, { visible }]) => visible !== null && tableName(visible) === table && label !== table,
  );
  if (!own.has(table) && !named) return;
  throw new UnderstudyError(
    'SCHEMA_FAILED',
    `production has a table ${table} now, and the candidate made one of that name`,
    { table, detail: 'exclude it with tables.exclude, or make the rollout anew' },
  );
}

/** Null where the table is as production has it. `renamed`: by which names columns go that have others. */
export function reshapeOf(
  { schema, partitions }: Pick<Reshaped, 'schema' | 'partitions'>,
  now: TableSchema | null,
  nameNow: (column: string) => string | null,
  partitionsNow: readonly TableSchema[] = [],
): Reshaped | null {
  const there = new Map((now?.columns ?? []).map((column) => [column.name, column]));
  const columns = new Map(
    writableColumns(schema).map(({ name }) => {
      const to = nameNow(name);
      const column = to === null ? undefined : there.get(to);
      return [name, column?.generated === 'no' ? column.name : null] as const;
    }),
  );
  const key = schema.key.map((name) => columns.get(name) ?? null);
  const isKeyed = now !== null && key.join('\0') === now.key.join('\0') && !key.includes(null);
  const isSame =
    isKeyed &&
    tableName(now.id) === tableName(schema.id) &&
    now.columns.length === schema.columns.length &&
    schema.columns.every((column) => {
      const other = there.get(column.name);
      return (
        other?.type.sql === column.type.sql &&
        other.type.charset === column.type.charset &&
        other.generated === column.generated
      );
    }) &&
    unlogged(now) === unlogged(schema) &&
    labels(partitionsNow) === labels(partitions);
  if (isSame) return null;
  return { schema, visible: isKeyed ? now.id : null, columns, partitions };
}

function labels(tables: readonly TableSchema[]): string {
  return JSON.stringify(tables.map(({ id }) => tableName(id)).toSorted());
}

/** What the server does to the table's rows by foreign keys, and its log does not tell. */
function unlogged({ foreignKeys }: TableSchema): string {
  const texts = foreignKeys.flatMap(({ columns, references, referencedColumns, unlogged: does }) =>
    does === undefined ? [] : [JSON.stringify({ columns, references, referencedColumns, does })],
  );
  return texts.toSorted().join('\n');
}

/** For people. `visible`: the table as the candidate has it. */
export function describeReshaped(
  { schema, visible, columns }: Reshaped,
  now: TableSchema | undefined,
): ReshapedTable {
  const taken = new Set<string | null>([
    ...columns.values(),
    ...schema.columns.map(({ name }) => name),
  ]);
  const pairs = [...columns].flatMap(([from, to]) =>
    to === null || to === from ? [] : [[from, to] as const],
  );
  return {
    ...{ table: schema.id, visible },
    without: [...columns].flatMap(([name, to]) => (to === null ? [name] : [])),
    renamed: Object.fromEntries(pairs),
    own: (now?.columns ?? []).flatMap(({ name }) => (taken.has(name) ? [] : [name])),
  };
}

/** The tables, as the candidate has them, that it may only read: none that it made itself. */
export function guardedTables(
  catalogue: SchemaCatalogue,
  { tables, own }: Reshapes,
  readOnly: ReadOnly,
): readonly TableSchema[] {
  return [...catalogue.values()].filter(
    (table) =>
      table.partitionOf === undefined &&
      !own.has(tableName(table.id)) &&
      readOnly(originOf(table, tables).id),
  );
}

/** What the configuration says of tables, by production's names. */
export interface TableRules {
  readonly isolates: Isolates;
  readonly policies: PolicyOf<TableId>;
}

/** What it says of a table as the candidate has it. CONFIG_INVALID for a policy that a column cannot have. */
export function rulesOf(
  schema: TableSchema,
  { isolates, policies }: TableRules,
  all: ReadonlyMap<string, Reshaped>,
): { readonly isolated: boolean; readonly policy: TablePolicy } {
  const { id: origin, reshaped } = originOf(schema, all);
  const policy = policyNow(policies(origin), schema, reshaped);
  const keys = new Set(schema.key);
  const columns = writableColumns(schema).map((one) => ({ ...one, isKey: keys.has(one.name) }));
  assertMergeable(tableName(schema.id), columns, policy);
  return { isolated: isolates(origin), policy };
}

/** The table of production's that the candidate made this one of; itself where it is as production has it. */
export function originOf(
  { id }: Pick<TableSchema, 'id'>,
  reshaped: ReadonlyMap<string, Reshaped>,
): { readonly id: TableId; readonly reshaped: Reshaped | null } {
  const label = tableName(id);
  const one = [...reshaped.values()].find(({ visible }) => nameOf(visible) === label);
  return { id: one?.schema.id ?? id, reshaped: one ?? null };
}

/** What is said of production's columns, of those the candidate has for them; its own ones it always wins. */
export function policyNow(
  policy: TablePolicy,
  { columns: now }: TableSchema,
  reshaped: Reshaped | null,
): TablePolicy {
  if (reshaped === null) return policy;
  const origins = new Map([...reshaped.columns].map(([from, to]) => [to, from]));
  const columns = now.flatMap(({ name }) => {
    const from = origins.get(name);
    const of = from === undefined ? 'overlay-wins' : policy.columns.get(from);
    return of === undefined ? [] : [[name, of] as const];
  });
  return { ...policy, columns: new Map(columns) };
}

/**
 * The candidate's table with columns of its own that may be NULL: of production's rows nothing is known to stand
 * there, and it is for the server to refuse that.
 */
export function withOwnOpen(now: TableSchema, { columns }: Reshaped): TableSchema {
  const theirs = new Set(columns.values());
  const open = now.columns.map((one) => (theirs.has(one.name) ? one : { ...one, nullable: true }));
  return { ...now, columns: open };
}
