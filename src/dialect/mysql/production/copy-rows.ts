/**
 * Rows of a table as lists of literals, exactly as they are stored: texts by the bytes and the
 * character set of their column, floats by their exact value. They are written as they stand here,
 * by sessions with our settings (see Client).
 */
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ColumnSchema } from '../../../schema/table-schema.ts';
import { unreachable } from '../../../util/assert.ts';
import type { DatabaseTables, TextForm } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import { literal, quote } from '../session/names.ts';

/** How a column is read, and how its value is written. */
interface CopiedColumn {
  readonly name: string;
  readonly expression: string;
  readonly write: (value: Buffer) => string;
  /** Its value that only a session without strict mode takes: an enum's that has no label. */
  readonly isLenient: (value: Buffer) => boolean;
}

export interface ReadRange {
  /** Quoted and qualified. */
  readonly relation: string;
  /** Empty for all rows. */
  readonly where: string;
  readonly columns: readonly CopiedColumn[];
  /** Places in `columns` of the primary key; null where it cannot be read on from a value of it. */
  readonly key: readonly number[] | null;
}

/** Whether the rows of a piece need a session without strict mode: its first byte. */
const STRICT = 's'.charCodeAt(0);
export const LENIENT = 'l'.charCodeAt(0);

const PIECE_CHARACTERS = 256 * 1024;
const FIRST_ROWS = 1_000;
const MOST_ROWS = 50_000;
/** What one statement reads, about. */
const STATEMENT_CHARACTERS = 8 * 1024 * 1024;

export function copiedColumns(
  { catalogue, textForms, keyIndexes }: DatabaseTables,
  table: TableId,
  names: readonly string[],
): Pick<ReadRange, 'columns' | 'key'> {
  const label = tableName(table);
  const schema = catalogue.get(label);
  const columns = names.map((name) => {
    const column = schema?.columns.find((candidate) => candidate.name === name);
    if (column === undefined) {
      throw new UnderstudyError('READ_FAILED', 'production has no such column', {
        table: label,
        column: name,
      });
    }
    return { schema: column, ...copied(column, textForms.get(label)?.get(name)) };
  });
  const key = (schema?.key ?? []).map((name) => names.indexOf(name));
  const isRead = key.every((at) => {
    const column = columns[at];
    return column !== undefined && ORDERED.has(column.schema.type.kind);
  });
  return {
    columns,
    key: key.length > 0 && isRead && keyIndexes.get(label) === 'PRIMARY' ? key : null,
  };
}

/** Kinds that the server compares with their literals exactly as it orders them. */
const ORDERED = new Set<ColumnSchema['type']['kind']>([
  ...(['int16', 'int32', 'int64', 'numeric', 'text', 'char', 'bytes'] as const),
  ...(['date', 'timestamp', 'timestamptz'] as const),
]);

/** The character set of our sessions' results. */
const OWN = 'utf8mb4';

function copied({ name, type }: ColumnSchema, form: TextForm | undefined): CopiedColumn {
  const column = quote(name);
  const plain = { name: column, expression: column, isLenient: () => false };
  const charset = form?.charset ?? OWN;
  // In another character set it would be converted, and the driver knows but some of them.
  const stored = charset === OWN ? column : `CAST(${column} AS BINARY)`;
  const text = (value: Buffer): string => `_${charset} X'${value.toString('hex')}'`;
  const bare = (value: Buffer): string => {
    const number = value.toString('latin1');
    // It goes into a statement as it is: a table that was altered just before the snapshot has others.
    if (/^-?[\d.]+$/.test(number)) return number;
    const what = 'a column of numbers holds something else: its table was altered meanwhile';
    throw new UnderstudyError('TABLE_REWRITTEN', what, { column: name });
  };
  const quoted = (value: Buffer): string => literal(value.toString('utf8'));
  switch (type.kind) {
    case 'int16':
    case 'int32':
    case 'int64':
    case 'numeric':
      return { ...plain, write: bare };
    case 'bits':
      return { ...plain, expression: `CAST(${column} AS UNSIGNED)`, write: bare };
    case 'float32':
    case 'float64':
      // A float's own text has six digits; a bare -0 would be 0.
      return { ...plain, expression: `CAST(${column} AS DOUBLE)`, write: quoted };
    case 'text':
    case 'char':
    case 'set':
    case 'json':
      return { ...plain, expression: stored, write: text };
    case 'enum': {
      const hasEmpty = type.labels?.includes('') === true;
      const isLenient = (value: Buffer): boolean => value.length === 0 && !hasEmpty;
      return { ...plain, expression: stored, write: text, isLenient };
    }
    case 'bytes':
    case 'geometry':
    case 'vector':
      return { ...plain, write: (value) => `X'${value.toString('hex')}'` };
    case 'date':
    case 'time':
    case 'timestamp':
    case 'timestamptz':
    case 'year':
    case 'uuid':
    case 'other':
      return { ...plain, write: quoted };
    case 'boolean':
    case 'money':
    case 'timetz':
    case 'interval':
    case 'jsonb':
    case 'xml':
    case 'composite':
    case 'range':
    case 'hstore':
    case 'point':
    case 'array':
      throw new UnderstudyError('INTERNAL', `no column of this engine is of kind ${type.kind}`);
    default:
      return unreachable(type.kind);
  }
}

