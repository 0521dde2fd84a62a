import { describe, expect, test } from 'vitest';
import {
  manifestEnds,
  manifestReference,
  parseManifest,
  type Manifest,
} from '../../../src/drift/manifest.ts';

const SAMPLE: Manifest = {
  version: 1,
  createdAt: '2026-11-24T09:42:38.000Z',
  pin: {
    kind: 'xid-barrier',
    snapshot: '745:752:748',
    lsn: '9007199254740993',
    floor: '9007199254740900',
    endOffsets: { 'prod.public.t/0': '12', 'prod.public.t/1': '0' },
  },
  selfTest: '1 2 3',
  tables: [
    {
      table: 'public.t',
      id: { schema: 'public', name: 't' },
      key: ['id'],
      columns: ['id', 'v'],
      forms: ['integer', 'text', 'key integer'],
      leaves: [
        { from: null, to: ['3'], rows: 2, hash: '30' },
        { from: ['3'], to: null, rows: 1, hash: '-7' },
      ],
      rows: [
        [['1'], '10'],
        [['2'], '20'],
        [['3'], '-7'],
      ],
    },
  ],
};

function withTable(change: Partial<Manifest['tables'][number]>): string {
  const [table] = SAMPLE.tables;
  return JSON.stringify({ ...SAMPLE, tables: [{ ...table, ...change }] });
}

describe('a manifest', () => {
  test('is read back as it was written, positions exact', () => {
    const read = parseManifest(JSON.stringify(SAMPLE));
    expect(read).toEqual(SAMPLE);
    expect(BigInt(read.pin.lsn)).toBe(9_007_199_254_740_993n);
    expect(manifestEnds(read)).toEqual(
      new Map([
        ['prod.public.t/0', 12n],
        ['prod.public.t/1', 0n],
      ]),
    );
  });

  test('gives the rows of just the leaves asked for', async () => {
    const table = await manifestReference(SAMPLE).open('public.t', () => true);
    const leaf = { from: ['3'], to: null, rows: 1, hash: '-7', index: 1 };
    expect(await table.rowHashes?.([leaf])).toEqual([{ key: ['3'], hash: '-7' }]);
  });

  test('may have fields of a later version', () => {
    expect(parseManifest(JSON.stringify({ ...SAMPLE, madeBy: 'later' }))).toEqual(SAMPLE);
  });

  test.each([
    ['no JSON', '{', 'not JSON'],
    ['another version', JSON.stringify({ ...SAMPLE, version: 2 }), 'malformed'],
    [
      'a position as a number',
      JSON.stringify(SAMPLE).replace('"9007199254740993"', '9'),
      'malformed',
    ],
    ['a table without leaves', withTable({ leaves: [] }), 'malformed'],
    [
      'a gap between leaves',
      withTable({
        leaves: [
          { from: null, to: ['2'], rows: 2, hash: '30' },
          { from: ['3'], to: null, rows: 1, hash: '-7' },
        ],
      }),
      'contradicts',
    ],
    [
      'a closed last leaf',
      withTable({ leaves: [{ from: null, to: ['9'], rows: 3, hash: '0' }] }),
      'contradicts',
    ],
    ['rows that are not in the leaves', withTable({ rows: [[['1'], '10']] }), 'contradicts'],
  ])('with %s is refused', (_, text, message) => {
    expect(() => parseManifest(text)).toThrow(
      expect.objectContaining({
        code: 'MANIFEST_INVALID',
        message: expect.stringContaining(message) as string,
      }),
    );
  });
});
