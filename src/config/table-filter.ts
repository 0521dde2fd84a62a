import { tableName, type TableId } from '../change/table-id.ts';
import { escapePattern } from '../util/pattern.ts';
import type { TableMode } from './schema.ts';

/**
 * Which tables take part: those that match an include pattern and no exclude pattern. A pattern
 * is `schema.table` with `*` for any characters in either part.
 */
export function tableFilter(config: {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}): (table: TableId) => boolean {
  const include = config.include.map(patternToRegExp);
  const exclude = config.exclude.map(patternToRegExp);
  const decided = new Map<string, boolean>();
  return (table) => {
    const name = tableName(table);
    const known = decided.get(name);
    if (known !== undefined) return known;
    const text = `${table.schema}.${table.name}`;
    const decision =
      include.some((pattern) => pattern.test(text)) && !exclude.some((p) => p.test(text));
    decided.set(name, decision);
    return decision;
  };
}

interface ModeRules {
  readonly rules?: readonly { readonly match: string; readonly mode?: TableMode | undefined }[];
}

/** What the rules say of a table: the last one that matches and has a mode; null where none does. */
function ruledMode({ rules = [] }: ModeRules): (table: TableId) => TableMode | null {
  const modes = rules.flatMap(({ match, mode }) =>
    mode === undefined ? [] : [{ mode, matches: tableFilter({ include: [match], exclude: [] }) }],
  );
  return (table) => modes.findLast(({ matches }) => matches(table))?.mode ?? null;
}

/** Which tables are followed: those that take part, but for the connector's own signal table. */
export function followedTables(config: {
  readonly tables: ModeRules & {
    readonly include: readonly string[];
    readonly exclude: readonly string[];
  };
  readonly source: { readonly signalTable?: string | undefined };
}): (table: TableId) => boolean {
  const { tables, source } = config;
  const own = source.signalTable === undefined ? [] : [source.signalTable];
  const mode = ruledMode(tables);
  const takesPart = tableFilter({ include: tables.include, exclude: [...tables.exclude, ...own] });
  return (table) => takesPart(table) && mode(table) !== 'exclude';
}

/** Which tables rollouts keep to themselves: `overlay.isolate`, where no rule has another mode for them. */
export function isolatedTables({
  overlay,
  tables,
}: {
  readonly overlay: { readonly isolate: readonly string[] };
  readonly tables: ModeRules;
}): (table: TableId) => boolean {
  const named = tableFilter({ include: overlay.isolate, exclude: [] });
  const ruled = ruledMode(tables);
  return (table) => {
    const mode = ruled(table);
    return mode === null ? named(table) : mode === 'isolate' || mode === 'freeze';
  };
}

/** Which tables a candidate may not write; null if no rule speaks of that. */
export function readonlyTables({
  tables,
}: {
  readonly tables: ModeRules;
}): ((table: TableId) => boolean) | null {
  if (tables.rules?.some(({ mode }) => mode === 'readonly') !== true) return null;
  const mode = ruledMode(tables);
  return (table) => mode(table) === 'readonly';
}

/** Which triggers act on what is applied as well, of `schema.table.trigger`; null if none is named. */
export function applierTriggers({
  overlay,
}: {
  readonly overlay: { readonly applierTriggers: readonly string[] };
}): ((table: TableId, trigger: string) => boolean) | null {
  const patterns = overlay.applierTriggers.map(patternToRegExp);
  if (patterns.length === 0) return null;
  return ({ schema, name }, trigger) =>
    patterns.some((pattern) => pattern.test(`${schema}.${name}.${trigger}`));
}

function patternToRegExp(pattern: string): RegExp {
  const source = pattern.split('*').map(escapePattern).join('.*');
  return new RegExp(`^${source}$`, 's');
}
