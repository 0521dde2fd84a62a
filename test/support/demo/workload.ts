/**
 * Deterministic traffic for the shop: the same seed gives the same requests. A third of the
 * customers, products and coupons belong to the region `north`, whose requests are mirrored to
 * the candidate; rows of the region are touched by requests of the region only, so that a
 * correct candidate ends with the very rows that production has.
 */
import type { NumberedRequest, ShopRequest } from '../../../src/demo/shop/requests.ts';

export interface Catalogue {
  readonly customers: readonly { id: number; email: string; name: string; north: boolean }[];
  readonly products: readonly {
    sku: string;
    name: string;
    cents: number;
    tags: readonly string[];
    description: string;
    north: boolean;
  }[];
  readonly coupons: readonly { code: string; percent: number; north: boolean }[];
}

const EPOCH = Date.UTC(2026, 2, 2, 8, 0, 0);

/** mulberry32, a public-domain generator: small, seeded, good enough for a shop. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const FIRST = ['Ada', 'Bo', 'Chen', 'Dita', 'Emil', 'Fatou', 'Goran', 'Hana', 'Ivo', 'Jun'];
const LAST = ['Okafor', 'Lindqvist', 'Moreau', 'Tanaka', 'Silva', 'Novak', 'Haddad', 'Berg'];
const THINGS = ['kettle', 'lamp', 'notebook', 'mug', 'rucksack', 'scarf', 'clock', 'stool'];
const TINTS = ['red', 'oak', 'slate', 'amber', 'mint', 'navy'];

export function makeCatalogue(): Catalogue {
  const customers = Array.from({ length: 240 }, (_, i) => {
    const name = `${pick(FIRST, i * 7)} ${pick(LAST, i * 3 + 1)}`;
    return { id: i + 1, email: `customer${i + 1}@shop.example`, name, north: i % 3 === 0 };
  });
  const products = Array.from({ length: 90 }, (_, i) => {
    const thing = pick(THINGS, i);
    const tint = pick(TINTS, i * 5);
    const north = i % 3 === 0;
    return {
      sku: `${north ? 'N' : 'S'}-${String(1000 + i)}`,
      name: `${tint} ${thing}`,
      cents: 499 + ((i * 373) % 9000),
      tags: [tint, thing, north ? 'north' : 'south'],
      // Long enough to be stored out of line.
      description: `The ${tint} ${thing}, number ${i}. `.repeat(120),
      north,
    };
  });
  const coupons = ['WINTER', 'SPRING', 'FRIENDS', 'NORTH'].flatMap((word, i) =>
    [5, 15, 35].map((percent) => ({ code: `${word}${percent}`, percent, north: i === 3 })),
  );
  return { customers, products, coupons };
}

function pick<T>(list: readonly T[], i: number): T {
  const found = list[i % list.length];
  if (found === undefined) throw new Error('nothing to pick from');
  return found;
}

export interface LaneOptions {
  readonly north: boolean;
  readonly orders: number;
  readonly seed: number;
  /** Only orders, payments and shipments: no renames, no truncates. */
  readonly plain: boolean;
}

/** One lane of traffic: a region's requests in order. Lanes may run side by side. */
export function makeLane(catalogue: Catalogue, options: LaneOptions): readonly NumberedRequest[] {
  return new Lane(catalogue, options).requests();
}

class Lane {
  readonly #random: () => number;
  readonly #north: boolean;
  readonly #orders: number;
  readonly #seed: number;
  readonly #plain: boolean;
  readonly #customers: readonly number[];
  readonly #skus: string[];
  readonly #coupons: string[];
  readonly #requests: NumberedRequest[] = [];
  #clock = EPOCH;

  constructor(catalogue: Catalogue, options: LaneOptions) {
    this.#random = seededRandom(options.seed);
    this.#north = options.north;
    this.#orders = options.orders;
    this.#seed = options.seed;
    this.#plain = options.plain;
    const ours = <T extends { north: boolean }>(list: readonly T[]): readonly T[] =>
      list.filter((item) => item.north === options.north);
    this.#customers = ours(catalogue.customers).map((customer) => customer.id);
    this.#skus = ours(catalogue.products).map((product) => product.sku);
    this.#coupons = ours(catalogue.coupons).map((coupon) => coupon.code);
  }

  requests(): readonly NumberedRequest[] {
    for (let i = 0; i < this.#orders; i += 1) this.#order(i);
    return this.#requests;
  }

  #order(i: number): void {
    const order = this.#uuid('0', i);
    const lines = 1 + Math.floor(this.#random() * 3);
    this.#add({
      kind: 'place-order',
      order,
      customer: this.#any(this.#customers),
      items: Array.from({ length: lines }, () => ({
        sku: this.#any(this.#skus),
        quantity: 1 + Math.floor(this.#random() * 3),
      })),
      coupon: this.#random() < 0.5 ? this.#any(this.#coupons) : null,
      at: this.#tick(),
    });
    const fate = this.#random();
    if (fate < 0.85) {
      const payment = this.#uuid('1', i);
      const method = this.#random() < 0.7 ? 'card' : 'transfer';
      this.#add({ kind: 'pay', payment, order, method, at: this.#tick() });
    }
    if (fate < 0.6) this.#add({ kind: 'ship', order, at: this.#tick() });
    else if (fate < 0.8) this.#add({ kind: 'cancel', order });
    else if (fate > 0.95 && !this.#north) this.#add({ kind: 'forget-order', order });
    if (!this.#plain) this.#sideTraffic(i);
  }

  #sideTraffic(i: number): void {
    if (this.#random() < 0.15) {
      const customer = this.#any(this.#customers);
      const address = {
        street: `${1 + (i % 90)} Harbour Road`,
        city: pick(LAST, i),
        zip: String(10_000 + i),
      };
      this.#add({ kind: 'move-house', customer, address });
    }
    if (this.#north) return;
    // What the candidate is never asked: prices, renames, the search cache.
    if (this.#random() < 0.2) {
      const cents = 500 + Math.floor(this.#random() * 9_000);
      this.#add({ kind: 'change-price', sku: this.#any(this.#skus), cents, at: this.#tick() });
    }
    if (this.#random() < 0.3) {
      const term = `${pick(TINTS, i)} ${pick(THINGS, i * 3)}`;
      this.#add({ kind: 'search', term, skus: this.#skus.slice(0, 3), at: this.#tick() });
    }
    if (i % 40 === 25)
      this.#rename(this.#coupons, (from, to) => ({ kind: 'rename-coupon', from, to }));
    if (i % 40 === 35)
      this.#rename(this.#skus, (from, to) => ({ kind: 'rename-product', from, to }));
    if (i % 120 === 90) this.#add({ kind: 'clear-search-cache' });
  }

  #rename(list: string[], request: (from: string, to: string) => ShopRequest): void {
    const i = Math.floor(this.#random() * list.length);
    const from = pick(list, i);
    const to = `${from}X`;
    list[i] = to;
    this.#add(request(from, to));
  }

  #add(request: ShopRequest): void {
    this.#requests.push({ n: this.#requests.length, mirrored: this.#north, request });
  }

  #any<T>(list: readonly T[]): T {
    return pick(list, Math.floor(this.#random() * list.length));
  }

  #tick(): string {
    this.#clock += 1_000 + Math.floor(this.#random() * 30_000);
    return new Date(this.#clock).toISOString();
  }

  #uuid(kind: string, i: number): string {
    const digits = `${kind}${this.#seed.toString(16)}${i.toString(16).padStart(6, '0')}`;
    return `5a0b0000-0000-4000-8000-${digits.padStart(12, '0')}`;
  }
}
