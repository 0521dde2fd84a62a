import type { Dialect } from '../dialect.ts';
import { planFromEvents } from './schema/plan-from-events.ts';
import { readBackup } from './production/backup-reading.ts';
import { connectProduction } from './production/production.ts';
import { connectShadow } from './shadow/server.ts';
import { parseSnapshot } from './production/snapshot.ts';
import { sqlWriting } from './session/sql-writing.ts';
import { renderText } from './session/types.ts';

/** PostgreSQL 14 and later. */
export const postgres: Dialect = {
  engine: 'postgresql',
  rereads: true,
  connectShadow,
  connectProduction,
  snapshotView: parseSnapshot,
  readBackup,
  planFromEvents,
  renderText: (value) => renderText(value),
  sql: sqlWriting,
};
