/**
 * How one source database's types arrive: the contract of `types/postgresql.ts` and
 * `types/binlog.ts`. A type is one entry there; everything that decoding asks of a column is
 * looked up in it.
 */
import type { SourcePosition } from '../../change/position.ts';
import type { KnownValue } from '../../change/value.ts';
import type { ColumnSchema, ColumnType } from '../../schema/table-schema.ts';
import type { ConnectSchema } from '../envelope/connect-schema.ts';
import type { Exactness } from '../envelope/exact-number.ts';
import type { LossId } from '../losses/losses.ts';
import type { ConnectorModes } from '../modes.ts';
import { unknownType } from '../problem.ts';

/** Decodes a value that is not null. Throws a Problem, or NeedExact. */
export type ValueDecoder = (value: unknown, exactness: Exactness) => KnownValue;

/** A column as the connector sent it. */
export interface Sent {
  readonly connector: SourcePosition['connector'];
  readonly schema: ConnectSchema;
  readonly type: ColumnType;
  readonly modes: ConnectorModes;
}

/** How a column says that it was not sent. */
export interface Availability {
  /** Is this value, not null, the type's placeholder? */
  readonly isPlaceholder: (value: unknown) => boolean;
  /** The type has no placeholder: NULL may mean "not sent". */
  readonly nullIsDoubtful: boolean;
}

/** What a form loses of the columns that `applies` picks. */
export interface FormLoss {
  readonly id: LossId;
  readonly applies: (type: ColumnType) => boolean;
}

/** One form in which a type may arrive, and its exact inverse. */
export interface Form {
  readonly decoder: (sent: Sent) => ValueDecoder;
  readonly losses: readonly FormLoss[];
  /** Where every NULL in this form stands for a value that the connector lost: what to do. */
  readonly lostNull?: (column: ColumnSchema) => string | null;
}

/** By semantic name (`io.debezium.time.Date`); by base type where the schema has no name. */
export type Forms = Readonly<Record<string, Form>>;

export interface TypeEntry {
  readonly forms: Forms;
  /**
   * The schema that a connector with these modes gives to such a column: what records without
   * schema leave out. Throws a Problem where a mode is needed that is not declared.
   */
  readonly expected: (type: ColumnType, modes: ConnectorModes) => ConnectSchema;
  /** How an unchanged large value is left out; null where the engine has no such values. */
  readonly unavailable: ((sent: Sent) => Availability) | null;
  /** What a record without schema may lose, since it does not tell another form from the expected. */
  readonly untold?: readonly FormLoss[];
}

/** `opt-in`: only with include.unknown.datatypes. */
export type Sending = 'always' | 'opt-in' | 'never';

export interface TypeTable {
  /** All entries, by what they are called in the published table. */
  readonly entries: Readonly<Record<string, TypeEntry>>;
  readonly entryOf: (type: ColumnType) => TypeEntry;
  /** The entry of an array's element, which may be sent otherwise than a column of its type. */
  readonly elementOf: (element: ColumnType) => TypeEntry;
  /** Whether the connector sends columns of this type at all. */
  readonly sending: (type: ColumnType) => Sending;
}

/** A form by the decoder it has for a column. A loss given as an id is one of every column. */
export function form(decoder: Form['decoder'], ...losses: readonly (LossId | FormLoss)[]): Form {
  return {
    decoder,
    losses: losses.map((loss) =>
      typeof loss === 'string' ? { id: loss, applies: () => true } : loss,
    ),
  };
}

/** A form that is read alike for every column. */
export function value(decode: ValueDecoder, ...losses: readonly (LossId | FormLoss)[]): Form {
  return form(() => decode, ...losses);
}

/** The form of an entry that a schema is in. A struct's or map's own name does not matter. */
export function formOf(entry: TypeEntry, schema: ConnectSchema): Form | undefined {
  const { name, type } = schema;
  if (name === undefined) return own(entry.forms, type);
  return (
    own(entry.forms, name) ??
    (type === 'map' || type === 'array' ? own(entry.forms, type) : undefined)
  );
}

function own(forms: Forms, key: string): Form | undefined {
  return Object.hasOwn(forms, key) ? forms[key] : undefined;
}

/** The decoder of a column by its entry; one that throws TYPE_UNKNOWN where no form fits. */
export function decoderIn(entry: TypeEntry, sent: Sent): ValueDecoder {
  return (
    formOf(entry, sent.schema)?.decoder(sent) ??
    refuse(`cannot read ${sent.schema.name ?? sent.schema.type} into ${sent.type.sql}`)
  );
}

/** NULL in a column that cannot be decoded is still NULL; any other value is TYPE_UNKNOWN. */
export function refuse(what: string): ValueDecoder {
  return () => {
    throw unknownType(what);
  };
}

/** A type's name without schema and modifier: `inet`, `ltree`. */
export function bareTypeName(type: ColumnType): string {
  return (type.domainOf ?? type.sql).replace(/\(.*$/, '').replace(/^.*\./, '');
}
