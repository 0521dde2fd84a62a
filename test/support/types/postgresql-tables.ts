/** Every PostgreSQL type whose presence does not stop the connector, with its edge values. */
import { POSTGRESQL_ARRAY_TABLES } from './postgresql-array-tables.ts';
import { column, type TypeTable } from './type-table.ts';

/** What the tables stand on. A domain over an enum would stop the connector, captured or not. */
export const POSTGRESQL_SETUP: readonly string[] = [
  ...['hstore', 'citext', 'ltree', 'isn', 'cube', 'seg', 'postgis', 'vector'].map(
    (name) => `CREATE EXTENSION ${name}`,
  ),
  `CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')`,
  'CREATE TYPE pair AS (a int, b text)',
  'CREATE TYPE floatrange AS RANGE (subtype = float8)',
  'CREATE DOMAIN d_text AS text CHECK (length(value) < 100)',
  'CREATE DOMAIN d_varchar AS varchar(10)',
  'CREATE DOMAIN d_numeric AS numeric(8,3)',
  'CREATE DOMAIN d_bare_numeric AS numeric',
  'CREATE DOMAIN d_int AS int',
  'CREATE DOMAIN d_ints AS int[]',
  'CREATE DOMAIN d_timestamp3 AS timestamp(3)',
  'CREATE DOMAIN d_nested AS d_numeric',
];

const NUMBERS: TypeTable = {
  name: 't_num',
  columns: [
    column('c_bool', 'boolean', 'true', 'false'),
    column('c_int2', 'smallint', '1', '32767', '-32768', '0'),
    column('c_int4', 'int', '1', '2147483647', '-2147483648', '0'),
    column(
      'c_int8',
      'bigint',
      '1',
      '9223372036854775807',
      '-9223372036854775808',
      '9007199254740993',
    ),
    column('c_oid', 'oid', '1', '4294967295', '0'),
    column(
      'c_float4',
      'real',
      '1.1',
      '3.4028235e38',
      '1.4e-45',
      'NaN',
      'Infinity',
      '-Infinity',
      '-0',
      '16777216',
      '0.1',
    ),
    column(
      'c_float8',
      'double precision',
      '1.1',
      '1.7976931348623157e308',
      '5e-324',
      'NaN',
      'Infinity',
      '-Infinity',
      '-0',
      '1e22',
      '9007199254740993',
      '0.30000000000000004',
    ),
    column(
      'c_numeric_10_2',
      'numeric(10,2)',
      '1.10',
      '99999999.99',
      '-99999999.99',
      '0',
      '-1.28',
      '0.01',
    ),
    column('c_numeric_38_0', 'numeric(38,0)', '1', '-128', '128', '255', '0'),
    column('c_numeric_5_m2', 'numeric(5,-2)', '12345', '9999900', '-9999900', '0'),
    column('c_numeric_3_5', 'numeric(3,5)', '0.00123', '0.00999', '-0.00999', '0'),
    column(
      'c_numeric',
      'numeric',
      '1.5',
      '12345678901234567890.12345678901234567890123456789',
      '-0.5',
      '0',
      '7',
    ),
    column('c_numeric_zeros', 'numeric', '1.10', '100', '0.000', '1e20', '1e-10'),
    column('c_numeric_nan', 'numeric', 'NaN', 'Infinity', '-Infinity'),
    column('c_numeric_2_nan', 'numeric(10,2)', 'NaN'),
    column('c_money', 'money', '12.34', '9007199254740.93', '0', '-0.01'),
  ],
};

