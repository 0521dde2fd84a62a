/** What a shadow database tells of its overlay, each of one moment: see OverlayActs. */
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
import { readAllConflicts } from '../overlay/conflicts.ts';
import { readCaptured } from '../overlay/journal.ts';
import { readNumberRanges } from '../overlay/numbers-above.ts';
import { readPairedTables, type PairedTables } from '../overlay/pairs.ts';
import {
  countOutcomes,
  readOverlayCounts,
  readOverlayPairs,
  readOverlayRows,
} from '../overlay/read.ts';
import { readCaptureGaps } from '../overlay/watch.ts';
import type { Client } from '../session/client.ts';

export abstract class OverlayReads {
  protected abstract readonly rules: CandidateRules;
  protected abstract readonly place: { readonly database: string; readonly source: string };

  /** Of one moment, and writing nothing. */
  protected abstract readOverlay<T>(doing: string, fn: (client: Client) => Promise<T>): Promise<T>;

  overlayCounts(): Promise<readonly OverlayCount[]> {
    return this.readOverlay('count the overlay', async (client) =>
      readOverlayCounts(client, await this.#paired(client)),
    );
  }

  overlayRows(limit: number, only?: RowReading): Promise<readonly OverlayRow[]> {
    return this.readOverlay('read the overlay', async (client) =>
      readOverlayRows(client, await this.#paired(client), { limit, only }),
    );
  }

  overlayPairs(limit: number): Promise<readonly RowPair[]> {
    return this.readOverlay('read pairs', async (client) =>
      readOverlayPairs(client, await this.#paired(client), limit),
    );
  }

  overlayConflicts(limit: number, only?: RowSelection): Promise<readonly OverlayConflict[]> {
    return this.readOverlay('read conflicts', async (client) =>
      readAllConflicts(client, this.place.database, await this.#paired(client), { limit, only }),
    );
  }

  captureGaps(): Promise<readonly TableId[]> {
    return this.readOverlay('read what was not captured', (client) =>
      readCaptureGaps(client, this.place.database, this.place.source),
    );
  }

  numberRanges(): Promise<readonly NumberRange[] | null> {
    return this.readOverlay('read how far numbers have come', async (client) =>
      readNumberRanges(client, await readCaptured(client, this.place.database, this.place.source)),
    );
  }

  outcomes(): Promise<OutcomeCounts> {
    return this.readOverlay('count outcomes', (client) =>
      countOutcomes(client, this.place.database),
    );
  }

  #paired(client: Client): Promise<PairedTables> {
    return readPairedTables(client, this.place, this.rules.pairsOn);
  }
}
