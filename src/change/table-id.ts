/** A table by its name in production: PostgreSQL schema, or MySQL/MariaDB database, and name. */
export interface TableId {
  readonly schema: string;
  readonly name: string;
}

/**
 * The text form `schema.name`, used in configuration, reports, logs and as a map key.
 * It is the form Debezium's transaction metadata uses too. Names with a dot in them stay
 * distinguishable because a part with a dot is quoted.
 */
export function tableName(table: TableId): string {
  let name = names.get(table);
  if (name === undefined) {
    name = `${quotePart(table.schema)}.${quotePart(table.name)}`;
    names.set(table, name);
  }
  return name;
}

/** It is asked several times for each event, and a table's events share its id. */
const names = new WeakMap<TableId, string>();

function quotePart(part: string): string {
  return part.includes('.') || part.includes('"') ? `"${part.replaceAll('"', '""')}"` : part;
}
