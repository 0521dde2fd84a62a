import { describe, expect, it } from 'vitest';
import type { SourcePosition } from '../../../../src/change/position.ts';
import {
  parseSnapshot,
  snapshotText,
} from '../../../../src/dialect/mysql/production/binlog-view.ts';

const A = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const B = '4e11fa47-71ca-11e1-9e33-c80aa9429562';

const at = (file: string, pos: bigint, gtid: string | null = null): SourcePosition => ({
  ...{ connector: 'mysql', file, pos, row: 0, gtid },
});

describe('what a snapshot sees by its place in the binlog', () => {
  it('is what lies before it, file by file', () => {
    const view = parseSnapshot('binlog.000009:500');
    expect(view.sees(at('binlog.000009', 499n))).toBe(true);
    expect(view.sees(at('binlog.000009', 500n))).toBe(false);
    expect(view.sees(at('binlog.000010', 4n))).toBe(false);
    expect(view.sees(at('binlog.000008', 9_999n))).toBe(true);
    expect(view.sees({ ...at('', 1n), file: null } as SourcePosition)).toBeNull();
    expect(view.seesTransaction('file=binlog.000009,pos=400')).toBe(true);
    expect(view.seesTransaction('file=binlog.000010,pos=4')).toBe(false);
    expect(view.seesTransaction('something else')).toBeNull();
  });

  it('is told by GTIDs where there are any, with gaps and tags', () => {
    const gtids = `${A}:1-5:8:blue:3,\n${B.toUpperCase()}:1-2`;
    const view = parseSnapshot(snapshotText({ file: 'binlog.000001', pos: 10n, gtids }));
    for (const seen of [`${A}:1`, `${A}:5`, `${A}:8`, `${A}:blue:3`, `${B}:2`]) {
      expect(view.seesTransaction(seen), seen).toBe(true);
      expect(view.sees(at('binlog.000001', 99n, seen)), seen).toBe(true);
    }
    for (const later of [`${A}:6`, `${A}:9`, `${A}:blue:1`, `${A}:red:3`, `${B}:3`]) {
      expect(view.seesTransaction(later), later).toBe(false);
      expect(view.sees(at('binlog.000001', 1n, later)), later).toBe(false);
    }
    expect(view.sees(at('binlog.000001', 1n))).toBe(true);
  });

  it.each([`${A}:1`, `${A}:1-5:7`, `${A}:1-5,${B}:3`, `${A}:1-5:blue:3`])(
    'is read from a text whose set ends in one number: %s',
    (gtids) => {
      const place = { file: 'mysql-bin.000003', pos: 157n, gtids };
      const view = parseSnapshot(snapshotText(place));
      expect(view.seesTransaction(`${A}:1`)).toBe(true);
      expect(view.seesTransaction(`${B}:4`)).toBe(false);
      expect(view.sees(at('mysql-bin.000003', 156n))).toBe(true);
      expect(view.sees(at('mysql-bin.000003', 157n))).toBe(false);
    },
  );

  it('counts MariaDB’s numbers by domain, whichever server gave them', () => {
    const view = parseSnapshot('bin.000001:10 0-1-77,5-2-9');
    expect(view.seesTransaction('0-1-77')).toBe(true);
    expect(view.seesTransaction('0-3-78')).toBe(false);
    expect(view.seesTransaction('5-1-9')).toBe(true);
    expect(view.seesTransaction('6-1-1')).toBe(false);
    expect(view.seesTransaction(`${A}:1`)).toBeNull();
  });

  it.each(['', '100:104:100', 'binlog:5', 'binlog.000001:x', 'binlog.000001:5 not-gtids'])(
    'refuses %j',
    (text) => {
      expect(() => parseSnapshot(text)).toThrow(
        expect.objectContaining({ code: 'MANIFEST_INVALID' }),
      );
    },
  );
});
