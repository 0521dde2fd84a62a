import { startMySQL } from '../support/mysql.ts';
import { binlogStorm } from '../support/storm/binlog-engine.ts';
import { policySuite } from '../support/storm/suite.ts';

export default policySuite('policies-mysql', binlogStorm(startMySQL));
