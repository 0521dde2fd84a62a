/** Which table a row topic is of, where the record itself does not say. */
import { tableName, type TableId } from '../../change/table-id.ts';
import type { SchemaCatalogue } from '../../schema/table-schema.ts';
import { nameInSchema, type NameMode } from '../names.ts';
import { Problem } from '../problem.ts';

/**
 * The tables of one catalogue by the topics that a connector gives them: `<prefix>.<schema>.<table>`
 * with every character that a topic cannot have as `_`.
 */
export class TopicTables {
  readonly #byTopic = new Map<string, TableId[]>();
  readonly #byName = new Map<string, TableId[]>();
  readonly #columns = new Map<TableId, ReadonlySet<string>>();
  readonly #byLabel = new Map<string, ReadonlySet<string>>();

  constructor(catalogue: SchemaCatalogue, topicPrefix: string) {
    for (const { id, columns, names = [] } of catalogue.values()) {
      // Under a name that another table has by now, records are that one's, as far as the topic tells.
      const former = names
        .map(({ table }) => table)
        .filter((one) => !catalogue.has(tableName(one)));
      const known = new Set(columns.map((column) => column.name));
      for (const table of [id, ...new Map(former.map((one) => [tableName(one), one])).values()]) {
        this.#columns.set(table, known);
        add(this.#byTopic, topicName(`${topicPrefix}.${table.schema}.${table.name}`), table);
        add(this.#byName, table.name, table);
        this.#byLabel.set(tableName(table), known);
      }
    }
  }

  /** The names of the table's columns. Empty for a table that the catalogue lacks. */
  columnsOf(table: TableId): ReadonlySet<string> {
    return this.#byLabel.get(tableName(table)) ?? NONE;
  }

  /** Is it a column of a table that this topic may be of? */
  isColumn(topic: string, name: string): boolean {
    const tables = this.#byTopic.get(topic) ?? [];
    return tables.some((table) => this.#columns.get(table)?.has(name) === true);
  }

  /** Those that the topic may be of. */
  allOf(topic: string): readonly TableId[] {
    return this.#byTopic.get(topic) ?? [];
  }

  /** The topic's table; null if it is of none. Throws a Problem, TABLE_UNKNOWN, if of several. */
  ofTopic(topic: string): TableId | null {
    const [table = null, another] = this.#byTopic.get(topic) ?? [];
    if (another === undefined) return table;
    throw ambiguous('the topic');
  }

  /** The topic's table; null if it is of none, or may be of several. */
  onlyTableOf(topic: string): TableId | null {
    const tables = this.#byTopic.get(topic) ?? [];
    return tables.length === 1 ? (tables[0] ?? null) : null;
  }

  /**
   * The table of that name, of which the topic decides where schemas share it; null if there is
   * none. Throws a Problem, TABLE_UNKNOWN, if several may be meant.
   */
  ofName(name: string, topic: string): TableId | null {
    const named = this.#byName.get(name) ?? [];
    const onTopic = this.#byTopic.get(topic) ?? [];
    const both = named.filter((table) => onTopic.includes(table));
    const [table = null, another] = both.length > 0 ? both : named;
    if (another === undefined) return table;
    throw ambiguous(`the name ${tableName({ schema: '*', name })}`);
  }
}

const NONE: ReadonlySet<string> = new Set();

/**
 * The table that the name of a row's schema says, `<prefix>.<schema>.<table>.Value`, if it stands on
 * that table's topic; else null.
 */
export function tableOfSchema(
  name: string | undefined,
  where: { readonly topic: string; readonly topicPrefix: string; readonly names: NameMode },
): TableId | null {
  const parts = name?.split('.') ?? [];
  const [schemaPart, namePart, last] = parts.slice(-3);
  if (schemaPart === undefined || namePart === undefined || last !== 'Value') return null;
  const schema = nameInSchema(schemaPart, where.names);
  const table = nameInSchema(namePart, where.names);
  if (schema === null || table === null) return null;
  // A dot within a name, or another connector's prefix, would give another topic.
  const topic = topicName(`${where.topicPrefix}.${schema}.${table}`);
  return topic === where.topic ? { schema, name: table } : null;
}

function add(map: Map<string, TableId[]>, key: string, table: TableId): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, [table]);
  else known.push(table);
}

/** As Debezium makes a topic's name valid. */
export function topicName(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9._-]/gu, (char) => '_'.repeat(char.length));
}

function ambiguous(what: string): Problem {
  return new Problem(
    'TABLE_UNKNOWN',
    `${what} fits several tables; let the transform tell them apart (add.fields=table and ` +
      'source.schema, or source.db)',
  );
}
