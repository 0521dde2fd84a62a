/**
 * Every type of MySQL through the real Debezium in every mode and encoding, snapshot and stream,
 * into a shadow by the command line; then both databases are asked whether they are equal.
 */
import { testBinlogTypes } from '../support/types/binlog-matrix.ts';

testBinlogTypes('mysql', 'MySQL');
