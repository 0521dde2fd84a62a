import { binlogConnector, gtidOrder } from './binlog.ts';

/** MariaDB: a GTID is `domain-server-number`; numbers grow within a domain, whoever writes. */
export const mariadb = binlogConnector(
  'mariadb',
  gtidOrder('-', (head) => head.replace(/-.*$/, '')),
);
