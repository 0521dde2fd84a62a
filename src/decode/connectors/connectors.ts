import type { SourcePosition } from '../../change/position.ts';
import type { Connector, PositionOrder } from './connector.ts';
import { mariadb } from './mariadb.ts';
import { mysql } from './mysql.ts';
import { postgresql } from './postgresql.ts';

/** The connector by its configured name. */
export function connectorNamed(name: SourcePosition['connector']): Connector {
  switch (name) {
    case 'postgresql':
      return { ...postgresql, compare: comparePositions };
    case 'mysql':
      return { ...mysql, compare: comparePositions };
    case 'mariadb':
      return { ...mariadb, compare: comparePositions };
  }
}

/** Where `a` stands seen from `b`; positions of different connectors do not compare. */
function comparePositions(a: SourcePosition, b: SourcePosition): PositionOrder {
  if (a.connector === 'postgresql') {
    return b.connector === 'postgresql' ? postgresql.compare(a, b) : 'incomparable';
  }
  if (b.connector !== a.connector) return 'incomparable';
  return (a.connector === 'mysql' ? mysql : mariadb).compare(a, b);
}
