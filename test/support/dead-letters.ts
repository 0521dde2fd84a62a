/** What is set aside, as the command line tells it. */
import type { Workplace } from './understudy.ts';

export interface Letter {
  readonly id: string;
  readonly table: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly keys: readonly (readonly string[])[];
  readonly code: string;
  readonly message: string;
  readonly queued: number;
}

export interface Replayed {
  readonly replayed: readonly string[];
  readonly left: readonly { readonly id: string; readonly code: string }[];
}

interface Status {
  readonly databases: readonly {
    readonly state: string;
    readonly deadLetters: number;
    readonly oldestDeadLetterMs: number | null;
    readonly parked: number;
    readonly lag: { readonly offsets: number | null };
  }[];
}

/** In the order of their keys. */
export async function letters(workplace: Workplace): Promise<readonly Letter[]> {
  const found = await workplace.json<Letter[]>(['dead-letters', 'list']);
  return found.toSorted((a, b) => String(a.keys).localeCompare(String(b.keys)));
}

export async function trunkStatus(workplace: Workplace): Promise<Status['databases'][number]> {
  const [found] = (await workplace.json<Status>(['status'])).databases;
  if (found === undefined) throw new Error('there is no trunk');
  return found;
}
