/** What a shadow database tells of its overlay, each of one moment: see OverlayActs. */
import type { Client } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import type {
  CandidateRules,
  NumberRange,
  OutcomeCounts,
  OverlayConflict,
  OverlayCount,
  OverlayRow,
  RowPair,
  RowReading,
  RowSelection,
} from '../../overlay.ts';
import { readOrphans } from '../overlay/orphans.ts';
import {
  countOutcomes,
  readOverlayConflicts,
  readOverlayCounts,
  readOverlayPairs,
  readOverlayRows,
} from '../overlay/read.ts';
import { readNumberRanges } from '../overlay/sequences-above.ts';
import { readCaptureGaps } from '../overlay/watch.ts';

export abstract class OverlayReads {
  protected abstract readonly rules: CandidateRules;

  /** Of one moment, and writing nothing. */
  protected abstract readOverlay<T>(doing: string, fn: (client: Client) => Promise<T>): Promise<T>;

  overlayCounts(): Promise<readonly OverlayCount[]> {
    return this.readOverlay('count the overlay', (client) =>
      readOverlayCounts(client, this.rules.pairsOn),
    );
  }

  overlayRows(limit: number, only?: RowReading): Promise<readonly OverlayRow[]> {
    return this.readOverlay('read the overlay', (client) =>
      readOverlayRows(client, limit, { ...only, pairsOn: this.rules.pairsOn ?? null }),
    );
  }

  overlayPairs(limit: number): Promise<readonly RowPair[]> {
    return this.readOverlay('read pairs', (client) =>
      readOverlayPairs(client, limit, this.rules.pairsOn ?? null),
    );
  }

  overlayConflicts(limit: number, only?: RowSelection): Promise<readonly OverlayConflict[]> {
    return this.readOverlay('read conflicts', async (client) => [
      ...(await readOverlayConflicts(client, limit, {
        ...only,
        pairsOn: this.rules.pairsOn ?? null,
      })),
      ...(await readOrphans(client, limit, { ...only, pairsOn: this.rules.pairsOn ?? null })),
    ]);
  }

  captureGaps(): Promise<readonly TableId[]> {
    return this.readOverlay('read what was not captured', readCaptureGaps);
  }

  numberRanges(): Promise<readonly NumberRange[] | null> {
    return this.readOverlay('read how far numbers have come', readNumberRanges);
  }

  outcomes(): Promise<OutcomeCounts> {
    return this.readOverlay('count outcomes', (client) => countOutcomes(client));
  }
}
