/** Versions which were seen to work together; the cache is keyed by them. */
export const VERSIONS = {
  kafka: '4.3.1',
  scala: '2.13',
  /** Kafka logs through slf4j 1.7; with 2.x nothing is logged. */
  slf4j: '1.7.36',
  debezium: '3.6.0.Final',
  /** 3.6.0 of the MariaDB connector is not on Maven Central. */
  debeziumMariadb: '3.5.0.Final',
  registry: '3.0.9',
  /** The parent of the 3.x converter is not on Maven Central; 2.6 talks to a 3.x registry. */
  avroConverter: '2.6.13.Final',
} as const;
