/** One step of a schema of ours. Versions count up from 1 without holes. */
export interface Migration {
  readonly version: number;
  /** For people, in the list that each database keeps. */
  readonly what: string;
  readonly sql: string;
}
