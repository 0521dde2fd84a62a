/** A snapshot of production at a place of its binlog, read for comparison: see pinned-sessions.ts. */
import type { TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { PinnedSnapshot } from '../../dialect.ts';
import { MySqlTableReader } from '../compare/table-reader.ts';
import type { Flavour } from '../session/flavour.ts';
import { parseSnapshot, placeNumber, snapshotText } from './binlog-view.ts';
import { assertShown, readFollowed } from './followed.ts';
import { currentPlace, logEnd, pinSessions } from './pinned-sessions.ts';
import type { ProductionSessions } from './production-session.ts';

/** How long a commit or a statement of production is waited for. */
const TIMEOUT_MS = 60_000;

/** Errors: see pinSessions. */
export async function pinSnapshot(parts: {
  readonly sessions: ProductionSessions;
  readonly flavour: Flavour;
  readonly includes: (table: TableId) => boolean;
}): Promise<PinnedSnapshot> {
  const { sessions, flavour, includes } = parts;
  const { followed, after, floor } = await sessions.use('read the catalogue', async (client) => ({
    followed: await readFollowed(client, sessions.database, includes),
    after: flavour.engine === 'mariadb' ? await logEnd(client) : '',
    floor: placeNumber(await currentPlace(client, flavour)),
  }));
  const pinned = await pinSessions(sessions, flavour, {
    ...{ count: 1, after, tables: followed.locked, timeoutMs: TIMEOUT_MS },
    signal: new AbortController().signal,
  });
  const [client] = pinned.sessions;
  if (client === undefined) throw new UnderstudyError('INTERNAL', 'a snapshot without a session');
  const reader = new MySqlTableReader({
    ...{ client, database: followed.database, tables: followed.tables },
    assertShown: (table) => {
      assertShown(followed, table);
    },
    close: () => client.end(),
  });
  return {
    ...parseSnapshot(snapshotText(pinned.place)),
    proof: 'log-position',
    ...{ floor, marker: placeNumber(pinned.place), reader },
    [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
  };
}
