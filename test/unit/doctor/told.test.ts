/** What the table of losses says that `doctor` tells, `doctor` tells. */
import { expect, it } from 'vitest';
import type { ConnectSchema } from '../../../src/decode/envelope/connect-schema.ts';
import { LOSSES, type LossId } from '../../../src/decode/losses/losses.ts';
import type { ConnectorModes } from '../../../src/decode/modes.ts';
import { diagnoseConnector } from '../../../src/doctor/connector-settings.ts';
import { columnsToTell, diagnoseLosses, lossesSeen } from '../../../src/doctor/losses.ts';
import type {
  ColumnSchema,
  ColumnType,
  SchemaCatalogue,
} from '../../../src/schema/table-schema.ts';
import { publishedConnector } from '../../support/connectors.ts';
import { capturedCatalogue, DEFAULT_MODES } from '../../support/debezium-records.ts';
import { TOLD } from '../../support/told-losses.ts';

const id = { schema: 's', name: 't' };
const column = (
  name: string,
  type: ColumnType,
  more: Partial<ColumnSchema> = {},
): ColumnSchema => ({
  ...{ name, type, nullable: true, toastable: false, generated: 'no', identity: 'no' },
  ...more,
});
const tableOf = (columns: readonly ColumnSchema[]): SchemaCatalogue =>
  new Map([
    ['s.t', { id, key: ['id'], uniques: [], foreignKeys: [], partitioned: false, columns }],
  ]);

const INT: ColumnType = { sql: 'integer', kind: 'int32' };
/** Beside what the captured databases have. */
const MORE = tableOf([
  column('flags', { sql: 'bit varying(8)', kind: 'bits', length: 8 }),
  column('wide', { sql: 'public.sparsevec(40000)', kind: 'vector' }),
  column('sum', INT, { generated: 'stored' }),
  column('stock', INT, { hasDefault: true }),
  column('called', { sql: 'name', kind: 'text' }),
]);
const DOUBLE: ColumnType = { sql: 'double', kind: 'float64' };
const RAW: ColumnType = { sql: 'binary(5)', kind: 'bytes', length: 5 };
const BINLOG = tableOf([
  column('real', DOUBLE),
  column('flag', { sql: 'tinyint(1)', kind: 'int16' }),
  column('raw', RAW),
  column('fourß', { sql: 'float', kind: 'float32' }),
]);

const CHARSETS = tableOf(
  ['cp932', 'euckr', 'hp8'].map((charset) =>
    column(charset, { sql: 'varchar(9)', kind: 'text', charset }),
  ),
);

const MODES: readonly ConnectorModes[] = [
  { ...DEFAULT_MODES, bigintUnsigned: 'long' },
  { ...DEFAULT_MODES, bigintUnsigned: 'long', time: 'connect', decimal: 'double' },
  { ...DEFAULT_MODES, bigintUnsigned: 'long', time: 'isostring' },
  { ...DEFAULT_MODES, bigintUnsigned: 'long', time: 'nanoseconds' },
];
const JSON_CONVERTER = 'org.apache.kafka.connect.json.JsonConverter';
const SETTINGS: readonly (readonly [string, string][])[] = [
  [],
  [
    ['value.converter', JSON_CONVERTER],
    ['value.converter.schemas.enable', 'false'],
  ],
  [
    ['column.exclude.list', '.*'],
    ['include.unknown.datatypes', 'true'],
  ],
  [['include.unknown.datatypes', 'true']],
];
const CATALOGUES = [
  ['postgresql', capturedCatalogue('types')],
  ['postgresql', MORE],
  ['mysql', capturedCatalogue('mysql')],
  ['mysql', BINLOG],
  ['mariadb', capturedCatalogue('mariadb')],
  ['mariadb', CHARSETS],
] as const;

const UNICODE = { connector: 'mysql', modes: { names: 'avro_unicode' } } as const;

/** How a connector that read the DDL in the binlog sends these columns. */
const SEEN: ConnectSchema = {
  type: 'struct',
  fields: [
    { field: 'real', type: 'float' },
    { field: 'flag', type: 'boolean' },
    { field: 'raw', type: 'string' },
    // As field.name.adjustment.mode=avro_unicode writes it.
    { field: 'four_u00df', type: 'double' },
  ],
};

function byColumns(): ReadonlySet<string> {
  const found = new Set<string>();
  for (const [connector, catalogue] of CATALOGUES) {
    for (const modes of MODES) {
      for (const settings of SETTINGS) {
        const told = columnsToTell({ connector, modes }, catalogue, () => true, new Map(settings));
        for (const finding of diagnoseLosses(told)) found.add(finding.id);
      }
    }
  }
  for (const finding of diagnoseLosses(lossesSeen(UNICODE, BINLOG, { table: id, row: SEEN })))
    found.add(finding.id);
  return found;
}

async function bySettings(): Promise<ReadonlySet<string>> {
  const planted = {
    'field.name.adjustment.mode': 'avro',
    'enable.time.adjuster': 'true',
    'snapshot.locking.mode': 'none',
    transforms: 'flat',
    'transforms.flat.type': 'io.debezium.transforms.ExtractNewRecordState',
    'transforms.flat.delete.tombstone.handling.mode': 'drop',
  };
  const settings = { ...(await publishedConnector('mysql')), ...planted };
  const found = diagnoseConnector('c', new Map(Object.entries(settings)), { byColumn: true });
  return new Set(found.map((finding) => finding.id));
}

const PROMISED = Object.entries(LOSSES)
  .filter(([, { detection }]) => detection.includes('doctor'))
  .map(([loss]) => loss as LossId);

it('has a finding for every loss that the doctor is said to tell, and for no other', () => {
  expect(Object.keys(TOLD).toSorted()).toEqual(PROMISED.toSorted());
});

it('makes those of columns and settings; those of catalogues are made of real ones', async () => {
  const found = new Set([...byColumns(), ...(await bySettings())]);
  const lacking = PROMISED.filter(
    (loss) => !/^(table|production)\./.test(TOLD[loss] ?? '') && !found.has(TOLD[loss] ?? ''),
  );
  expect(lacking).toEqual([]);
});

it('calls it an error where only a schema would tell another form, or where something stops', () => {
  const settings = new Map(SETTINGS[1]);
  const source = { connector: 'mysql', modes: MODES[0] ?? {} } as const;
  const levels = diagnoseLosses(columnsToTell(source, BINLOG, () => true, settings)).map(
    ({ id: finding, level }) => `${level} ${finding}`,
  );
  expect(levels).toContain('error column.float4-untold');
  expect(levels).toContain('error column.char-binary-untold');
});

it('does not warn of a column of type name where it is sent', () => {
  const told = (settings: readonly [string, string][]): readonly string[] =>
    columnsToTell({ connector: 'postgresql', modes: {} }, MORE, () => true, new Map(settings)).map(
      ({ id: loss }) => loss,
    );
  expect(told([])).toContain('name-null');
  expect(told([['include.unknown.datatypes', 'true']])).not.toContain('name-null');
});
