/**
 * What a snapshot of production sees, by its place in the binlog: the text is `FILE:POS`, and behind a
 * blank the GTIDs before it, where the server gives any. Pure.
 *
 * A snapshot is taken where no commit is under way in its tables, so it sees a transaction if and only
 * if the binlog has it before that place. Its GTID says so by itself; else the place of the change does,
 * which lies in the transaction, and so on the same side.
 */
import { filePosition, logPosition } from '../../../change/position.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SnapshotView } from '../../dialect.ts';

/** Where the binlog ends, and what it holds up to there. */
export interface BinlogPlace {
  readonly file: string;
  readonly pos: bigint;
  /** MySQL's set, or MariaDB's position; empty where GTIDs are off. */
  readonly gtids: string;
}

/** The place as a number that grows with the log. PIN_FAILED for a file that bears none. */
export function placeNumber({ file, pos }: Pick<BinlogPlace, 'file' | 'pos'>): bigint {
  const number = filePosition(file, pos);
  if (number !== null) return number;
  throw new UnderstudyError('PIN_FAILED', 'production sent an unreadable place of its binlog');
}

export function snapshotText({ file, pos, gtids }: BinlogPlace): string {
  return `${file}:${String(pos)}${gtids === '' ? '' : ` ${gtids.replaceAll(/\s+/g, '')}`}`;
}

/** MANIFEST_INVALID if the text is not a snapshot. */
export function parseSnapshot(snapshot: string): SnapshotView {
  const [, file = '', pos = '', gtids = ''] = /^([^ ]+):(\d+)(?: (\S+))?$/.exec(snapshot) ?? [];
  const place = pos === '' ? null : filePosition(file, BigInt(pos));
  const set = parseGtids(gtids);
  if (place === null || set === null) {
    throw new UnderstudyError('MANIFEST_INVALID', 'not a snapshot by a place in a binlog', {
      detail: snapshot.slice(0, 100),
    });
  }
  const seesGtid = (gtid: string | null): boolean | null =>
    gtid === null || gtids === '' ? null : set.has(gtid);
  return {
    snapshot,
    sees(source) {
      if (!('gtid' in source)) return null;
      const at = logPosition(source);
      return seesGtid(source.gtid) ?? (at === null ? null : at < place);
    },
    seesTransaction(id) {
      const [, idFile = '', idPos = ''] = /^file=(.+),pos=(\d+)$/.exec(id) ?? [];
      const at = idPos === '' ? null : filePosition(idFile, BigInt(idPos));
      return at === null ? seesGtid(id) : at < place;
    },
    visible: () => false,
    complete: () => false,
  };
}

/** GTIDs of one server: null for one that is no GTID of its kind. */
interface GtidSet {
  has(gtid: string): boolean | null;
}

/** Null if it is neither a set of MySQL's nor a position of MariaDB's. */
export function parseGtids(text: string): GtidSet | null {
  const items = text.split(',').filter((item) => item !== '');
  if (items.every((item) => DOMAIN.test(item))) return domains(items);
  return intervals(items);
}

/** Domain, server, number: the last of its domain. */
const DOMAIN = /^(\d+)-(\d+)-(\d+)$/;

function domains(items: readonly string[]): GtidSet {
  const last = new Map<string, bigint>();
  for (const item of items) {
    const [, domain = '', , number = '0'] = DOMAIN.exec(item) ?? [];
    last.set(domain, BigInt(number));
  }
  return {
    has(gtid) {
      const [, domain, , number] = DOMAIN.exec(gtid) ?? [];
      if (domain === undefined || number === undefined) return null;
      return BigInt(number) <= (last.get(domain) ?? -1n);
    },
  };
}

interface Interval {
  readonly first: bigint;
  readonly last: bigint;
}

/** `uuid:1-5:7`, and with tags `uuid:1-5:tag:1-3`. */
function intervals(items: readonly string[]): GtidSet | null {
  const of = new Map<string, Interval[]>();
  for (const item of items) {
    const [uuid = '', ...parts] = item.toLowerCase().split(':');
    if (!UUID.test(uuid) || parts.length === 0) return null;
    let source = uuid;
    for (const part of parts) {
      const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? [];
      if (first === undefined || last === undefined) {
        if (!TAG.test(part)) return null;
        source = `${uuid}:${part}`;
        continue;
      }
      const list = of.get(source) ?? [];
      list.push({ first: BigInt(first), last: BigInt(last) });
      of.set(source, list);
    }
  }
  return {
    has(gtid) {
      const cut = gtid.lastIndexOf(':');
      const text = gtid.slice(cut + 1);
      if (cut < 0 || !/^\d+$/.test(text)) return null;
      const number = BigInt(text);
      const list = of.get(gtid.slice(0, cut).toLowerCase()) ?? [];
      return list.some(({ first, last }) => first <= number && number <= last);
    },
  };
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const TAG = /^[a-z_][a-z0-9_]*$/;
