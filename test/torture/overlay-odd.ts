import { overlaySuite } from '../support/overlay-suite.ts';
import { ODD_TABLES } from '../support/overlay-tables.ts';

/**
 * On tables whose keys are of several columns or spelled in several ways, and whose unique values are so by an
 * expression, for some rows, by exclusion, or at the end of a transaction.
 */
export default overlaySuite('overlay-odd', { tables: ODD_TABLES });
