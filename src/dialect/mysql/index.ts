import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { Dialect } from '../dialect.ts';
import { renderText } from './apply/literal.ts';
import { connectProduction } from './production/production.ts';
import { planFromEvents } from './schema/plan-from-events.ts';
import { connectShadow } from './shadow/server.ts';

/** Nobody writes such a manifest in this version. */
function snapshotView(): never {
  throw new UnderstudyError('MANIFEST_INVALID', 'the manifest holds no snapshot of this engine');
}

/** MySQL 8.4 and later, MariaDB 10.6 and later. Which one it is, the server tells: see Flavour. */
const shared: Omit<Dialect, 'engine'> = {
  pins: false,
  connectShadow,
  connectProduction,
  snapshotView,
  planFromEvents,
  renderText,
};

export const mysql: Dialect = { engine: 'mysql', ...shared };
export const mariadb: Dialect = { engine: 'mariadb', ...shared };
