import type { SourcePosition } from '../../change/position.ts';
import { BINLOG } from './binlog.ts';
import { POSTGRESQL } from './postgresql.ts';
import type { TypeTable } from './type-table.ts';

/** The types of each connector's database. */
export const TYPE_TABLES: Readonly<Record<SourcePosition['connector'], TypeTable>> = {
  postgresql: POSTGRESQL,
  mysql: BINLOG,
  mariadb: BINLOG,
};
