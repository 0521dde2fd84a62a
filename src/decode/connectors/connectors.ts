import type { SourcePosition } from '../../change/position.ts';
import type { Connector } from './connector.ts';
import { mariadb } from './mariadb.ts';
import { mysql } from './mysql.ts';
import { postgresql } from './postgresql.ts';

/** The connector by its configured name. */
export function connectorNamed(name: SourcePosition['connector']): Connector {
  switch (name) {
    case 'postgresql':
      return { ...postgresql, ...comparing };
    case 'mysql':
      return { ...mysql, ...comparing };
    case 'mariadb':
      return { ...mariadb, ...comparing };
  }
}

/** Positions of different connectors do not compare. */
const comparing: Pick<Connector, 'compare' | 'compareInLog'> = {
  compare: (a, b) => {
    if (a.connector === 'postgresql') {
      return b.connector === 'postgresql' ? postgresql.compare(a, b) : 'incomparable';
    }
    if (b.connector !== a.connector) return 'incomparable';
    return (a.connector === 'mysql' ? mysql : mariadb).compare(a, b);
  },
  compareInLog: (a, b) => {
    if (a.connector === 'postgresql') {
      return b.connector === 'postgresql' ? postgresql.compareInLog(a, b) : 'incomparable';
    }
    if (b.connector !== a.connector) return 'incomparable';
    return (a.connector === 'mysql' ? mysql : mariadb).compareInLog(a, b);
  },
};