const TEXTS: TypeTable = {
  name: 't_text',
  columns: [
    column('c_char5', 'char(5)', 'ab', 'é ', 'zzzzz', ''),
    column('c_bpchar', 'bpchar', 'ab', 'tail  ', ''),
    column('c_char1', 'char', 'a', ' ', 'z'),
    column('c_varchar20', 'varchar(20)', 'hello', 'tab\tnl\n', 'x', ''),
    column('c_varchar', 'varchar', 'hello', '', ' y '),
    column(
      'c_text',
      'text',
      'hello',
      'emoji 😀 "q" \\ \u0001 \u2028',
      '__debezium_unavailable_value',
      '',
    ),
    column('c_citext', 'citext', 'HeLLo', ''),
    column('c_name', 'name', 'nm', ''),
    column('c_qchar', '"char"', 'q', ''),
    column(
      'c_json',
      'json',
      '{"b": 1,  "a":[1.10, 2], "b":2}',
      'null',
      '"str"',
      '12345678901234567890.10',
    ),
    column(
      'c_jsonb',
      'jsonb',
      '{"b": 1,  "a":[1.10, 2], "n":12345678901234567890.10}',
      'null',
      '[]',
      '1e-7',
    ),
    column('c_xml', 'xml', '<a x="1">t</a>', '', '<a/>'),
    column(
      'c_uuid',
      'uuid',
      'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
      '00000000-0000-0000-0000-000000000000',
      'b68a35a7-17ad-35b3-af2a-ae46edb4545a',
    ),
    column('c_ltree', 'ltree', 'Top.Science', '', 'a'),
    column('c_tsvector', 'tsvector', 'fat cat sat', '', 'a:1A b:2', "'it''s':3 'a\\\\b'"),
    column('c_inet', 'inet', '192.168.0.1/24', '::1', '2001:db8::1/64', '10.0.0.1'),
    column('c_cidr', 'cidr', '10.0.0.0/8', '::/0', '2001:db8::/32'),
    column('c_macaddr', 'macaddr', '08:00:2b:01:02:03', 'ff:ff:ff:ff:ff:ff'),
    column('c_macaddr8', 'macaddr8', '08:00:2b:01:02:03:04:05'),
    column('c_isbn', 'isbn', '978-0-393-04002-9'),
    column('c_enum', 'mood', 'happy', 'sad'),
    column('c_d_text', 'd_text', 'dom', ''),
    column('c_d_varchar', 'd_varchar', 'dvc', ''),
    column('c_d_numeric', 'd_numeric', '1.5', '-0.001', '12345.678'),
    column('c_d_bare_numeric', 'd_bare_numeric', '1.5', '-7'),
    column('c_d_int', 'd_int', '7', '-1', '2147483647'),
    column('c_d_ints', 'd_ints', '{1,2}', '{}', '{NULL,1}'),
    column('c_d_nested', 'd_nested', '2.25', '0', '99999.999'),
    column('c_d_timestamp3', 'd_timestamp3', '2024-02-29 10:11:12.12', '9999-12-31 23:59:59.999'),
    column('c_hstore', 'hstore', '"a"=>"1","b"=>NULL,"q\\"x"=>"é, y"', '', '""=>""', '"a"=>"NULL"'),
    column('c_bytea', 'bytea', '\\xdeadbeef00ff', '\\x', '\\x00', '\\xfbff3e', '\\x48656c6c6f'),
    column('c_bit1', 'bit(1)', '1', '0'),
    column('c_bit5', 'bit(5)', '10100', '00000', '00001'),
    column('c_bit12', 'bit(12)', '000000000001', '000000000000', '111111111111'),
    column(
      'c_bit64',
      'bit(64)',
      `1${'0'.repeat(62)}1`,
      '0'.repeat(64),
      `${'0'.repeat(55)}100000000`,
    ),
  ],
};

/** Lengths of varying bit strings are lost on the way. */
const VARYING_BITS: TypeTable = {
  name: 't_varbit',
  columns: [
    column('c_varbit1', 'varbit(1)', '1', '0', ''),
    column('c_varbit8', 'varbit(8)', '0101', '', '10000000'),
    column('c_varbit', 'varbit', '000111000111', '', '1'),
  ],
};

