/**
 * What the decoder knows of a schema registry: how its records name their schema, and the schemas
 * that are at hand. Fetching them is the caller's part (source/registry), since decoding does not
 * wait.
 */

/** A schema's name in one of the registry's number spaces. They are never guessed from another. */
export interface SchemaRef {
  /** `id` and `guid` are Confluent's, `contentId` and `globalId` Apicurio's. */
  readonly kind: 'id' | 'guid' | 'contentId' | 'globalId';
  /** Decimal digits, or the GUID in lower case with hyphens. Safe as a file name. */
  readonly id: string;
}

/** How the producers' converter frames its records. */
export type WireFormat =
  | { readonly api: 'confluent' }
  | {
      readonly api: 'apicurio';
      /** What the id before the record is. Headers say it themselves. */
      readonly ids: 'contentId' | 'globalId';
      /** How many bytes it has. */
      readonly idBytes: 4 | 8;
    };

export interface SchemaStore {
  /** The schema as it was parsed from the registry's JSON; undefined if it was not fetched yet. */
  schema(ref: SchemaRef): unknown;
}

/** `contentId 7`, for messages and as a key of caches. */
export function schemaRefName(ref: SchemaRef): string {
  return `${ref.kind} ${ref.id}`;
}
