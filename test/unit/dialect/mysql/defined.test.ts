import { describe, expect, test } from 'vitest';
import {
  columnDefinition,
  defaultOf,
  hasForm,
  indexesOn,
  isNumbered,
  nullable,
  primaryKeyOf,
  setsLiteral,
  typeOf,
} from '../../../../src/dialect/mysql/production/defined.ts';

const TABLE = `CREATE TABLE \`t\` (
  \`id\` int NOT NULL AUTO_INCREMENT,
  \`a\`\`b\` enum('x,','NOT NULL') CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'x,' COMMENT 'is NOT NULL',
  \`n\` decimal(10,2) unsigned NOT NULL DEFAULT '1.50',
  PRIMARY KEY (\`n\`,\`id\`),
  UNIQUE KEY \`u\` (\`n\`),
  KEY \`i\` (\`id\`)
) ENGINE=InnoDB`;

describe('a definition', () => {
  test('is found by the name of its column', () => {
    expect(columnDefinition(TABLE, 'a`b')).toMatch(/^enum\(.*NOT NULL'$/);
    expect(columnDefinition(TABLE, 'a')).toBeNull();
    expect(primaryKeyOf(TABLE)).toBe('PRIMARY KEY (`n`,`id`)');
    expect(indexesOn(TABLE)).toEqual(['KEY `i` (`id`)']);
  });

  test('loses NOT NULL, and nothing of its texts', () => {
    expect(nullable(columnDefinition(TABLE, 'a`b') ?? '')).toBe(
      `enum('x,','NOT NULL') CHARACTER SET latin1 COLLATE latin1_bin NULL DEFAULT 'x,' COMMENT 'is NOT NULL'`,
    );
  });

  test('says its type, and whether it has a character set of its own', () => {
    expect(typeOf(columnDefinition(TABLE, 'n') ?? '')).toBe('decimal(10,2) unsigned');
    expect(typeOf(columnDefinition(TABLE, 'a`b') ?? '')).toMatch(/latin1_bin$/);
    expect(hasForm('varchar(3) DEFAULT NULL')).toBe(false);
    expect(hasForm('varchar(3) COLLATE utf8mb4_bin DEFAULT NULL')).toBe(true);
    expect(isNumbered(columnDefinition(TABLE, 'id') ?? '')).toBe(true);
    expect(isNumbered(`varchar(20) COMMENT ' AUTO_INCREMENT'`)).toBe(false);
  });

  test.each([
    [`int DEFAULT NULL`, 'literal', null],
    [`int NOT NULL`, 'literal', null],
    [`int NOT NULL DEFAULT '42'`, 'literal', '42'],
    [`int(11) NOT NULL DEFAULT -4.5e-1`, 'literal', '-4.5e-1'],
    [`varchar(9) DEFAULT 'it''s \\\\ \\n' COMMENT 'c'`, 'literal', `it's \\ \n`],
    [`bit(3) DEFAULT b'101'`, 'literal', '101'],
    [`timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP`, 'computed', null],
    [`timestamp NOT NULL DEFAULT current_timestamp()`, 'computed', null],
    [`char(36) DEFAULT (uuid())`, 'computed', null],
    [`int DEFAULT (1 + 2)`, 'computed', null],
    [`enum(' DEFAULT 1') DEFAULT NULL`, 'literal', null],
  ])('%s has a default that is %s', (definition, kind, text) => {
    expect(defaultOf(definition)).toEqual({ kind, text });
  });
});

describe('a statement', () => {
  test.each([
    ['ALTER TABLE t ADD COLUMN c INT', true],
    ['ALTER TABLE t ADD c INT DEFAULT 5', true],
    [`ALTER TABLE t ADD c VARCHAR(9) DEFAULT 'now()' COMMENT 'DEFAULT now()'`, true],
    ['ALTER TABLE t ADD (b TIMESTAMP DEFAULT CURRENT_TIMESTAMP, c INT DEFAULT NULL)', true],
    [`ALTER TABLE t ADD c BIT DEFAULT b'1', ADD d TIMESTAMP DEFAULT NOW()`, true],
    ['ALTER TABLE t ADD `c` INT DEFAULT TRUE, DEFAULT CHARSET = utf8mb4', true],
    ['ALTER TABLE t ADD COLUMN c TIMESTAMP DEFAULT CURRENT_TIMESTAMP', false],
    ['ALTER TABLE t ADD c CHAR(36) DEFAULT (UUID())', false],
    ['ALTER TABLE t ADD c CHAR(36) /* id */ default uuid()', false],
    ['ALTER TABLE t ADD `c` DATETIME(6) NOT NULL DEFAULT now(6)', false],
  ])('%s: sets a literal, or none: %s', (ddl, literal) => {
    expect(setsLiteral(ddl, 'c')).toBe(literal);
  });
});