const TIMES: TypeTable = {
  name: 't_time',
  columns: [
    column(
      'c_date',
      'date',
      '2024-02-29',
      '5874897-12-31',
      '1969-12-31',
      '1582-10-04',
      '0001-01-01',
    ),
    column('c_date_gap', 'date', '0044-03-15 BC', '4713-01-01 BC', '1582-10-10'),
    column('c_date_inf', 'date', 'infinity', '-infinity'),
    column(
      'c_time',
      'time',
      '10:11:12.123456',
      '00:00:00',
      '23:59:59.999999',
      '00:00:00.000001',
      '12:00:00.1',
    ),
    column('c_time_24', 'time', '24:00:00'),
    column('c_time0', 'time(0)', '10:11:12', '00:00:00', '23:59:59'),
    column('c_time3', 'time(3)', '10:11:12.123', '00:00:00', '23:59:59.999', '00:00:00.001'),
    column(
      'c_timetz',
      'timetz',
      '10:11:12.123456+00',
      '00:00:00+00',
      '23:59:59.999999+00',
      '12:00:00.1+00',
    ),
    column('c_timetz_zone', 'timetz', '10:11:12.123456+02', '24:00:00-15:59', '00:00:00.000001-12'),
    column('c_timetz3', 'timetz(3)', '10:11:12.120+00', '23:59:59.999+00'),
    column(
      'c_timestamp',
      'timestamp',
      '2024-02-29 10:11:12.123456',
      '1969-12-31 23:59:59.999999',
      '2262-04-11 00:00:00',
      '2024-01-01 00:00:00',
    ),
    column(
      'c_timestamp_far',
      'timestamp',
      '0044-03-15 01:02:03.000004 BC',
      '4713-01-01 00:00:00 BC',
      '10000-01-01 00:00:00',
      '1582-10-10 00:00:00',
    ),
    column('c_timestamp_inf', 'timestamp', 'infinity', '-infinity'),
    column(
      'c_timestamp0',
      'timestamp(0)',
      '2024-02-29 10:11:12',
      '1969-12-31 23:59:59',
      '1677-09-22 00:00:00',
    ),
    column('c_timestamp3', 'timestamp(3)', '2024-02-29 10:11:12.120', '1969-12-31 23:59:59.999'),
    column(
      'c_timestamp3_far',
      'timestamp(3)',
      '0044-03-15 01:02:03 BC',
      '9999-12-31 23:59:59.999',
      '1500-02-28 00:00:00',
    ),
    column('c_timestamp3_inf', 'timestamp(3)', 'infinity', '-infinity'),
    column(
      'c_timestamptz',
      'timestamptz',
      '2024-02-29 10:11:12.123456+02',
      '294276-12-31 23:59:59.999999+00',
      '0044-03-15 01:02:03.000004+00 BC',
      '1969-12-31 23:59:59.999999+00',
      '4713-01-01 00:00:00+00 BC',
      '1582-10-10 00:00:00+00',
      '10000-01-01 00:00:00+00',
      'infinity',
      '-infinity',
    ),
    column('c_timestamptz0', 'timestamptz(0)', '2024-02-29 10:11:12+02', '1969-12-31 23:59:59+00'),
    column(
      'c_timestamptz3',
      'timestamptz(3)',
      '2024-02-29 10:11:12.120+02',
      '0001-01-01 00:00:00+00',
      '294276-12-31 23:59:59.999+00',
    ),
    column(
      'c_interval',
      'interval',
      '04:05:06.789',
      '0',
      '-00:00:00.001',
      '720:00:00',
      '1 microsecond',
    ),
    column(
      'c_interval_days',
      'interval',
      '1 year 2 mons 3 days 04:05:06.789',
      '-1 years -2 mons +3 days -04:05:06.7',
      '30 days',
      '1 mon -1 day',
    ),
    column('c_interval_months', 'interval year to month', '1 year 2 mons', '-1 mons'),
    column('c_interval3', 'interval(3)', '00:00:01.234', '1 day 00:00:01.234'),
    column('c_interval_far', 'interval', '100000 years', '-100000 years'),
    column('c_interval_inf', 'interval', 'infinity', '-infinity'),
  ],
};

