import { startMySQL } from '../support/mysql.ts';
import { overlayBinlogSuite } from '../support/overlay-binlog.ts';

/** As the suite `overlay-mysql`, with transactions of the candidate that stay idle. */
export default overlayBinlogSuite('overlay-mysql-idle', startMySQL, {
  durationMs: 5_000,
  idleMs: 2_500,
});
