/** The tables of the overlay's torture on PostgreSQL: see hot-table.ts. Each is `public.hot`. */
import { spelling, type HotTable } from './hot-table.ts';
import type { HotRow } from './overlay-fire.ts';

export interface PgHotTable extends HotTable {
  /** A constraint that is checked late is none that an INSERT may ask for: neither by its key, nor by any. */
  readonly arbiters?: 'by key' | 'none';
}

const REST = 'b text, c text';
const create = (columns: string, more = ''): string =>
  `CREATE TABLE public.hot (${columns})${more}`;

const NUMBERED: PgHotTable = {
  definition: create(`id int PRIMARY KEY, a int NOT NULL, ${REST}`),
  key: ['id'],
  keyOf: (id) => [String(id)],
  id: (column) => column('id'),
  a: (column) => `${column('a')}::text`,
  hasA: true,
};

function unique(constraint: string, more: Partial<PgHotTable> = {}): PgHotTable {
  return {
    ...NUMBERED,
    definition: `${NUMBERED.definition}; ${constraint}`,
    unique: true,
    ...more,
  };
}

const LETTERS = 'wxyz';

/** A key whose spellings are the same to the server and several to anybody else: `a` is which it is. */
function spelled(definition: string): PgHotTable {
  return {
    definition,
    key: ['k'],
    keyOf: (id, a) => [`${spelling(LETTERS, a).word}${String(id)}`],
    id: (column) => `substr(${column('k')}::text, ${String(LETTERS.length + 1)})::int`,
    a: (column) => {
      const bits = Array.from(
        LETTERS,
        (_, i) =>
          `${String(1 << i)} * (ascii(substr(${column('k')}::text, ${String(i + 1)}, 1)) < 97)::int`,
      );
      return `(${bits.join(' + ')})::text`;
    },
    hasA: false,
  };
}

/** Rows of one number of the first column. */
const WIDTH = 7;
const isFew = ({ a }: HotRow): boolean => Number(a) < 8;

const TABLES: Readonly<Record<string, PgHotTable>> = {
  plain: NUMBERED,
  parted: {
    ...NUMBERED,
    definition: `${create(`id int PRIMARY KEY, a int NOT NULL, ${REST}`, ' PARTITION BY HASH (id)')};
      CREATE TABLE public.hot_0 PARTITION OF public.hot FOR VALUES WITH (MODULUS 2, REMAINDER 0);
      CREATE TABLE public.hot_1 PARTITION OF public.hot FOR VALUES WITH (MODULUS 2, REMAINDER 1)`,
  },
  single: unique('ALTER TABLE public.hot ADD CONSTRAINT hot_c UNIQUE (c)'),
  pair: {
    ...NUMBERED,
    definition: create(`k int, a int NOT NULL, l smallint, ${REST}, PRIMARY KEY (l, k)`),
    key: ['l', 'k'],
    keyOf: (id) => [String(id % WIDTH), String(Math.floor(id / WIDTH))],
    id: (column) => `(${column('k')} * ${String(WIDTH)} + ${column('l')})`,
  },
  cased: spelled(
    `CREATE EXTENSION citext SCHEMA public; ${create(`k citext PRIMARY KEY, ${REST}`)}`,
  ),
  collated: spelled(`CREATE COLLATION public.nocase (provider = icu, locale = 'und-u-ks-level2',
    deterministic = false); ${create(`k text COLLATE public.nocase PRIMARY KEY, ${REST}`)}`),
  padded: {
    ...NUMBERED,
    definition: create(`k char(9) PRIMARY KEY, a int NOT NULL, ${REST}`),
    key: ['k'],
    // The server fills it up; whoever asks may leave that out.
    keyOf: (id, a) => [`k${String(id)}${spelling('', a).space ? ' ' : ''}`],
    id: (column) => `substr(${column('k')}::text, 2)::int`,
  },
  partial: unique('CREATE UNIQUE INDEX hot_c ON public.hot (c) WHERE a < 8', {
    collide: (one, other) => one.c === other.c && isFew(one) && isFew(other),
  }),
  lowered: unique('CREATE UNIQUE INDEX hot_c ON public.hot (lower(c))', {
    collide: (one, other) => one.c?.toLowerCase() === other.c?.toLowerCase(),
  }),
  excluded: unique('ALTER TABLE public.hot ADD CONSTRAINT hot_c EXCLUDE USING btree (c WITH =)'),
  late: unique(
    'ALTER TABLE public.hot ADD CONSTRAINT hot_c UNIQUE (c) DEFERRABLE INITIALLY DEFERRED',
    {
      arbiters: 'by key',
    },
  ),
  late_key: {
    ...NUMBERED,
    definition: create(`id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, a int NOT NULL, ${REST}`),
    arbiters: 'none',
  },
};

/** A number for a key, and at most a plain column that is unique. */
export const COMMON_TABLES: readonly string[] = ['plain', 'parted', 'single'];
export const ODD_TABLES: readonly string[] = Object.keys(TABLES).filter(
  (name) => !COMMON_TABLES.includes(name),
);

export function pgHotTable(name: string): PgHotTable {
  const table = TABLES[name];
  if (table === undefined) throw new Error(`there is no table ${name}`);
  return table;
}
