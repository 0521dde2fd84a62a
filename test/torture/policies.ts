import { postgresStorm } from '../support/storm/postgres-engine.ts';
import { policySuite } from '../support/storm/suite.ts';

export default policySuite('policies', postgresStorm);
