import { startMariaDB } from '../support/mariadb.ts';
import { binlogStorm } from '../support/storm/binlog-engine.ts';
import { policySuite } from '../support/storm/suite.ts';

export default policySuite('policies-mariadb', binlogStorm(startMariaDB));
