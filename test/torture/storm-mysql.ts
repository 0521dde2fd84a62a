import { startMySQL } from '../support/mysql.ts';
import { binlogStorm } from '../support/storm/binlog-engine.ts';
import { stormSuite } from '../support/storm/suite.ts';

export default stormSuite('storm-mysql', binlogStorm(startMySQL));
