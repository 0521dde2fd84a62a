/**
 * What the connectors themselves lose or break before a record reaches us, as observed on Debezium
 * 3.6 (3.5 of MariaDB): a closed list. Nothing here can be decoded back. What a record shows is
 * refused or kept as unknown; the rest is found by `doctor` beforehand and by the drift check
 * afterwards. README.md of the decode room publishes the list.
 */
import type { Loss } from './loss.ts';
import { ROW_LOSSES } from './row-losses.ts';
import { VALUE_LOSSES } from './value-losses.ts';

const table = { ...VALUE_LOSSES, ...ROW_LOSSES };

export type LossId = keyof typeof table;

/** Every loss by its id. */
export const LOSSES: Readonly<Record<LossId, Loss>> = table;
