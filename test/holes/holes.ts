/**
 * The fifteen tests that prove the overlay's holes closed (issue 6; design notes, overlay.md 4.6), each with the
 * fix that is taken out to see it fail: `npm run test:holes`. Deterministic schedules, but for the first, whose
 * controls are appliers that lack the fix, which the torture has to catch within forty seeds.
 */
interface Shown {
  readonly engines: string;
  readonly file: string;
  /** Part of the test's name: what vitest's -t takes. */
  readonly name: string;
  /** Default: db. */
  readonly project?: 'db' | 'e2e';
}

export interface Mutant extends Shown {
  readonly kind: 'mutant';
  /** Path, a text that stands there once, and what takes its place. */
  readonly without: readonly [path: string, from: string, to: string];
}

/** The test plays what lacks the fix by itself, and passes if that is caught. */
export interface Control extends Shown {
  readonly kind: 'control';
}

export type Proof = Mutant | Control;

export interface Hole {
  readonly number: number;
  readonly what: string;
  readonly proofs: readonly Proof[];
}

const PG = 'src/dialect/postgres';
const MY = 'src/dialect/mysql';
const BOTH = 'MySQL, MariaDB';
const test = (name: string): string => `test/integration/${name}.db.test.ts`;

const mutant = (
  engines: string,
  [file, name]: readonly [file: string, name: string],
  without: Mutant['without'],
): Mutant => ({ kind: 'mutant', engines, file: test(file), name, without });

