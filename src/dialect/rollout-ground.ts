/** What a shadow server must not be like for rollouts to be made on it, beyond what a trunk needs. */
import type { Diagnosis, ShadowServer } from './dialect.ts';

export interface RolloutGround extends ShadowServer {
  /**
   * What lets candidates of this trunk's rollouts go round them, or lets them meet errors that production
   * would not give; empty if there is nothing. Errors: SHADOW_UNREACHABLE, DATABASE_PERMISSION.
   */
  diagnoseGround(trunk: string): Promise<readonly Diagnosis[]>;
}

/** Empty where the engine has nothing of the kind. */
export async function diagnoseGround(
  server: ShadowServer,
  trunk: string,
): Promise<readonly Diagnosis[]> {
  return 'diagnoseGround' in server ? (server as RolloutGround).diagnoseGround(trunk) : [];
}
