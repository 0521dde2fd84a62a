import type { Dialect } from '../dialect.ts';
import { renderText } from './apply/literal.ts';
import { sqlWriting } from './apply/sql-writing.ts';
import { readBackup } from './production/backup-reading.ts';
import { parseSnapshot } from './production/binlog-view.ts';
import { connectProduction } from './production/production.ts';
import { planFromEvents } from './schema/plan-from-events.ts';
import { connectShadow } from './shadow/server.ts';

/** MySQL 8.4 and later, MariaDB 10.6 and later. Which one it is, the server tells: see Flavour. */
const shared: Omit<Dialect, 'engine'> = {
  // Full row images leave nothing in doubt but what somebody discarded.
  rereads: false,
  connectShadow,
  connectProduction,
  snapshotView: parseSnapshot,
  readBackup,
  planFromEvents,
  renderText,
  sql: sqlWriting,
};

export const mysql: Dialect = { engine: 'mysql', ...shared };
export const mariadb: Dialect = { engine: 'mariadb', ...shared };
