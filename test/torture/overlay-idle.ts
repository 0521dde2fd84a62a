import { overlaySuite } from '../support/overlay-suite.ts';
import { COMMON_TABLES } from '../support/overlay-tables.ts';

export default overlaySuite('overlay-idle', { tables: COMMON_TABLES, idles: true });
