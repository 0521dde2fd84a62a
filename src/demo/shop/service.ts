/**
 * The shop's server side: every request is one transaction. The `candidate` release has two
 * believable bugs, which the demo's report has to show:
 *
 * 1. discounts are cut off instead of rounded: some totals are one cent too low;
 * 2. a cancelled order's goods do not go back on the shelf.
 */
import { unreachable } from '../../util/assert.ts';
import type { ShopRequest } from './requests.ts';

export type Release = 'current' | 'candidate';

/** The one thing the shop needs of a database driver. */
export interface Database {
  query(sql: string, values?: readonly unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
}

/** Handles one request in one transaction; rejects, with nothing done, if it cannot. */
export async function handle(db: Database, request: ShopRequest, release: Release): Promise<void> {
  await db.query('BEGIN');
  try {
    await perform(db, request, release);
    await db.query('COMMIT');
  } catch (error) {
    await db.query('ROLLBACK');
    throw error;
  }
}

async function perform(db: Database, request: ShopRequest, release: Release): Promise<void> {
  switch (request.kind) {
    case 'place-order':
      await placeOrder(db, request, release);
      return;
    case 'pay':
      await db.query(
        `INSERT INTO payments (id, order_id, amount, method, paid_at)
         SELECT $1, id, total_cents / 100.0, $3, $4 FROM orders WHERE id = $2`,
        [request.payment, request.order, request.method, request.at],
      );
      await db.query(`UPDATE orders SET status = 'paid' WHERE id = $1`, [request.order]);
      await db.query(
        `UPDATE customers SET loyalty_points = loyalty_points + 1
         WHERE id = (SELECT customer_id FROM orders WHERE id = $1)`,
        [request.order],
      );
      return;
    case 'ship':
      await db.query(`UPDATE orders SET status = 'shipped', shipped_at = $2 WHERE id = $1`, [
        request.order,
        request.at,
      ]);
      return;
    case 'cancel':
      await cancel(db, request.order, release);
      return;
    case 'move-house':
      await db.query('UPDATE customers SET address = $2 WHERE id = $1', [
        request.customer,
        JSON.stringify(request.address),
      ]);
      return;
    case 'change-price':
      await db.query('UPDATE products SET price_cents = $2, updated_at = $3 WHERE sku = $1', [
        request.sku,
        request.cents,
        request.at,
      ]);
      return;
    case 'rename-coupon':
      await db.query('UPDATE coupons SET code = $2 WHERE code = $1', [request.from, request.to]);
      return;
    case 'rename-product':
      await db.query('UPDATE products SET sku = $2 WHERE sku = $1', [request.from, request.to]);
      return;
    case 'forget-order':
      await db.query('DELETE FROM orders WHERE id = $1', [request.order]);
      return;
    case 'search':
      await db.query(
        `INSERT INTO search_cache (term, skus, cached_at) VALUES ($1, $2, $3)
         ON CONFLICT (term) DO UPDATE SET skus = excluded.skus, cached_at = excluded.cached_at`,
        [request.term, request.skus, request.at],
      );
      return;
    case 'clear-search-cache':
      await db.query('TRUNCATE search_cache');
      return;
    default:
      unreachable(request);
  }
}

async function placeOrder(
  db: Database,
  request: Extract<ShopRequest, { kind: 'place-order' }>,
  release: Release,
): Promise<void> {
  let subtotal = 0;
  const lines: { sku: string; quantity: number; cents: number }[] = [];
  for (const { sku, quantity } of request.items) {
    const { rows } = await db.query('SELECT price_cents FROM products WHERE sku = $1', [sku]);
    const cents = Number(rows[0]?.['price_cents'] ?? 0);
    lines.push({ sku, quantity, cents });
    subtotal += cents * quantity;
  }
  const { rows } = await db.query('SELECT percent FROM coupons WHERE code = $1', [request.coupon]);
  const percent = Number(rows[0]?.['percent'] ?? 0);
  const exact = (subtotal * (100 - percent)) / 100;
  // Bug 1 of the candidate: whole cents by cutting off.
  const total = release === 'candidate' ? Math.trunc(exact) : Math.round(exact);
  await db.query(
    `INSERT INTO orders (id, customer_id, status, coupon, total_cents, placed_at)
     VALUES ($1, $2, 'placed', $3, $4, $5)`,
    [request.order, request.customer, request.coupon, total, request.at],
  );
  for (const [i, { sku, quantity, cents }] of lines.entries()) {
    await db.query('INSERT INTO order_items VALUES ($1, $2, $3, $4, $5)', [
      request.order,
      i + 1,
      sku,
      quantity,
      cents,
    ]);
    await db.query(
      'UPDATE inventory SET on_hand = on_hand - $2, reserved = reserved + $2 WHERE sku = $1',
      [sku, quantity],
    );
  }
  await db.query('UPDATE coupons SET used = used + 1 WHERE code = $1', [request.coupon]);
}

async function cancel(db: Database, order: string, release: Release): Promise<void> {
  await db.query(`UPDATE orders SET status = 'cancelled' WHERE id = $1`, [order]);
  await db.query('UPDATE payments SET refunded = true WHERE order_id = $1', [order]);
  // Bug 2 of the candidate: the goods are unreserved, but never put back on the shelf.
  const back = release === 'candidate' ? 0 : 1;
  await db.query(
    `UPDATE inventory i SET on_hand = on_hand + o.quantity * $2, reserved = reserved - o.quantity
     FROM (SELECT sku, sum(quantity)::int AS quantity FROM order_items
           WHERE order_id = $1 GROUP BY sku) o
     WHERE i.sku = o.sku`,
    [order, back],
  );
}
