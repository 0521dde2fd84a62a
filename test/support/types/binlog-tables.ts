/**
 * Every type of MySQL and MariaDB whose presence does not stop the connector, with its edge
 * values. What only one of them has is in its own list below. Values are expressions.
 */
import { charsets, undefinedIn } from './charset-tables.ts';
import type { TypeColumn, TypeTable } from './type-table.ts';

/** A column whose values are texts, written as literals. */
function texts(name: string, type: string, ...values: readonly string[]): TypeColumn {
  return { name, type, values: values.map(literal) };
}

/** A column whose values are expressions: numbers, hexadecimal bytes, calls. */
function expressions(name: string, type: string, ...values: readonly string[]): TypeColumn {
  return { name, type, values };
}

function literal(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

function generated(name: string, type: string): TypeColumn {
  return { name, type, values: null };
}

const NUMBERS: TypeTable = {
  name: 't_num',
  columns: [
    expressions('c_tinyint', 'TINYINT', '1', '127', '-128', '0'),
    expressions('c_tinyint_u', 'TINYINT UNSIGNED', '1', '255', '0', '128'),
    expressions('c_tinyint1', 'TINYINT(1)', '1', '127', '-128', '2', '0'),
    expressions('c_bool', 'BOOLEAN', 'true', 'false', '2'),
    expressions('c_smallint', 'SMALLINT', '1', '32767', '-32768'),
    expressions('c_smallint_u', 'SMALLINT UNSIGNED', '1', '65535', '32768'),
    expressions('c_mediumint', 'MEDIUMINT', '1', '8388607', '-8388608'),
    expressions('c_mediumint_u', 'MEDIUMINT UNSIGNED', '1', '16777215', '8388608'),
    expressions('c_int', 'INT', '1', '2147483647', '-2147483648'),
    expressions('c_int_u', 'INT UNSIGNED', '1', '4294967295', '2147483648'),
    expressions('c_integer_u', 'INTEGER UNSIGNED', '1', '4294967295', '2147483648'),
    expressions('c_zerofill', 'INT(8) ZEROFILL', '1', '4294967295', '42'),
    expressions(
      'c_bigint',
      'BIGINT',
      '1',
      '9223372036854775807',
      '-9223372036854775808',
      '9007199254740993',
    ),
    expressions(
      'c_bigint_u',
      'BIGINT UNSIGNED',
      '1',
      '18446744073709551615',
      '9223372036854775808',
      '9223372036854775807',
    ),
    expressions('c_bit1', 'BIT(1)', "b'1'", "b'0'"),
    expressions('c_bit5', 'BIT(5)', "b'10100'", "b'0'", "b'00001'", "b'11111'"),
    expressions(
      'c_bit12',
      'BIT(12)',
      "b'000000000001'",
      "b'0'",
      "b'111111111111'",
      "b'000100000000'",
    ),
    expressions('c_bit64', 'BIT(64)', `b'1${'0'.repeat(62)}1'`, "b'0'", `b'${'1'.repeat(64)}'`),
    expressions('c_decimal_10_2', 'DECIMAL(10,2)', '1.10', '99999999.99', '-99999999.99', '0'),
    expressions(
      'c_decimal_65_30',
      'DECIMAL(65,30)',
      '1.10',
      '12345678901234567890.123456789012345678901234567890',
      '-12345678901234567890.123456789012345678901234567890',
      '0',
    ),
    expressions('c_decimal_20_u', 'DECIMAL(20,0) UNSIGNED', '1', '9223372036854775809'),
    expressions('c_float', 'FLOAT', '1.5', '0', '-0.25'),
    expressions(
      'c_float_digits',
      'FLOAT',
      '16777217',
      '123456.789',
      '3.4028234e38',
      '-3.4028234e38',
      '1.17549435e-38',
    ),
    expressions('c_float24', 'FLOAT(24)', '1.5', '1.17549435e-38'),
    expressions('c_float53', 'FLOAT(53)', '1.1', '1.7976931348623157e308', '5e-324', '16777217'),
    expressions('c_float_7_3', 'FLOAT(7,3)', '1.1', '9999.999', '-9999.999', '0.0005'),
    expressions(
      'c_double',
      'DOUBLE',
      '1.1',
      '1.7976931348623157e308',
      '-1.7976931348623157e308',
      '0.1',
      '1e22',
      '5e-324',
    ),
    expressions('c_double_10_3', 'DOUBLE(10,3)', '1.1', '9999999.999', '-9999999.999', '0.0005'),
    expressions('c_real', 'REAL', '1.1', '1.7976931348623157e308', '1e22'),
    expressions('c_float_u', 'FLOAT UNSIGNED', '1.5', '0'),
    expressions('c_year', 'YEAR', '2024', '2155', '1901', '1970'),
  ],
};

/** As doubles they are greater than the column may hold. */
const FAR_NUMBERS: TypeTable = {
  name: 't_num_far',
  columns: [
    expressions(
      'c_decimal_65_30',
      'DECIMAL(65,30)',
      `${'9'.repeat(35)}.${'9'.repeat(30)}`,
      `-${'9'.repeat(35)}.${'9'.repeat(30)}`,
    ),
    expressions('c_decimal_20_u', 'DECIMAL(20,0) UNSIGNED', '99999999999999999999'),
  ],
};

const TEXTS: TypeTable = {
  name: 't_text',
  columns: [
    texts('c_char5', 'CHAR(5)', 'ab', 'é ', 'tail ', '', 'abcde'),
    texts('c_varchar20', 'VARCHAR(20)', 'hello', 'emoji 😀', 'tail  ', ''),
    texts('c_varchar_bin', 'VARCHAR(20) COLLATE utf8mb4_bin', 'Hello', 'ZZ', ''),
    texts('c_latin1', 'VARCHAR(20) CHARACTER SET latin1', 'é€', 'ÿ', ''),
    texts('c_utf8mb3', 'VARCHAR(20) CHARACTER SET utf8mb3', 'é', '中'),
    texts('c_gbk', 'VARCHAR(20) CHARACTER SET gbk', '中', ''),
    texts('c_utf16', 'VARCHAR(20) CHARACTER SET utf16', 'ü', '😀'),
    texts('c_utf32', 'VARCHAR(20) CHARACTER SET utf32', 'ü', '😀'),
    texts('c_sjis', 'VARCHAR(20) CHARACTER SET sjis', 'あ', 'ｱ'),
    texts('c_cp1251', 'VARCHAR(20) CHARACTER SET cp1251', 'Я', ''),
    texts('c_tinytext', 'TINYTEXT', 'tt', ''),
    texts('c_text', 'TEXT', 'text', 'q"\\ \t\n', '__debezium_unavailable_value', ''),
    texts('c_mediumtext', 'MEDIUMTEXT', 'mt', ''),
    texts('c_longtext', 'LONGTEXT', 'lt', ''),
    texts('c_enum', `ENUM('a','b','é','x''y')`, 'a', 'b', 'é', "x'y"),
    texts('c_enum_comma', `ENUM('a','c,d')`, 'a', 'c,d'),
    texts('c_set', `SET('r','g','b')`, 'r,b', '', 'r,g,b'),
    texts('c_char_binary', 'CHAR(5) CHARACTER SET binary', 'ab', '', 'abcde'),
    expressions('c_binary4', 'BINARY(4)', '0xDEAD', '0x00000000', '0x61200000', "''"),
    expressions('c_binary16', 'BINARY(16)', '0xA0EEBC999C0B4EF8BB6D6BB9BD380A11', '0xFF00'),
    expressions('c_varbinary', 'VARBINARY(10)', '0xDEADBEEF00', '0x00', '0x20', "''", '0xFBFF3E'),
    expressions('c_tinyblob', 'TINYBLOB', '0x01', '0x00', "''"),
    expressions('c_blob', 'BLOB', '0xDEADBEEF00FF', '0x20', "''", '0xFBFF3E'),
    expressions('c_mediumblob', 'MEDIUMBLOB', '0xFF', "''"),
    expressions('c_longblob', 'LONGBLOB', '0xFF', "''"),
    texts(
      'c_json',
      'JSON',
      '{"b": 1, "a": [1.10, 2, 1e3], "n": 12345678901234567890, "t": true, "z": null, "s": "é\\"q"}',
      'null',
      '"str"',
      '[1, 9223372036854775807, 18446744073709551615, -0.5, 0.1]',
      '[]',
    ),
  ],
};

const TIMES: TypeTable = {
  name: 't_time',
  columns: [
    texts('c_date', 'DATE', '2024-02-29', '9999-12-31', '1000-01-01', '1969-12-31', '1582-10-10'),
    texts('c_date_early', 'DATE', '0001-01-01', '0099-12-31'),
    texts('c_time', 'TIME', '10:11:12', '00:00:00', '23:59:59'),
    texts('c_time3', 'TIME(3)', '10:11:12.123', '23:59:59.999'),
    texts('c_time6', 'TIME(6)', '10:11:12.123456', '23:59:59.999999'),
    texts('c_time_wide', 'TIME', '838:59:59', '-838:59:59', '-00:00:01', '-25:30:15'),
    texts('c_time3_wide', 'TIME(3)', '838:59:58.999', '-838:59:58.999', '-00:00:00.001'),
    texts(
      'c_time6_wide',
      'TIME(6)',
      '838:59:58.999999',
      '-838:59:58.999999',
      '-00:00:00.000001',
      '-25:30:15.000001',
    ),
    texts('c_time_24', 'TIME', '24:00:00'),
    texts(
      'c_datetime',
      'DATETIME',
      '2024-02-29 10:11:12',
      '1969-12-31 23:59:59',
      '2200-01-01 00:00:00',
    ),
    texts('c_datetime3', 'DATETIME(3)', '2024-02-29 10:11:12.120', '1969-12-31 23:59:59.999'),
    texts('c_datetime6', 'DATETIME(6)', '2024-02-29 10:11:12.123456', '1969-12-31 23:59:59.999999'),
    texts(
      'c_datetime_far',
      'DATETIME',
      '9999-12-31 23:59:59',
      '1000-01-01 00:00:00',
      '0001-01-01 00:00:00',
    ),
    texts(
      'c_datetime6_far',
      'DATETIME(6)',
      '9999-12-31 23:59:59.999999',
      '1000-01-01 00:00:00.000001',
      '2300-01-01 00:00:00',
    ),
    texts('c_datetime_gap', 'DATETIME', '1582-10-10 00:00:00'),
    texts(
      'c_timestamp',
      'TIMESTAMP NULL',
      '2024-02-29 10:11:12',
      '2038-01-19 03:14:07',
      '1970-01-01 00:00:01',
    ),
    texts(
      'c_timestamp3',
      'TIMESTAMP(3) NULL',
      '2024-02-29 10:11:12.120',
      '2038-01-19 03:14:07.999',
      '2000-01-01 00:00:00.1',
    ),
    texts(
      'c_timestamp6',
      'TIMESTAMP(6) NULL',
      '2024-02-29 10:11:12.100000',
      '2038-01-19 03:14:07.999999',
      '2000-01-01 00:00:00',
    ),
  ],
};

/** Written with sql_mode=''. */
const ZERO_DATES: TypeTable = {
  name: 't_zero',
  columns: [
    texts('c_date', 'DATE', '0000-00-00', '2024-00-00', '2024-05-00', '0000-01-01'),
    texts(
      'c_datetime',
      'DATETIME',
      '0000-00-00 00:00:00',
      '2024-00-00 00:00:00',
      '0000-01-01 00:00:00',
    ),
    texts('c_datetime6', 'DATETIME(6)', '0000-00-00 00:00:00', '2024-05-00 00:00:00'),
    texts('c_timestamp', 'TIMESTAMP NULL', '0000-00-00 00:00:00'),
    texts('c_enum', `ENUM('a','b')`, 'a', ''),
  ],
};

const SHAPES: readonly (readonly [name: string, text: string])[] = [
  ['LINESTRING', 'LINESTRING(0 0,1 1)'],
  ['POLYGON', 'POLYGON((0 0,1 0,1 1,0 0))'],
  ['MULTIPOINT', 'MULTIPOINT(0 0,1 1)'],
  ['MULTILINESTRING', 'MULTILINESTRING((0 0,1 1),(2 2,3 3))'],
  ['MULTIPOLYGON', 'MULTIPOLYGON(((0 0,1 0,1 1,0 0)))'],
  ['GEOMETRYCOLLECTION', 'GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))'],
];

function spatial(srid: string): TypeTable {
  return {
    name: 't_spatial',
    columns: [
      expressions(
        'c_geometry',
        'GEOMETRY',
        `ST_GeomFromText('POINT(1.5 -2)')`,
        `ST_GeomFromText('LINESTRING(0 0,1 1)')`,
        `ST_GeomFromText('POINT(10 20)',4326)`,
      ),
      expressions(
        'c_point',
        'POINT',
        `ST_GeomFromText('POINT(1.5 -2)')`,
        `ST_GeomFromText('POINT(0 0)')`,
      ),
      expressions('c_point_4326', `POINT ${srid}`, `ST_GeomFromText('POINT(10 20)',4326)`),
      ...SHAPES.map(([type, text]) =>
        expressions(`c_${type.toLowerCase()}`, type, `ST_GeomFromText('${text}')`),
      ),
    ],
  };
}

function defaults(stored: string): TypeTable {
  return {
    name: 't_default',
    columns: [
      expressions('c_int', 'INT DEFAULT 42', '1'),
      texts('c_varchar', `VARCHAR(10) DEFAULT 'dflt'`, 'x'),
      expressions('c_decimal', 'DECIMAL(10,2) DEFAULT 9.99', '1.5'),
      expressions('c_bool', 'BOOLEAN DEFAULT TRUE', 'false'),
      expressions('c_bit', `BIT(5) DEFAULT b'101'`, "b'1'"),
      texts('c_datetime', `DATETIME DEFAULT '2024-01-01 00:00:00'`, '2020-01-01 00:00:00'),
      texts('c_now', 'DATETIME DEFAULT CURRENT_TIMESTAMP', '2020-01-01 00:00:00'),
      texts('c_timestamp', 'TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP', '2020-01-01 00:00:00'),
      texts('c_enum', `ENUM('a','b') DEFAULT 'b'`, 'a'),
      expressions('c_expression', 'INT DEFAULT (1 + 2)', '5'),
      expressions('c_bigint_u', 'BIGINT UNSIGNED DEFAULT 18446744073709551615', '1'),
      texts('c_time', `TIME DEFAULT '10:00:00'`, '11:00:00'),
      texts('c_set', `SET('r','g') DEFAULT 'r,g'`, 'r'),
      expressions('c_invisible', 'INT INVISIBLE DEFAULT 5', '6'),
      generated('c_virtual', 'INT AS (c_int * 2) VIRTUAL'),
      generated('c_stored', `INT AS (c_int * 3) ${stored}`),
    ],
  };
}

/** Its default is sent as SHOW CREATE TABLE writes it, which is longer than the column. */
const BINARY_DEFAULT: TypeTable = {
  name: 't_default_binary',
  columns: [expressions('c_binary', `BINARY(4) DEFAULT 'ab'`, '0x01020304')],
};

const NAMES: TypeTable = {
  name: 't_weird tä-1',
  columns: [
    expressions('col with space', 'INT', '1'),
    texts('cöl', 'VARCHAR(10)', 'ü'),
    expressions('9lead', 'INT', '9'),
    expressions('a-b', 'INT', '1'),
    texts('UPPER', 'VARCHAR(5)', 'U'),
    expressions('under_score', 'INT', '2'),
  ],
};

const COMMON = [NUMBERS, FAR_NUMBERS, TEXTS, TIMES, ZERO_DATES, NAMES, BINARY_DEFAULT];

export const MYSQL_TABLES: readonly TypeTable[] = [
  ...COMMON,
  charsets({ cp932: 'あ①ｱ～', gb18030: '中😀' }),
  undefinedIn('latin1', 'CONVERT(0x61819D USING latin1)'),
  spatial('SRID 4326'),
  defaults('STORED'),
  {
    name: 't_own',
    columns: [
      expressions(
        'c_vector',
        'VECTOR(3)',
        `STRING_TO_VECTOR('[1.5,-2,0.1]')`,
        `STRING_TO_VECTOR('[0,0,0]')`,
      ),
      // Snapshot and stream print these differently.
      expressions(
        'c_json_typed',
        'JSON',
        `JSON_OBJECT('at', CAST('2024-02-29 10:11:12.5' AS DATETIME(6)), 'on', CAST('2024-02-29' AS DATE), 'dec', CAST(1.10 AS DECIMAL(10,2)))`,
      ),
      texts('c_json_double', 'JSON', '[1.7976931348623157e308, 1.0]'),
      expressions('c_year0', 'YEAR', '0'),
    ],
  },
];

/** YEAR 0000 and COMPRESSED columns would stop the connector, INET4 and INET6 too. */
export const MARIADB_TABLES: readonly TypeTable[] = [
  ...COMMON,
  charsets({}),
  undefinedIn('cp932', `'あ'`),
  spatial('REF_SYSTEM_ID=4326'),
  defaults('PERSISTENT'),
  {
    name: 't_own',
    columns: [
      texts(
        'c_uuid',
        'UUID',
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
        '00000000-0000-0000-0000-000000000000',
        'ffffffff-ffff-ffff-ffff-ffffffffffff',
        '6ccd780c-baba-1026-9564-5b8c656024db',
      ),
    ],
  },
];
