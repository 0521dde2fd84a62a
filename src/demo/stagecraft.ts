/** What differs between the demo from a recording and the demo on the real parts. */
import type { OffsetMap } from '../change/position.ts';
import type { RuntimeContext } from '../runtime/context.ts';
import type { ShopRequest } from './shop/requests.ts';

/** A stage with its production. Disposing of it ends and removes all that it started. */
export interface Stagecraft extends AsyncDisposable {
  readonly context: RuntimeContext;
  /** A configuration file by which other commands reach the same databases. */
  readonly configFile: string;
  /** Production's traffic in stretches: what of each is mirrored to the candidate. */
  readonly windows: readonly { readonly requests: readonly ShopRequest[] }[];
  /** The drift check is begun just before this window goes on. */
  readonly checkedWindow: number;
  /** Production as written down at a pinned point; null where production itself is asked. */
  manifest(): Promise<string | null>;
  /** Where every partition stands before the traffic. */
  beforeTraffic(): Promise<OffsetMap>;
  /** Lets production serve window `index`; returns where every partition stands behind it. */
  advance(index: number): Promise<OffsetMap>;
}

/** Opens a stage; `say` tells a person what takes its time. */
export type OpenStagecraft = (parts: {
  readonly say: (line: string) => void;
  readonly logger: RuntimeContext['logger'];
  readonly signal: AbortSignal;
}) => Promise<Stagecraft>;
