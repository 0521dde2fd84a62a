/** What MySQL's and MariaDB's connectors make of keys, transactions and the rest; and small probes. */
import { describe, expect, test } from 'vitest';
import type { ChangeEvent, DecodedRecord } from '../../../src/change/record.ts';
import { imageValue, type RowImage } from '../../../src/change/value.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import { coalesce } from '../../../src/order/coalesce.ts';
import type { SchemaCatalogue } from '../../../src/schema/table-schema.ts';
import { binlogBehaviour, binlogTable } from '../../support/binlog-behaviour.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  capturedRegistry,
  DEFAULT_MODES,
} from '../../support/debezium-records.ts';

type Row = Readonly<Record<string, unknown>>;

interface Decoded {
  readonly records: readonly DecodedRecord[];
  /** `code table`, each once. */
  readonly refused: readonly string[];
}

function decodeAll(
  capture: string,
  prefix: string,
  catalogue: SchemaCatalogue,
  encoding: 'json' | 'avro' = 'json',
): Decoded {
  const engine = capture.split('.')[0];
  const connector = engine === 'mysql' || engine === 'mariadb' ? engine : 'postgresql';
  const modes = { ...DEFAULT_MODES, ...(encoding === 'avro' && { names: 'avro' as const }) };
  const registry = encoding === 'avro' ? capturedRegistry() : null;
  const decoder = captureDecoder(prefix, catalogue, modes, registry, 'debezium', connector);
  const records: DecodedRecord[] = [];
  const refused = new Set<string>();
  for (const record of capturedRecords(capture, encoding)) {
    try {
      records.push(decoder.decode(record));
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      refused.add(`${error.code} ${error.context.table ?? ''}`);
    }
  }
  return { records, refused: [...refused].toSorted() };
}

const changesOf = (decoded: Decoded): readonly ChangeEvent[] =>
  decoded.records.filter((record) => record.kind === 'change');

function row(image: RowImage | null): Row | null {
  if (image === null) return null;
  return Object.fromEntries(image.shape.columns.map((name) => [name, imageValue(image, name)]));
}

/** What the changes leave of one table with a key, as texts of its columns. */
function left(decoded: Decoded, catalogue: SchemaCatalogue, table: string): readonly string[] {
  const rows = new Map<string, Row | null>();
  for (const change of changesOf(decoded)) {
    if (change.table.name !== table) continue;
    for (const step of coalesce([change], catalogue)) {
      if (step.kind === 'truncate') rows.clear();
      if (step.kind !== 'rows') continue;
      for (const net of step.changes) {
        const key = JSON.stringify(net.key);
        if (net.kind === 'delete') rows.delete(key);
        else rows.set(key, row(net.image));
      }
    }
  }
  return [...rows.values()].map((each) => Object.values(each ?? {}).join(' ')).toSorted();
}

const BINLOG = [
  ['mysql', 'obs_mybeh'],
  ['mariadb', 'obs_mabeh'],
] as const;

describe.each(BINLOG)('a binary log’s connector: %s', (connector, database) => {
  const catalogue = binlogBehaviour(database);
  const json = decodeAll(`${connector}.behaviour.default`, database, catalogue);
  const avro = decodeAll(`${connector}.behaviour`, `${database}avro`, catalogue, 'avro');

  test('leads to the rows that its database has', () => {
    const rows = (table: string): readonly string[] => left(json, catalogue, table);
    expect(rows('del1')).toEqual([]);
    expect(rows('nopk_uq')).toEqual([]);
    expect(rows('trunc1')).toEqual([]);
    expect(rows('pku')).toEqual(['103 odku', '110 a', '111 b2']);
    expect(rows('cpk')).toEqual(['9 x v1']);
    expect(rows('tx2')).toEqual(['2 b', '6 after savepoint']);
    expect(rows('myisam1')).toEqual(['1 non-tx']);
    expect(rows('par')).toEqual(['20']);
    expect(rows('inc1')).toEqual(['1 v1', '2 during', '3 v3', '4 v4', '6 v6', '7 v7']);
  });

  test('but for what it loses: a rollback of XA is a row, a cascade of MariaDB is none', () => {
    const tx1 = ['11 with query', '2 a2', '3 b', '5 kept', '7 mixed', '9 xa commit'];
    expect(left(json, catalogue, 'tx1')).toEqual([...tx1, '10 xa rollback'].toSorted());
    expect(left(json, catalogue, 'chi')).toEqual(
      connector === 'mysql' ? ['3 20'] : ['1 1', '2 1', '3 2'],
    );
  });

  test('has every number exactly', () => {
    const [first, second] = changesOf(json).filter(({ table }) => table.name === 'trap');
    const expected = {
      id: '1',
      i8: '9007199254740993',
      bu: '18446744073709551615',
      n: '1234567890123456.7890',
      b: Buffer.from([0xff]),
      dt: '2024-01-01 00:00:00.000001',
      t1: '1',
    };
    expect(row(first?.after ?? null)).toMatchObject(expected);
    expect(row(second?.after ?? null)).toMatchObject({ ...expected, id: '101' });
  });

  test('is refused only for tables that the shadow lacks', () => {
    const lacking = ['ddl1', 'ddl1b', 'ddl2', 'ddl3', 'img'];
    const refused = lacking.map((name) => `TABLE_UNKNOWN ${database}.${name}`);
    expect([json.refused, avro.refused]).toEqual([refused, refused]);
  });

  test('says the same in Avro', () => {
    // Keys are other bytes there, and lie in other partitions.
    const said = (decoded: Decoded, table: string): readonly string[] =>
      changesOf(decoded)
        .filter((change) => change.table.name === table)
        .map(({ op, key, oldKey, newKey, before, after }) =>
          JSON.stringify([op, ...[key, oldKey, newKey, before, after].map(row)]),
        )
        .toSorted();
    for (const table of ['pku', 'cpk', 'del1', 'nopk', 'nopk_uq', 'tx1', 'tx2', 'par', 'chi']) {
      expect(said(avro, table)).toEqual(said(json, table));
      expect(said(json, table).length).toBeGreaterThan(1);
    }
    const counts = ({ records }: Decoded): readonly unknown[] =>
      records.flatMap((record) => ('counts' in record ? [...(record.counts ?? [])] : []));
    expect(counts(avro).length).toBeGreaterThan(10);
  });
});