/** Beyond what 64 bits of microseconds hold on the way. */
const FAR_TIMES: TypeTable = {
  name: 't_time_far',
  columns: [column('c_timestamp', 'timestamp', '294276-12-31 23:59:59.999999')],
};

/** As doubles they round up, out of the column's range. */
const FAR_NUMBERS: readonly TypeTable[] = [
  {
    name: 't_numeric_far',
    columns: [column('c_numeric_38_0', 'numeric(38,0)', '9'.repeat(38), `-${'9'.repeat(38)}`)],
  },
  {
    name: 't_money_far',
    columns: [column('c_money', 'money', '92233720368547758.07', '-92233720368547758.08')],
  },
];

const FAR_INTERVALS: TypeTable = {
  name: 't_interval_far',
  columns: [
    column(
      'c_interval',
      'interval',
      '178000000 years',
      '-178000000 years',
      '106751991 days 23:59:59',
    ),
  ],
};

const RANGES: TypeTable = {
  name: 't_range',
  columns: [
    column('c_int4', 'int4range', '[1,5]', 'empty', '(,)'),
    column('c_int8', 'int8range', '[1,5]', '(,)'),
    column('c_num', 'numrange', '[1.10,5.5]', '[,5]'),
    column('c_ts', 'tsrange', '[2024-01-01,2024-01-02 00:00:00.5)', '(,)'),
    column('c_tstz', 'tstzrange', '[2024-01-01 00:00+02,2024-01-02 00:00+02)', '[,infinity]'),
    column('c_date', 'daterange', '[2024-01-01,2024-01-31]', '(,infinity)'),
    column('c_point', 'point', '(1.5,-2)', '(0,1e300)', '(-0,0)'),
  ],
};

/** Types the connector does not know: sent as text with include.unknown.datatypes, else not. */
const UNKNOWN: TypeTable = {
  name: 't_unknown',
  columns: [
    column('c_issn', 'issn', '1436-4522'),
    column('c_ean13', 'ean13', '978-0-11-000222-4'),
    column('c_lquery', 'lquery', '*.foo.*', 'a'),
    column('c_ltxtquery', 'ltxtquery', 'a & b'),
    column('c_tsquery', 'tsquery', 'fat & rat', '', '!a'),
    column('c_jsonpath', 'jsonpath', '$.a[*] ? (@ > 2)', '$'),
    column('c_xid', 'xid', '1', '4294967295'),
    column('c_xid8', 'xid8', '1', '18446744073709551615'),
    column('c_lsn', 'pg_lsn', '0/16B3748', 'FFFFFFFF/FFFFFFFF'),
    column('c_tid', 'tid', '(1,2)', '(4294967295,65535)'),
    column('c_cid', 'cid', '1'),
    column('c_regclass', 'regclass', 'pg_class'),
    column('c_cube', 'cube', '(1,2),(3,4)', '(0)'),
    column('c_seg', 'seg', '1.5 .. 2.5', '1'),
    column('c_pair', 'pair', '(1,"x y")', '(,)', '(5,)'),
    column('c_line', 'line', '{1,2,3}', '{0,1,0}'),
    column('c_lseg', 'lseg', '[(0,0),(1,1)]'),
    column('c_box', 'box', '(2,2),(0,0)'),
    column('c_path_closed', 'path', '((0,0),(1,1),(2,0))'),
    column('c_path_open', 'path', '[(0,0),(1,1)]'),
    column('c_polygon', 'polygon', '((0,0),(1,1),(2,0))'),
    column('c_circle', 'circle', '<(1,2),3>'),
    column('c_floatrange', 'floatrange', '[1.5,2.5)', 'empty'),
    column('c_int4multirange', 'int4multirange', '{[1,5],[10,20)}', '{}'),
    column('c_nummultirange', 'nummultirange', '{[1.10,2)}'),
    column('c_tsmultirange', 'tsmultirange', '{[2024-01-01,2024-01-02)}'),
    column('c_tstzmultirange', 'tstzmultirange', '{(,2024-01-01 00:00+00)}'),
    column('c_datemultirange', 'datemultirange', '{[2024-01-01,2024-01-31]}'),
    column('c_floatmultirange', 'floatmultirange', '{[1.5,2.5)}'),
  ],
};

