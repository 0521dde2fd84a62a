import { startMariaDB } from '../support/mariadb.ts';
import { overlayBinlogSuite } from '../support/overlay-binlog.ts';

export default overlayBinlogSuite('overlay-mariadb', startMariaDB);
