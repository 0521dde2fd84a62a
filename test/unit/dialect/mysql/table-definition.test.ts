import { describe, expect, it } from 'vitest';
import {
  rewriteTable,
  rewriteView,
  viewsInOrder,
  type ViewFacts,
} from '../../../../src/dialect/mysql/schema/table-definition.ts';

const TABLE = { source: 'shop', name: 'orders' };

describe('a table’s definition', () => {
  it('keeps foreign keys within what is followed, and lists the others', () => {
    const printed = [
      'CREATE TABLE `orders` (',
      '  `id` int NOT NULL,',
      "  `note` varchar(9) DEFAULT ') ENGINE=MyISAM',",
      '  PRIMARY KEY (`id`),',
      '  CONSTRAINT `near` FOREIGN KEY (`id`) REFERENCES `customers` (`id`),',
      '  CONSTRAINT `far` FOREIGN KEY (`id`) REFERENCES `billing`.`accounts` (`id`)',
      ') ENGINE=InnoDB DEFAULT CHARSET=utf8mb4',
    ].join('\n');
    const { sql, remarks } = rewriteTable(printed, TABLE, new Set(['customers', 'accounts']));
    expect(sql).toBe(
      [
        'CREATE TABLE `orders` (',
        '  `id` int NOT NULL,',
        "  `note` varchar(9) DEFAULT ') ENGINE=MyISAM',",
        '  PRIMARY KEY (`id`),',
        '  CONSTRAINT `near` FOREIGN KEY (`id`) REFERENCES `customers` (`id`)',
        ') ENGINE=InnoDB DEFAULT CHARSET=utf8mb4',
      ].join('\n'),
    );
    expect(remarks).toEqual([
      {
        what: 'foreign key far of table shop.orders',
        why: 'it leads to billing.accounts, which is not followed',
      },
    ]);
    const alone = rewriteTable(printed, TABLE, new Set());
    expect(alone.sql).toContain('  PRIMARY KEY (`id`)\n) ENGINE=InnoDB');
    expect(alone.remarks).toHaveLength(2);
  });

  it('is of InnoDB, and says nothing of where files lie', () => {
    const printed =
      "CREATE TABLE `orders` (\n  `id` int\n) ENGINE=MyISAM DATA DIRECTORY='/data' DEFAULT CHARSET=latin1";
    const { sql, remarks } = rewriteTable(printed, TABLE, new Set());
    expect(sql).toBe('CREATE TABLE `orders` (\n  `id` int\n) ENGINE=InnoDB DEFAULT CHARSET=latin1');
    expect(remarks.map(({ what }) => what)).toEqual(['engine MyISAM of table shop.orders']);
  });
});

function view(name: string, definition: string, more: Partial<ViewFacts> = {}): ViewFacts {
  const plain = { columns: ['id'], checkOption: 'NONE', security: 'DEFINER' };
  return { name, definition, ...plain, ...more };
}

describe('a view’s definition', () => {
  it('loses the database’s name where it qualifies, and nowhere else', () => {
    const definition =
      "select `shop`.`o`.`id` AS `id`, '`shop`.`o`' AS `shop`, `b`.`shop`.`x` AS `x`, 'it\\'s `shop`.' AS `q` from `shop`.`o`";
    expect(rewriteView(view('v', definition), 'shop')).toBe(
      "CREATE SQL SECURITY DEFINER VIEW `v` (`id`) AS select `o`.`id` AS `id`, '`shop`.`o`' AS `shop`, `b`.`shop`.`x` AS `x`, 'it\\'s `shop`.' AS `q` from `o`",
    );
  });

  it('keeps its check option, its rights and strange names', () => {
    const facts = view('a`b', 'select 1', {
      columns: ['x', 'y`'],
      checkOption: 'CASCADED',
      security: 'INVOKER',
    });
    expect(rewriteView(facts, 'shop')).toBe(
      'CREATE SQL SECURITY INVOKER VIEW `a``b` (`x`, `y```) AS select 1 WITH CASCADED CHECK OPTION',
    );
  });

  it('comes after the views it reads, whatever their names', () => {
    const views = [
      view('a', 'select `id` from `shop`.`b`'),
      view('b', 'select `id` from `shop`.`c`'),
      view('c', "select '`a`' AS `id`"),
    ];
    expect(viewsInOrder(views).map(({ name }) => name)).toEqual(['c', 'b', 'a']);
  });
});
