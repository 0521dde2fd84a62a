import type { ErrorCode } from '../../errors/codes.ts';
import type { Fence } from '../fence.ts';

/** What parts of a shadow database ask of its sessions. */
export interface ShadowActs<Client> {
  /** Of one moment, and writing nothing. */
  read<T>(doing: string, fn: (client: Client) => Promise<T>): Promise<T>;
  /** One transaction, while the fence is held. */
  act<T>(
    fence: Fence,
    what: { readonly doing: string; readonly otherwise: ErrorCode },
    fn: (client: Client) => Promise<T>,
  ): Promise<T>;
  /** What is known of the tables is so no more. */
  forget(): void;
}
