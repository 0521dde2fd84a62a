import { startMariaDB } from '../support/mariadb.ts';
import { overlayBinlogSuite } from '../support/overlay-binlog.ts';

/** As the suite `overlay-mariadb`, with transactions of the candidate that stay idle. */
export default overlayBinlogSuite('overlay-mariadb-idle', startMariaDB, {
  durationMs: 5_000,
  idleMs: 2_500,
});
