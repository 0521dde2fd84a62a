import { postgresStorm } from '../support/storm/postgres-engine.ts';
import { stormSuite } from '../support/storm/suite.ts';

export default stormSuite('storm', postgresStorm);
