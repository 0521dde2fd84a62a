import type { SchemaCatalogue } from '../../schema/table-schema.ts';
import type { TableId } from '../../change/table-id.ts';
import { unreachable } from '../../util/assert.ts';
import type { ConnectorModes } from '../modes.ts';
import { CloudEventsForm } from './cloudevents-form.ts';
import { DebeziumForm } from './debezium-form.ts';
import { FlatForm } from './flat-form.ts';
import type { FormContext, FormReader, RecordForm } from './form.ts';

interface FormOptions {
  /** Default: Debezium's own. */
  readonly form?: RecordForm;
  readonly modes: ConnectorModes;
  readonly catalogue: () => SchemaCatalogue;
  /** Default: all tables. */
  readonly include?: (table: TableId) => boolean;
}

/** The reader of the form that is configured. */
export function formReader(options: FormOptions, context: FormContext): FormReader {
  const form = options.form ?? 'debezium';
  switch (form) {
    case 'debezium':
      return new DebeziumForm(context);
    case 'flat':
      return new FlatForm(context, {
        catalogue: options.catalogue,
        include: options.include ?? (() => true),
        deletes: options.modes.deletes ?? 'tombstone',
        names: options.modes.names ?? 'none',
      });
    case 'cloudevents':
      return new CloudEventsForm(context);
    default:
      return unreachable(form);
  }
}
