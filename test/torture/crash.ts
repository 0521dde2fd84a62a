import { postgresEngine } from '../support/crash/postgres-engine.ts';
import { crashSuite } from '../support/crash/suite.ts';

export default crashSuite('crash', postgresEngine);
