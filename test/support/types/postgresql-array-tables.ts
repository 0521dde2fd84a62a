/** Arrays of PostgreSQL's types. */
import { column, type TypeTable } from './type-table.ts';

const ARRAYS: TypeTable = {
  name: 't_array',
  columns: [
    column('a_bool', 'bool[]', '{t,f}', '{t,NULL}', '{}'),
    column('a_int2', 'int2[]', '{1,-2}', '{1,NULL}', '{}'),
    column('a_int4', 'int4[]', '{1,-2}', '{NULL}', '{}'),
    column('a_int8', 'int8[]', '{1,9007199254740993}', '{NULL,1}', '{}'),
    column('a_oid', 'oid[]', '{1,4294967295}', '{NULL}'),
    column('a_float4', 'float4[]', '{1.5,NaN}', '{NULL}', '{0.1,3.4028235e38}'),
    column('a_float8', 'float8[]', '{1.5,Infinity}', '{NULL}', '{-0}'),
    column('a_numeric_10_2', 'numeric(10,2)[]', '{1.10,-2.5}', '{NULL,1}'),
    column('a_numeric', 'numeric[]', '{1.1,12345678901234567890.5}', '{NULL,1}'),
    column('a_text', 'text[]', '{a,"b,c","d\\"e"}', '{NULL,"NULL",""}', '{}', '{"{}","\\\\"}'),
    column('a_varchar', 'varchar(10)[]', '{a,b}', '{NULL}'),
    column('a_char', 'char(3)[]', '{a,bcd}', '{NULL}'),
    column('a_citext', 'citext[]', '{A,b}', '{NULL}'),
    column('a_json', 'json[]', '{"{\\"a\\": 1}",[]}', '{NULL,null}'),
    column('a_jsonb', 'jsonb[]', '{"{\\"a\\": 1}",[]}', '{NULL,null}'),
    column('a_uuid', 'uuid[]', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{NULL}'),
    column('a_inet', 'inet[]', '{192.168.0.1/24,::1}', '{NULL}'),
    column('a_cidr', 'cidr[]', '{10.0.0.0/8}', '{NULL}'),
    column('a_macaddr', 'macaddr[]', '{08:00:2b:01:02:03}', '{NULL}'),
    column('a_macaddr8', 'macaddr8[]', '{08:00:2b:01:02:03:04:05}', '{NULL}'),
    column('a_enum', 'mood[]', '{sad,happy}', '{}'),
    column('a_ltree', 'ltree[]', '{a.b,c}', '{}'),
    column('a_tsvector', 'tsvector[]', `{"'a' 'b'","'c'"}`, '{}'),
    column('a_isbn', 'isbn[]', '{978-0-393-04002-9}', '{}'),
    column('a_bytea', 'bytea[]', '{"\\\\xdead","\\\\x"}', '{NULL}'),
    column('a_date', 'date[]', '{2024-02-29,1969-12-31}', '{NULL}'),
    column('a_time', 'time[]', '{10:11:12.123}', '{NULL}'),
    column('a_timetz', 'timetz[]', '{10:11:12+00}', '{NULL}'),
    column('a_timestamp', 'timestamp[]', '{"2024-02-29 10:11:12.123456"}', '{NULL}'),
    column('a_timestamp3', 'timestamp(3)[]', '{"2024-02-29 10:11:12.12"}', '{NULL}'),
    column('a_timestamptz', 'timestamptz[]', '{"2024-02-29 10:11:12.123456+02"}', '{NULL}'),
    column('a_int4range', 'int4range[]', '{"[1,5)",empty}', '{NULL}'),
    column('a_int8range', 'int8range[]', '{"[1,9007199254740993)"}', '{NULL}'),
    column('a_tsrange', 'tsrange[]', '{"[2024-01-01 00:00:00,2024-01-02 00:00:00.5)"}', '{NULL}'),
    column('a_numrange', 'numrange[]', '{"[1.1,2)"}', '{NULL}'),
    column('a_tstzrange', 'tstzrange[]', '{"[2024-01-01 00:00+02,2024-01-02 00:00+02)"}', '{NULL}'),
    column('a_daterange', 'daterange[]', '{"[2024-01-01,2024-02-01)"}', '{NULL}'),
    column('a_hstore', 'hstore[]', '{"a=>1","b=>NULL"}', '{NULL}'),
    // What arrives of these is less than was there.
    column('a_bounds', 'int[]', '[0:1]={1,2}'),
    column('a_enum_null', 'mood[]', '{NULL,ok}'),
    column('a_ltree_null', 'ltree[]', '{NULL,a}'),
    column('a_tsvector_null', 'tsvector[]', `{NULL,"'a'"}`),
    column('a_isbn_null', 'isbn[]', '{NULL}'),
    column('a_time_micros', 'time[]', '{10:11:12.123456}'),
    column('a_timetz_micros', 'timetz[]', '{10:11:12.5+02}'),
    column('a_numeric_zeros', 'numeric[]', '{1.10,100}'),
    column('a_bit3', 'bit(3)[]', '{101,001}'),
  ],
};

/** Arrays whose elements the connector does not know: sent like what is unknown itself. */
const UNKNOWN_ARRAYS: TypeTable = {
  name: 't_unknown_array',
  columns: [
    column('a_d_text', 'd_text[]', '{x,y}'),
    column('a_d_numeric', 'd_numeric[]', '{1.5,2}'),
    column('a_pair', 'pair[]', '{"(1,x)","(2,y)"}'),
    column('a_int4multirange', 'int4multirange[]', '{"{[1,5)}"}'),
    column('a_box', 'box[]', '{(1,1),(0,0);(3,3),(2,2)}'),
    column('a_xid', 'xid[]', '{1,2}'),
  ],
};

/** Arrays that are left out, whatever the modes. */
const OMITTED_ARRAYS: TypeTable = {
  name: 't_omitted_array',
  columns: [
    column('a_money', 'money[]', '{1.10,2}'),
    column('a_name', 'name[]', '{n1,n2}'),
    column('a_xml', 'xml[]', '{<a/>,<b>x</b>}'),
    column('a_interval', 'interval[]', '{"1 year 2 mons",00:00:01}'),
    column('a_varbit', 'varbit[]', '{1,0101}'),
    column('a_refcursor', 'refcursor[]', '{c1,c2}'),
    column('a_point', 'point[]', '{"(1,2)","(3,4)"}'),
  ],
};

/** Of more than one dimension: nulls, or the name of a Java object. */
const MULTI_INTS: TypeTable = {
  name: 't_multi_ints',
  columns: [
    column('a_int4', 'int[]', '{{1,2},{3,4}}'),
    column('a_int2', 'int2[]', '{{1},{-2}}'),
    column('a_int8', 'int8[]', '{{1,9007199254740993}}'),
    column('a_float4', 'float4[]', '{{1.5,2.5}}'),
    column('a_float8', 'float8[]', '{{1.5,2.5}}'),
    column('a_numeric', 'numeric[]', '{{1.10,2}}'),
    column('a_timestamptz', 'timestamptz[]', '{{"2024-02-29 10:11:12+02"}}'),
    column('a_bool', 'bool[]', '{{t,f}}'),
    column('a_date', 'date[]', '{{2024-01-01},{2024-01-02}}'),
  ],
};

const MULTI_TEXTS: TypeTable = {
  name: 't_multi_texts',
  columns: [column('a_text', 'text[]', '{{a,b},{c,"d,e"}}')],
};

const MULTI_UUIDS: TypeTable = {
  name: 't_multi_uuids',
  columns: [column('a_uuid', 'uuid[]', '{{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}}')],
};

export const POSTGRESQL_ARRAY_TABLES: readonly TypeTable[] = [
  ...[ARRAYS, UNKNOWN_ARRAYS, OMITTED_ARRAYS, MULTI_INTS, MULTI_TEXTS, MULTI_UUIDS],
];
