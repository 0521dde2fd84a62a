import type { Dialect } from '../dialect.ts';
import { planFromEvents } from './plan-from-events.ts';
import { connectProduction } from './production.ts';
import { connectShadow } from './server.ts';
import { parseSnapshot } from './snapshot.ts';
import { renderText } from './types.ts';

/** PostgreSQL 14 and later. */
export const postgres: Dialect = {
  engine: 'postgresql',
  connectShadow,
  connectProduction,
  snapshotView: parseSnapshot,
  planFromEvents,
  renderText: (value) => renderText(value),
};
