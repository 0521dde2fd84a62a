import type { SourcePosition } from '../../change/position.ts';
import type { Connector } from './connector.ts';
import { mariadb } from './mariadb.ts';
import { mysql } from './mysql.ts';
import { postgresql } from './postgresql.ts';

/** The connector by its configured name. */
export function connectorNamed(name: SourcePosition['connector']): Connector {
  switch (name) {
    case 'postgresql':
      return { ...postgresql, ...COMPARING };
    case 'mysql':
      return { ...mysql, ...COMPARING };
    case 'mariadb':
      return { ...mariadb, ...COMPARING };
  }
}

/** Positions of different connectors do not compare. */
function comparing(by: 'compare' | 'compareInLog'): Connector['compare'] {
  return (a, b) => {
    if (a.connector === 'postgresql') {
      return b.connector === 'postgresql' ? postgresql[by](a, b) : 'incomparable';
    }
    if (b.connector !== a.connector) return 'incomparable';
    return (a.connector === 'mysql' ? mysql : mariadb)[by](a, b);
  };
}

const COMPARING: Pick<Connector, 'compare' | 'compareInLog'> = {
  compare: comparing('compare'),
  compareInLog: comparing('compareInLog'),
};
