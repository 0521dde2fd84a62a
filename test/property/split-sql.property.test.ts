import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import { splitSql } from '../../src/schema/split-sql.ts';

const NASTY = [';', `'`, '"', '$', '$$', '$a$', '--', '/*', '*/', '\n', '\\', ' ', 'x', 'é', '('];
const content = fc
  .array(fc.constantFrom(...NASTY), { maxLength: 8 })
  .map((parts) => parts.join(''));

/** Pieces in which nothing may be cut, whatever they hold. */
const sealed = fc.oneof(
  content.map((text) => `'${text.replaceAll(`'`, `''`)}'`),
  content.map((text) => `"${text.replaceAll('"', '""')}"`),
  content.map((text) => ` E'${text.replaceAll('\\', '\\\\').replaceAll(`'`, `\\'`)}'`),
  content.map((text) => ` $q$${text}$q$ `),
  content.map((text) => ` -- ${text.replaceAll('\n', '')}\n`),
  content.map((text) => ` /* ${text.replaceAll(/\/\*|\*\/|[*/]/g, '')} */ `),
  content.map((text) => ` (${text.replaceAll(/[^;x ]/g, '')}) `),
  fc.constantFrom('SELECT', ' a.b ', '= 1', ' x$y ', '\t'),
);
const statement = fc
  .tuple(fc.constantFrom('SELECT ', 'CREATE VIEW ', 'INSERT '), fc.array(sealed, { maxLength: 6 }))
  .map(([head, parts]) => head + parts.join(' ') + ' end');

test('statements that are joined come apart at the same places', () => {
  fc.assert(
    fc.property(fc.array(statement, { minLength: 1, maxLength: 5 }), (statements) => {
      const found = splitSql(statements.join(';\n')).map((one) => one.sql);
      expect(found).toEqual(statements);
    }),
    { numRuns: 2_000 },
  );
});

/** Nothing where it is refused; any other failure is thrown on. */
function splitOrRefuse(text: string): ReturnType<typeof splitSql> {
  try {
    return splitSql(text);
  } catch (error) {
    if (isUnderstudyError(error, 'CONFIG_INVALID')) return [];
    throw error;
  }
}

test('any text is cut or refused, and nothing of a cut text is lost', () => {
  fc.assert(
    fc.property(content, content, (a, b) => {
      const text = `SELECT ${a} ${b}`;
      const found = splitOrRefuse(text);
      let at = 0;
      for (const { sql } of found) {
        const start = text.indexOf(sql, at);
        expect(start).toBeGreaterThanOrEqual(at);
        at = start + sql.length;
      }
    }),
    { numRuns: 2_000 },
  );
});