/** Settings of a session that `readRows` is called with: it may be read slowly. */
export async function prepareReads(client: Client): Promise<void> {
  await client.run('SET SESSION net_write_timeout = 600');
}

/**
 * All rows of the range, in pieces: a byte that says how they are to be written, then lists of values.
 * Errors are the driver's.
 */
export async function* readRows(client: Client, range: ReadRange): AsyncGenerator<Uint8Array> {
  const pieces = new Pieces(range.columns);
  let rows = range.key === null ? null : FIRST_ROWS;
  let after = '';
  for (;;) {
    let read = 0;
    let characters = 0;
    let last: readonly (Buffer | null)[] | null = null;
    for await (const row of client.stream(selectRows(range, after, rows))) {
      read += 1;
      last = row;
      characters += pieces.add(row);
      if (pieces.isFull) yield* pieces.take();
    }
    yield* pieces.take();
    if (rows === null || last === null || read < rows) return;
    after = behind(range, last);
    const wanted = Math.floor((rows * STATEMENT_CHARACTERS) / Math.max(characters, 1));
    rows = Math.max(1, Math.min(MOST_ROWS, rows * 8, wanted));
  }
}

function selectRows(range: ReadRange, after: string, rows: number | null): string {
  const list = range.columns.map(({ expression }) => expression).join(', ');
  const conditions = [range.where, after].filter((condition) => condition !== '');
  const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
  const select = `SELECT ${list === '' ? '1' : list} FROM ${range.relation}${where}`;
  if (rows === null) return select;
  const order = keyOf(range).map(({ name }) => name);
  return `${select} ORDER BY ${order.join(', ')} LIMIT ${String(rows)}`;
}

function keyOf({ columns, key }: ReadRange): readonly CopiedColumn[] {
  return (key ?? []).flatMap((at) => columns[at] ?? []);
}

/** What holds for the keys behind the row's. The first part is what an index is searched by. */
function behind(range: ReadRange, row: readonly (Buffer | null)[]): string {
  const parts = (range.key ?? []).map((at) => {
    const [column, value] = [range.columns[at], row[at]];
    if (column === undefined || value === undefined || value === null) {
      throw new UnderstudyError('INTERNAL', 'a key has no value');
    }
    return { name: column.name, value: column.write(value) };
  });
  const [first] = parts;
  if (first === undefined) throw new UnderstudyError('INTERNAL', 'no key to read on from');
  const rest = parts.reduceRight(
    (deeper, { name, value }) =>
      deeper === ''
        ? `${name} > ${value}`
        : `(${name} > ${value} OR (${name} = ${value} AND ${deeper}))`,
    '',
  );
  return parts.length === 1 ? rest : `${first.name} >= ${first.value} AND ${rest}`;
}

class Pieces {
  readonly #columns: readonly CopiedColumn[];
  #strict: string[] = [];
  #lenient: string[] = [];
  #characters = 0;

  constructor(columns: readonly CopiedColumn[]) {
    this.#columns = columns;
  }

  get isFull(): boolean {
    return this.#characters >= PIECE_CHARACTERS;
  }

  /** How many characters it takes. */
  add(row: readonly (Buffer | null)[]): number {
    let lenient = false;
    const values = this.#columns.map((column, i) => {
      const value = row[i] ?? null;
      if (value === null) return 'NULL';
      lenient ||= column.isLenient(value);
      return column.write(value);
    });
    const text = `(${values.join(',')})`;
    (lenient ? this.#lenient : this.#strict).push(text);
    this.#characters += text.length;
    return text.length;
  }

  take(): readonly Uint8Array[] {
    const pieces = [
      ...(this.#strict.length === 0 ? [] : [piece(STRICT, this.#strict)]),
      ...(this.#lenient.length === 0 ? [] : [piece(LENIENT, this.#lenient)]),
    ];
    [this.#strict, this.#lenient, this.#characters] = [[], [], 0];
    return pieces;
  }
}

function piece(mode: number, rows: readonly string[]): Uint8Array {
  return Buffer.from(`${String.fromCharCode(mode)}${rows.join(',')}`, 'utf8');
}
