/** Of bits in a number that stays a small integer. */
const PAGE = 30;

/** A set of `total_order`s: few bytes for each, since they are dense. */
export class OrderSet {
  readonly #pages = new Map<number, number>();

  /** False if it was there. */
  add(order: bigint): boolean {
    const n = Number(order);
    const page = Math.floor(n / PAGE);
    const bit = 1 << (n % PAGE);
    const bits = this.#pages.get(page) ?? 0;
    if ((bits & bit) !== 0) return false;
    this.#pages.set(page, bits | bit);
    return true;
  }
}