export const HOLES: readonly Hole[] = [
  {
    number: 1,
    what: 'sixteen writers and the applier on fifty rows',
    proofs: [
      {
        kind: 'control',
        ...{ engines: 'PostgreSQL', file: test('overlay-controls'), name: 'is caught' },
      },
      {
        kind: 'control',
        ...{ engines: BOTH, file: test('mysql-overlay-controls'), name: 'are caught' },
      },
    ],
  },
  {
    number: 2,
    what: 'a trigger that writes sibling rows of the same statement',
    proofs: [
      mutant(
        'PostgreSQL',
        ['overlay', 'a trigger of the user writes in the same statement'],
        [
          `${PG}/overlay/capture-sql.ts`,
          'escapeIdentifier(TRIGGERS.row)} BEFORE UPDATE OR DELETE',
          'escapeIdentifier(TRIGGERS.row)} AFTER UPDATE OR DELETE',
        ],
      ),
    ],
  },
  {
    number: 3,
    what: 'upserts, MERGE, REPLACE, LOAD DATA and the like',
    proofs: [
      mutant(
        'PostgreSQL',
        ['overlay', 'rows of one INSERT that its triggers write again'],
        [
          `${PG}/overlay/capture-sql.ts`,
          '    AND ${OWN_SCHEMA}.mine(OLD.xmin);\nBEGIN',
          '    AND false;\nBEGIN',
        ],
      ),
      mutant(
        BOTH,
        ['mysql-overlay', 'image through every kind of statement'],
        [
          `${MY}/overlay/journal.ts`,
          '    ${JOURNAL.blocked} = NULL`;',
          '    ${JOURNAL.blocked} = NULL, ${JOURNAL.present} = VALUES(${JOURNAL.present})`;',
        ],
      ),
    ],
  },
  {
    number: 4,
    what: 'deferrable constraints, which nobody checks for who applies',
    proofs: [
      mutant(
        'PostgreSQL',
        ['blocked', 'constraints that no look finds'],
        [
          `${PG}/apply/apply-table.ts`,
          'unchecked: deferrable.filter((unique) => !isKey(unique)),',
          'unchecked: [],',
        ],
      ),
    ],
  },
  {
    number: 5,
    what: 'cascades, in both directions',
    proofs: [
      mutant(
        'PostgreSQL',
        ['overlay', 'cascades three tables deep'],
        [
          `${PG}/overlay/capture-sql.ts`,
          'escapeIdentifier(TRIGGERS.row)} BEFORE UPDATE OR DELETE',
          'escapeIdentifier(TRIGGERS.row)} BEFORE UPDATE',
        ],
      ),
      mutant(
        BOTH,
        ['mysql-overlay', 'image through every kind of statement'],
        [
          `${MY}/overlay/triggers.ts`,
          "...made('BEFORE', 'DELETE', beforeDelete(table, edges, unless)),",
          '',
        ],
      ),
      mutant(
        BOTH,
        ['mysql-cascades', 'goes from row to row in production’s image'],
        [
          `${MY}/apply/captured-cascades.ts`,
          'if (edge.parent.label !== reached.table.label) continue;',
          'if (edge.parent.label !== reached.table.label || reached.hop > 0) continue;',
        ],
      ),
    ],
  },
  {
    number: 6,
    what: 'a parent that production deletes, below which a child is written',
    proofs: [
      mutant(
        'PostgreSQL',
        ['families', 'on postgresql a parent goes below which'],
        [`${PG}/overlay/orphans.ts`, '[owned, ...gone].join', 'gone.join'],
      ),
      mutant(
        'PostgreSQL',
        ['families', 'on postgresql a child comes whose parent'],
        [`${PG}/overlay/orphans.ts`, 'parent === undefined\n', 'parent?.label !== undefined\n'],
      ),
      mutant(
        'PostgreSQL',
        ['families', 'of many parents those wait alone'],
        [
          `${PG}/apply/waiting-sql.ts`,
          "${free(`s.op = 'd'`, 'UPDATE')}",
          "${free(`s.op = 'd'`, 'KEY SHARE')}",
        ],
      ),
      mutant(
        BOTH,
        ['mysql-overlay-odds', 'a parent that comes and goes'],
        [
          `${MY}/apply/apply-captured.ts`,
          'for (const { edge, lock } of parents) {',
          'for (const { edge, lock } of parents.slice(0, 0)) {',
        ],
      ),
    ],
  },
  {
    number: 7,
    what: 'twins: the same unique value under two ids',
    proofs: [
      mutant(
        'PostgreSQL',
        ['blocked', 'comes in when the blocker goes'],
        [
          `${PG}/overlay/release.ts`,
          'if (first === 0) await admitBlocked(session, table, { schema: false, parts: SWEPT_PARTS });',
          '',
        ],
      ),
      mutant(
        BOTH,
        ['mysql-blocked', 'in a circle, and both come in'],
        [`${MY}/overlay/release.ts`, 'if (end === null) await letIn(session, table);', ''],
      ),
    ],
  },
  {
    number: 8,
    what: 'a mirrored request beside its own event, with and without the delay',
    proofs: [
      {
        kind: 'mutant',
        ...{ engines: 'PostgreSQL', project: 'e2e', file: 'test/e2e/rollouts.e2e.test.ts' },
        name: 'rollouts and recordings',
        without: [
          'src/apply/hold-back.ts',
          'return ms === 0 ? null : sleep(ms, signal);',
          'return null;',
        ],
      },
    ],
  },
  {
    number: 9,
    what: 'candidates above READ COMMITTED that write owned rows again',
    proofs: [
      mutant(
        'PostgreSQL',
        ['isolation-levels', 'on postgresql'],
        [
          `${PG}/overlay/capture-sql.ts`,
          '  IF ${READ_COMMITTED} THEN\n    IF mine THEN',
          '  IF true THEN\n    IF mine THEN',
        ],
      ),
      mutant(
        'MariaDB',
        ['mysql-ground', 'is refused on a server'],
        [
          `${MY}/shadow/ground.ts`,
          "if (setting === undefined || setting.Value === 'OFF') return [];",
          "if (setting === undefined || setting.Value !== '') return [];",
        ],
      ),
    ],
  },
  {
    number: 10,
    what: 'capture that somebody took away',
    proofs: [
      mutant(
        'PostgreSQL',
        ['watch', 'makes again what was disabled'],
        [`${PG}/overlay/watch.ts`, "AND t.tgenabled = 'O' AND", 'AND'],
      ),
      mutant(
        BOTH,
        ['watch', 'makes again what was dropped'],
        [
          `${MY}/overlay/watch.ts`,
          'return areThese(there.get(id.name) ?? [], wanted) ? [] : [id];',
          'return wanted.length > 0 ? [] : [id];',
        ],
      ),
    ],
  },
  {
    number: 11,
    what: 'migrations in mid-stream, and rows that the new schema refuses',
    proofs: [
      mutant(
        'all',
        ['migrating', 'adds, drops, renames and retypes columns'],
        [
          'src/dialect/sql/reshaped.ts',
          'kept.push(whole);',
          'if (step.kind !== whole.kind) kept.push(whole);',
        ],
      ),
      mutant(
        'PostgreSQL',
        ['migrating', 'keeps them out, as findings about the release'],
        [
          'src/dialect/sql/reshaped.ts',
          'theirs.has(one.name) ? one : { ...one, nullable: true }',
          'theirs.has(one.name) ? one : { ...one, nullable: false }',
        ],
      ),
      mutant(
        BOTH,
        ['mysql-blocked', 'refused by what the candidate’s schema asks'],
        [
          `${MY}/apply/apply-error.ts`,
          'return known !== null && OF_THE_ROW.has(known.errno);',
          'return known !== null && known.errno === 0;',
        ],
      ),
    ],
  },
  {
    number: 12,
    what: 'types whose equality is not their image',
    proofs: [
      mutant(
        'PostgreSQL',
        ['overlay', 'by image and not by equality'],
        [`${PG}/overlay/views.ts`, 'OPERATOR(pg_catalog.*=)', 'OPERATOR(pg_catalog.=)'],
      ),
      mutant(
        BOTH,
        ['mysql-release', 'what is the same to the byte'],
        [
          `${MY}/overlay/images.ts`,
          '      return `CAST(${name} AS BINARY)`;',
          '      return name;',
        ],
      ),
    ],
  },
  {
    number: 13,
    what: 'a crash between any two statements',
    proofs: [{ kind: 'control', engines: 'all', file: test('crash-controls'), name: 'is caught' }],
  },
  {
    number: 14,
    what: 'a candidate that is idle in a transaction',
    proofs: [
      mutant(
        'PostgreSQL',
        ['waiting', 'an idle transaction stalls its own keys only'],
        [
          'src/dialect/sql/lock-patience.ts',
          'const isOver = this.#since !== null && steadyNow() - this.#since > this.#patienceMs;',
          'const isOver = this.#since !== null && steadyNow() < 0;',
        ],
      ),
      mutant(
        BOTH,
        ['mysql-waiting', 'stalls its own keys only'],
        [
          `${MY}/apply/patience.ts`,
          'this.#overUntil = steadyNow() + IMPATIENT_MS;',
          'this.#overUntil = steadyNow() - IMPATIENT_MS;',
        ],
      ),
    ],
  },
  {
    number: 15,
    what: 'events that leave columns out',
    proofs: [
      mutant(
        'PostgreSQL',
        ['apply-partial', 'leave an unavailable TOAST value where it lies'],
        [
          `${PG}/apply/apply-sql.ts`,
          'return `pg_catalog.get_bit(${staging}.mask, ${column.bit}) = 1`;',
          'return `${staging}.mask IS NULL OR true`;',
        ],
      ),
      mutant(
        BOTH,
        ['mysql-production', 'names settings by which rows arrive in part'],
        [
          `${MY}/production/production-diagnosis.ts`,
          "if (value('binlog_row_image').toUpperCase() !== 'FULL') {",
          "if (value('binlog_row_image') === '') {",
        ],
      ),
    ],
  },
];
