/**
 * The requests that the shop serves. Production handles them while the recording is made; in the
 * demo the very same ones are mirrored to the candidate. Ids and times come with the request, as
 * from a client with idempotency keys, so that both releases can reach the same rows.
 */
export type ShopRequest =
  | {
      readonly kind: 'place-order';
      readonly order: string;
      readonly customer: number;
      readonly items: readonly { readonly sku: string; readonly quantity: number }[];
      readonly coupon: string | null;
      readonly at: string;
    }
  | {
      readonly kind: 'pay';
      readonly payment: string;
      readonly order: string;
      readonly method: string;
      readonly at: string;
    }
  | { readonly kind: 'ship'; readonly order: string; readonly at: string }
  | { readonly kind: 'cancel'; readonly order: string }
  | { readonly kind: 'move-house'; readonly customer: number; readonly address: object }
  | {
      readonly kind: 'change-price';
      readonly sku: string;
      readonly cents: number;
      readonly at: string;
    }
  | { readonly kind: 'rename-coupon'; readonly from: string; readonly to: string }
  | { readonly kind: 'rename-product'; readonly from: string; readonly to: string }
  | { readonly kind: 'forget-order'; readonly order: string }
  | {
      readonly kind: 'search';
      readonly term: string;
      readonly skus: readonly string[];
      readonly at: string;
    }
  | { readonly kind: 'clear-search-cache' };

/** A request with its place in the traffic. */
export interface NumberedRequest {
  readonly n: number;
  /** Mirrored to the candidate too. */
  readonly mirrored: boolean;
  readonly request: ShopRequest;
}
