/** A release that uses Knex: its migrations and its queries, which know nothing of what they run against. */
import knex, { type Knex } from 'knex';

/** Over `customer` and `purchase`, which production has. */
const MIGRATIONS: readonly (readonly [name: string, up: (db: Knex) => Promise<unknown>])[] = [
  [
    '1_tags',
    async (db) => {
      await db.schema.createTable('tag', (table) => {
        table.increments('id');
        table.string('name', 40).notNullable().unique();
      });
      await db.schema.createTable('purchase_tag', (table) => {
        table.integer('purchase_id').notNullable().references('id').inTable('purchase');
        table.integer('tag_id').unsigned().notNullable().references('id').inTable('tag');
        table.primary(['purchase_id', 'tag_id']);
      });
      await db('tag').insert([{ name: 'gift' }, { name: 'urgent' }]);
    },
  ],
  [
    '2_expand',
    async (db) => {
      await db.schema.alterTable('customer', (table) => {
        table.string('full_name', 80).notNullable().defaultTo('');
        table.boolean('active').notNullable().defaultTo(true);
      });
      await db('customer').update({ full_name: db.raw('upper(name)') });
      await db('customer').where({ id: 2 }).update({ note: 'checked' });
    },
  ],
  [
    '3_contract',
    async (db) => {
      await db.schema.alterTable('customer', (table) => {
        table.dropColumn('fax');
      });
      await db.schema.alterTable('purchase', (table) => {
        table.index(['customer_id', 'state'], 'by_customer_state');
        table.bigInteger('total').notNullable().alter();
      });
    },
  ],
];

class Source implements Knex.MigrationSource<string> {
  getMigrations(): Promise<string[]> {
    return Promise.resolve(MIGRATIONS.map(([name]) => name));
  }
  getMigrationName(name: string): string {
    return name;
  }
  getMigration(name: string): Promise<Knex.Migration> {
    const up = MIGRATIONS.find(([one]) => one === name)?.[1];
    if (up === undefined) throw new Error(`there is no migration ${name}`);
    return Promise.resolve({ up, down: () => Promise.resolve() });
  }
}

export const PRODUCTION = [
  `CREATE TABLE customer (id INT PRIMARY KEY, email VARCHAR(60) NOT NULL UNIQUE, name VARCHAR(40), note VARCHAR(40),
    fax VARCHAR(20))`,
  `CREATE TABLE purchase (id INT PRIMARY KEY, customer_id INT, total INT NOT NULL, state VARCHAR(10) NOT NULL,
    FOREIGN KEY (customer_id) REFERENCES customer (id))`,
];

async function using<T>(
  client: 'pg' | 'mysql2',
  connection: string,
  act: (db: Knex) => Promise<T>,
): Promise<T> {
  const db = knex({ client, connection, migrations: { migrationSource: new Source() } });
  try {
    return await act(db);
  } finally {
    await db.destroy();
  }
}

/** Returns the migrations that were run. */
export function migrateByOrm(client: 'pg' | 'mysql2', url: string): Promise<readonly string[]> {
  return using(client, url, async (db) => {
    const [, run] = (await db.migrate.latest()) as [number, string[]];
    return run;
  });
}

/** One of the servers names the database in what it says. */
function withoutDatabase(text: string): string {
  return text.replaceAll(/`(?:orm|rollout)_[0-9a-f]+`\./g, '');
}

/** What the release's queries find, in order; and what they leave. */
export function queryByOrm(client: 'pg' | 'mysql2', url: string): Promise<readonly unknown[]> {
  return using(client, url, async (db) => {
    const found: unknown[] = [];
    const tag = await db('tag').where({ name: 'gift' }).first<{ id: number }>('id');
    await db.transaction(async (trx) => {
      await trx('customer').insert({ id: 900, email: 'new@x', name: 'new', full_name: 'NEW' });
      await trx('purchase').insert({
        id: 900,
        customer_id: 900,
        total: 5_000_000_000,
        state: 'open',
      });
      await trx('purchase_tag').insert({ purchase_id: 900, tag_id: tag.id });
    });
    await db
      .transaction(async (trx) => {
        await trx('purchase').where({ id: 900 }).delete();
        throw new Error('rolled back');
      })
      .catch((error: unknown) => found.push(withoutDatabase(String(error))));
    await db('customer')
      .insert({ id: 901, email: 'new@x', name: 'other' })
      .onConflict('email')
      .merge({ note: 'met again' });
    await db('purchase').where('total', '<', 100).increment('total', 7);
    await db('purchase').where({ id: 2 }).update({ state: 'sent' });
    found.push(
      await db('customer').orderBy('id').select('id', 'email', 'name', 'full_name', 'note'),
      (await db('purchase').orderBy('id').select('id', 'total', 'state')).map(
        (row: { total: unknown }) => ({
          ...row,
          total: String(row.total),
        }),
      ),
      await db('purchase as p')
        .join('customer as c', 'c.id', 'p.customer_id')
        .leftJoin('purchase_tag as pt', 'pt.purchase_id', 'p.id')
        .leftJoin('tag as t', 't.id', 'pt.tag_id')
        .whereIn('p.state', ['open', 'sent'])
        .orderBy('p.id')
        .select('p.id', 'c.full_name', 't.name as tag'),
      (await db('purchase').groupBy('state').orderBy('state').select('state').count('* as n')).map(
        (row) => ({ ...row, n: Number(row['n']) }),
      ),
      await db.schema.hasColumn('customer', 'fax'),
      Object.keys(await db('customer').columnInfo()).toSorted(),
    );
    await db('purchase_tag').where({ purchase_id: 900 }).delete();
    found.push(await db('purchase_tag').select());
    return found;
  });
}