/** NULL where there is a DEFAULT, and what the database itself fills in. */
const DEFAULTS: TypeTable = {
  name: 't_default',
  columns: [
    column('c_int', 'int DEFAULT 42', '1'),
    column('c_text', `text DEFAULT 'dflt'`, 'x', ''),
    column('c_numeric', 'numeric(10,2) DEFAULT 9.99', '1.5'),
    column('c_bool', 'boolean DEFAULT true', 'false'),
    column('c_timestamp', `timestamp DEFAULT '2024-01-01 00:00:00'`, '2020-01-01 00:00:00'),
    column('c_now', 'timestamptz DEFAULT now()', '2020-01-01 00:00:00+00'),
    column('c_date', `date DEFAULT '2020-01-01'`, '1999-12-31'),
    column('c_jsonb', `jsonb DEFAULT '{"k":1}'`, '{}'),
    column('c_enum', `mood DEFAULT 'ok'`, 'sad'),
    column('c_array', `int[] DEFAULT '{1,2}'`, '{3}'),
    column(
      'c_uuid',
      `uuid DEFAULT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'`,
      '00000000-0000-0000-0000-000000000000',
    ),
    column('c_bytea', `bytea DEFAULT '\\xdead'`, '\\x00'),
    column('c_expression', 'int DEFAULT (1 + 2)', '5'),
    { name: 'c_generated', type: 'int GENERATED ALWAYS AS (c_int * 2) STORED', values: null },
  ],
};

const SPATIAL: TypeTable = {
  name: 't_spatial',
  columns: [
    column(
      'c_geometry',
      'geometry',
      'POINT(1.5 -2)',
      'SRID=4326;POINT(10 20)',
      'LINESTRING(0 0,1 1)',
      'POLYGON((0 0,1 0,1 1,0 0))',
      'POINT EMPTY',
      'GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))',
      'POINT ZM (1 2 3 4)',
    ),
    column('c_point_4326', 'geometry(Point,4326)', 'SRID=4326;POINT(10 20)'),
    column('c_geography', 'geography', 'POINT(10 20)', 'POLYGON((0 0,1 0,1 1,0 0))'),
  ],
};

const VECTORS: TypeTable = {
  name: 't_vector',
  columns: [
    column('c_vector', 'vector(3)', '[1.5,-2,0.1]', '[0,0,0]'),
    column('c_halfvec', 'halfvec(3)', '[1.5,-2,0.1]', '[0,0,0]'),
    column('c_sparsevec', 'sparsevec(5)', '{1:1.5,3:2}/5', '{}/5'),
  ],
};

/** Names that Avro does not take as they are. */
const NAMES: TypeTable = {
  name: 't_Weird Näme-1',
  columns: [
    column('col with space', 'int', '1'),
    column('cöl', 'text', 'ü'),
    column('9lead', 'int', '9'),
    column('a-b', 'int', '1'),
    column('UPPER', 'text', 'U'),
    column('under_score', 'int', '2'),
  ],
};

export const POSTGRESQL_TABLES: readonly TypeTable[] = [
  ...[NUMBERS, TEXTS, VARYING_BITS, TIMES, FAR_TIMES, ...FAR_NUMBERS, FAR_INTERVALS, RANGES],
  ...[UNKNOWN, ...POSTGRESQL_ARRAY_TABLES, DEFAULTS, SPATIAL, VECTORS, NAMES],
];
