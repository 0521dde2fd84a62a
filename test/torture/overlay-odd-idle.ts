import { overlaySuite } from '../support/overlay-suite.ts';
import { ODD_TABLES } from '../support/overlay-tables.ts';

export default overlaySuite('overlay-odd-idle', { tables: ODD_TABLES, idles: true });
