import { startMySQL } from '../support/mysql.ts';
import { overlayBinlogSuite } from '../support/overlay-binlog.ts';

export default overlayBinlogSuite('overlay-mysql', startMySQL);