describe('small captures', () => {
  const int = { sql: 'int', kind: 'int32' } as const;
  const text = { sql: 'varchar(200)', kind: 'text' } as const;
  const json = { sql: 'json', kind: 'json' } as const;
  const only = (schema: string, columns: Parameters<typeof binlogTable>[2]): SchemaCatalogue =>
    new Map([[`${schema}.t`, binlogTable(schema, 't', columns)]]);

  test('an update of a part of a JSON carries the new one also as the old one', () => {
    const catalogue = only('obs_mypj', { id: int, v: text, j: json, j2: json });
    const decoded = decodeAll('mysql.probe.partial-json', 'obs_mypj', catalogue);
    expect(decoded.refused).toEqual([]);
    const [, update] = changesOf(decoded);
    expect([row(update?.before ?? null)?.['v'], row(update?.after ?? null)?.['v']]).toEqual([
      'a',
      'b',
    ]);
    expect(JSON.parse(String(row(update?.after ?? null)?.['j']))).toMatchObject({ a: 9, b: 2 });
  });

  test('compressed columns are whole in a snapshot', () => {
    const bytes = { sql: 'varbinary(1000)', kind: 'bytes' } as const;
    const catalogue = only('obs_mac', { id: int, c_v: text, c_b: bytes });
    const decoded = decodeAll('mariadb.probe.compressed-snapshot', 'obs_mac', catalogue);
    expect(decoded.refused).toEqual([]);
    const [long, short] = changesOf(decoded);
    expect(row(long?.after ?? null)?.['c_v']).toMatch(/^a{50,}$/);
    expect(row(short?.after ?? null)).toEqual({ id: '2', c_v: 'x', c_b: Buffer.from('y') });
  });

  test('NULL in columns with a DEFAULT stays NULL where the converter is told so', () => {
    const catalogue = capturedCatalogue('types');
    const decoded = decodeAll('pg.probe.avro-ignore-default', 'obs_q2', catalogue, 'avro');
    expect(decoded.refused).toEqual([]);
    const [defaults, nulls] = changesOf(decoded).map(({ after }) =>
      Object.values(row(after) ?? {}),
    );
    const count = (values: readonly unknown[] | undefined): number =>
      (values ?? []).filter((value) => value === null).length;
    expect(count(nulls)).toBeGreaterThan(count(defaults));
  });

  test('an incremental snapshot without signal table has a transaction of its own', () => {
    const catalogue: SchemaCatalogue = new Map([
      ['public.p_inc', binlogTable('public', 'p_inc', { id: int, v: text })],
    ]);
    const decoded = decodeAll('pg.probe.readonly-single-row-tx', 'obs_ks', catalogue);
    expect(decoded.refused).toEqual([]);
    expect(changesOf(decoded)).toHaveLength(8);
    expect(decoded.records.filter(({ kind }) => kind === 'begin')).toHaveLength(8);
  });

  test('decimals as bare numbers are exact with a schema too', () => {
    const decoded = decodeAll(
      'pg.traps.schema-numeric',
      'obs_traps',
      capturedCatalogue('behaviour'),
    );
    expect(decoded.refused).toEqual([]);
    const [first] = changesOf(decoded);
    expect(row(first?.after ?? null)).toMatchObject({
      i8: '9007199254740993',
      n: '1234567890123456.7890',
    });
  });
});
