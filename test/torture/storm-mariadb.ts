import { startMariaDB } from '../support/mariadb.ts';
import { binlogStorm } from '../support/storm/binlog-engine.ts';
import { stormSuite } from '../support/storm/suite.ts';

export default stormSuite('storm-mariadb', binlogStorm(startMariaDB));
