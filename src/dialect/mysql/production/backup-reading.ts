/**
 * Which transactions of the event log a backup holds, by its place in the binlog, its GTIDs, or both:
 * what a dump or a physical backup says of itself.
 */
import { logPosition } from '../../../change/position.ts';
import type { DecodedRecord } from '../../../change/record.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { BackupReading, BackupView } from '../../backup.ts';
import type { SnapshotView } from '../../dialect.ts';
import { parseGtids, parseSnapshot, placeNumber, snapshotText } from './binlog-view.ts';

const PLACE = /^([^\s:]+\.\d+):(\d+)(?:\s+(\S[\s\S]*))?$/;

/** CONFIG_INVALID unless it is `FILE:POS`, GTIDs, or both in this order. */
export function readBackup(position: string): BackupReading {
  const text = position.trim();
  const [, file, pos, rest = ''] = PLACE.exec(text) ?? [];
  const gtids = (file === undefined ? text : rest).replaceAll(/\s+/g, '');
  const isPlace = file !== undefined && pos !== undefined;
  if (parseGtids(gtids) === null || (gtids === '' && !isPlace)) {
    throw new UnderstudyError('CONFIG_INVALID', 'trunk.backupPosition is no place of a binlog', {
      detail: 'expected FILE:POS like binlog.000012:3456, GTIDs, or both: binlog.000012:3456 GTIDS',
    });
  }
  return new BinlogReading(isPlace ? { file, pos: BigInt(pos) } : null, gtids);
}

interface Place {
  readonly file: string;
  readonly pos: bigint;
}

class BinlogReading implements BackupReading {
  readonly #gtids: string;
  readonly #seen: SnapshotView;
  /** As it was given; else behind the last change that the backup holds. */
  #place: Place | null;
  readonly #isGiven: boolean;
  #holdsAny = false;
  /** The first place of a row that a snapshot of Debezium's sent. */
  #snapshotFrom: bigint | null = null;
  #latestMs: number | null = null;
  /** By a place alone: what is held of each source of GTIDs. Boundaries tell nothing else. */
  readonly #numbers = new Map<string, Numbers>();

  constructor(place: Place | null, gtids: string) {
    this.#gtids = gtids;
    this.#place = place;
    this.#isGiven = place !== null;
    this.#seen = parseSnapshot(snapshotText({ ...(place ?? NOWHERE), gtids }));
  }

  take(record: DecodedRecord): void {
    if (record.kind !== 'change') return;
    const { source, snapshot, eventTimeMs } = record;
    const at = logPosition(source);
    if (snapshot === 'initial' && at !== null && at < (this.#snapshotFrom ?? at + 1n)) {
      this.#snapshotFrom = at;
    }
    if (snapshot !== 'no') return;
    const held = this.#seen.sees(source) === true;
    if ('gtid' in source && source.gtid !== null) this.#count(source.gtid, held);
    if (!held) return;
    this.#holdsAny = true;
    if (eventTimeMs !== null && eventTimeMs > (this.#latestMs ?? eventTimeMs - 1)) {
      this.#latestMs = eventTimeMs;
    }
    if (this.#isGiven || !('gtid' in source) || source.file === null || source.pos === null) return;
    const [behind, known] = [{ file: source.file, pos: source.pos + 1n }, this.#place];
    if (known === null || placeNumber(behind) > placeNumber(known)) this.#place = behind;
  }

  #count(gtid: string, held: boolean): void {
    const [, source = '', , text = '0'] = GTID.exec(gtid) ?? [];
    const numbers = this.#numbers.get(source) ?? { highest: 0n, beyond: new Set() };
    this.#numbers.set(source, numbers);
    const number = BigInt(text);
    if (!held) numbers.beyond.add(number);
    else if (number > numbers.highest) numbers.highest = number;
  }

  /**
   * As GTIDs: what is below the highest that is held, but for what is not. Of MariaDB's, whose numbers
   * grow along the binlog, the highest says it all.
   */
  #counted(): string {
    const held = [...this.#numbers].filter(([, { highest }]) => highest > 0n);
    return held
      .map(([source, numbers]) => {
        if (!source.includes(':') && !UUID.test(source)) return `${source}-${numbers.highest}`;
        return `${source}:${intervalsOf(numbers)}`;
      })
      .join(',');
  }

  view(): BackupView {
    const place = this.#place ?? NOWHERE;
    const marker = placeNumber(place);
    return {
      ...{ snapshot: snapshotText({ ...place, gtids: this.#gtids || this.#counted() }), marker },
      reaches: this.#holdsAny || (this.#snapshotFrom !== null && this.#snapshotFrom < marker),
      latestMs: this.#latestMs,
    };
  }
}

/** The highest number that is held, and those below it that are not. */
interface Numbers {
  highest: bigint;
  readonly beyond: Set<bigint>;
}

/** `source`, and the number in it: of MySQL's GTIDs, or MariaDB's. */
const GTID = /^(.+)([:-])(\d+)$/;

/** Before all that a server writes. */
const NOWHERE: Place = { file: 'binlog.0', pos: 0n };

const UUID = /^[0-9a-f]{8}-/i;

function intervalsOf({ highest, beyond }: Numbers): string {
  const holes = [...beyond].filter((number) => number < highest).sort((a, b) => (a < b ? -1 : 1));
  const intervals: string[] = [];
  let first = 1n;
  for (const hole of [...holes, highest + 1n]) {
    if (hole > first) intervals.push(`${first}-${hole - 1n}`);
    first = hole + 1n;
  }
  return intervals.join(':');
}
