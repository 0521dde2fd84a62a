/** By what a connector can be told. */
export interface ConnectorTraces {
  /** Its replication slot; null if it has none, or that is not known. */
  readonly slot: string | null;
  /** What it has committed, fields by Debezium's names. */
  readonly offsets: readonly Readonly<Record<string, unknown>>[];
}
