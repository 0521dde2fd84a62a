import { binlogEngine } from '../support/crash/binlog-engine.ts';
import { crashSuite } from '../support/crash/suite.ts';

export default crashSuite('crash-mysql', binlogEngine('mysql'));
