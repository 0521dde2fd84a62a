import { readFile } from 'node:fs/promises';
import type { ShopRequest } from './shop/requests.ts';

/** A stretch of the recorded traffic. */
export interface TrafficWindow {
  /** Number of the recording's first record that belongs to it. */
  readonly record: number;
  /** Where every partition stands at that record, by `topic/partition`. */
  readonly offsets: Readonly<Record<string, string>>;
  /** The requests that are mirrored to the candidate. */
  readonly requests: readonly ShopRequest[];
}

/** What the recording's traffic was, as the candidate gets to see it. */
export interface DemoTraffic {
  readonly windows: readonly TrafficWindow[];
}

const ASSETS = new URL('assets/', import.meta.url);

export const RECORDING = new URL('shop.recording', ASSETS);
export const SCHEMA = new URL('shop/schema.sql', import.meta.url);

/** The requests that belong to the recording; checked in beside it. */
export async function readTraffic(): Promise<DemoTraffic> {
  return JSON.parse(await readFile(new URL('traffic.json', ASSETS), 'utf8')) as DemoTraffic;
}

/** Production's rows near the end of the traffic, as `drift snapshot` wrote them down. */
export function readManifest(): Promise<string> {
  return readFile(new URL('manifest.json', ASSETS), 'utf8');
}
