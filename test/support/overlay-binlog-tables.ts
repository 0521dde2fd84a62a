/** The tables of the overlay's torture on MySQL and MariaDB: see hot-table.ts. */
import { spelling, type HotTable } from './hot-table.ts';

const REST = 'b VARCHAR(20), c VARCHAR(20)';
/** Odd enough for keys that are one to the server and several to anybody else. */
const CI = 'CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci';

const NUMBERED: HotTable = {
  definition: `(id INT PRIMARY KEY, a INT NOT NULL, ${REST})`,
  key: ['id'],
  keyOf: (id) => [String(id)],
  id: (column) => column('id'),
  a: (column) => `CAST(${column('a')} AS CHAR)`,
  hasA: true,
};

/** By the letters' case and, if there is one, the space at the end: bits of `a`. */
function spelled(type: string, letters: string, space: boolean): HotTable {
  return {
    definition: `(k ${type} ${CI} PRIMARY KEY, ${REST})`,
    key: ['k'],
    keyOf: (id, a) => {
      const spelled = spelling(letters, a);
      return [`${spelled.word}${String(id)}${space && spelled.space ? ' ' : ''}`];
    },
    id: (column) =>
      `CAST(RTRIM(SUBSTRING(${column('k')}, ${String(letters.length + 1)})) AS UNSIGNED)`,
    a: (column) => {
      const parts = Array.from(letters, (letter, i) => {
        const code = String(letter.toUpperCase().codePointAt(0));
        return `${String(1 << i)} * (ASCII(SUBSTRING(${column('k')}, ${String(i + 1)}, 1)) = ${code})`;
      });
      if (space) parts.push(`8 * (RIGHT(${column('k')}, 1) = ' ')`);
      return `CAST(${parts.join(' + ')} AS CHAR)`;
    },
    hasA: false,
  };
}

/** Rows of one number of the first column lie in the same leaf. */
const WIDTH = 7;

function unique(table: HotTable, key: string): HotTable {
  const definition = `${table.definition.slice(0, -1)}, UNIQUE KEY c_only ${key})`;
  return { ...table, definition, unique: true };
}

const TABLES: Readonly<Record<string, HotTable>> = {
  plain: NUMBERED,
  single: unique(NUMBERED, '(c)'),
  // By a part of a column no row is found.
  single_part: unique(NUMBERED, '(c(12))'),
  single_cased: unique(spelled('VARCHAR(12)', 'xyz', true), '(c)'),
  parted: { ...NUMBERED, definition: `${NUMBERED.definition} PARTITION BY HASH (id) PARTITIONS 2` },
  pair: {
    ...NUMBERED,
    definition: `(k INT, a INT NOT NULL, l SMALLINT, ${REST}, PRIMARY KEY (l, k))`,
    key: ['l', 'k'],
    keyOf: (id) => [String(id % WIDTH), String(Math.floor(id / WIDTH))],
    id: (column) => `(${column('k')} * ${String(WIDTH)} + ${column('l')})`,
  },
  cased: spelled('VARCHAR(12)', 'xyz', true),
  padded: spelled('CHAR(12)', 'wxyz', false),
};

export const HOT_TABLES = Object.keys(TABLES);
/** Those whose key is the number, and whose rows hold nothing that others may not. */
export const NUMBERED_TABLES: readonly string[] = ['plain', 'parted'];

export const HOT_DDL = Object.entries(TABLES).map(
  ([name, { definition }]) => `CREATE TABLE ${name} ${definition}`,
);

export function hotTable(name: string): HotTable {
  const table = TABLES[name];
  if (table === undefined) throw new Error(`there is no table ${name}`);
  return table;
}
