import { UnderstudyError } from '../errors/understudy-error.ts';
import type { PlanStatement, ShadowPlan } from './shadow-plan.ts';
import { splitSql, type SqlStatement } from './split-sql.ts';

/** What a schema dump holds beside the schema; a shadow may lack the roles it names. */
const OPTIONAL = [
  /^(GRANT|REVOKE|COMMENT|SECURITY\s+LABEL)\b/i,
  /^ALTER\s+DEFAULT\s+PRIVILEGES\b/i,
  /^ALTER\s[\s\S]*\sOWNER\s+TO\s/i,
];

/** The plan runs in one transaction of its own. */
const TRANSACTION =
  /^(BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE\s+TRANSACTION)\b/i;

/**
 * A plan from the text of an SQL file, such as a dump of the schema only: its statements in its
 * order. Statements about owners and grants are optional, all others must succeed. `tables` is
 * empty: what a file makes is found by looking afterwards.
 * Errors: CONFIG_INVALID with the line, for data (COPY … FROM stdin), commands of a terminal
 * client, transaction control, an unfinished quote, or nothing at all.
 */
export function planFromFile(text: string): ShadowPlan {
  const statements = splitSql(text).map(toPlanStatement);
  if (statements.length === 0) {
    throw new UnderstudyError('CONFIG_INVALID', 'the schema file holds no statement');
  }
  return { statements, notCarried: [], tables: [] };
}

function toPlanStatement({ sql, bare, line }: SqlStatement): PlanStatement {
  if (TRANSACTION.test(bare)) {
    const why = 'a schema file runs in one transaction of its own';
    throw new UnderstudyError('CONFIG_INVALID', `line ${line} of the schema file: ${why}`);
  }
  return {
    sql,
    what: `line ${line}: ${firstWords(bare)}`,
    optional: OPTIONAL.some((pattern) => pattern.test(bare)),
  };
}

/** Enough to find the statement, not so much that a value shows. */
function firstWords(bare: string): string {
  return bare
    .split(/[\s(]+/, 4)
    .join(' ')
    .slice(0, 80);
}
