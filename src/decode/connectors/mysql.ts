import { binlogConnector, gtidOrder } from './binlog.ts';

/** MySQL: a GTID is `server-uuid:number` or `server-uuid:tag:number`; numbers grow per server. */
export const mysql = binlogConnector(
  'mysql',
  gtidOrder(':', (head) => head),
);
