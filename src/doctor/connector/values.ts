/** What becomes of values on the way into a record. */
import { listOf } from '../../decode/connectors/settings.ts';
import { settingsLike, word, type ConnectorRule, type ConnectorView } from './rule.ts';

const converter = (view: ConnectorView): string => view.settings.get('value.converter') ?? '';
const isJson = ({ facts }: ConnectorView): boolean =>
  facts.value === 'json' || facts.value === 'json-without-schema';
/** Apicurio’s converter, up to 2.6, takes no notice of the setting. */
const keepsNullsInAvro = (view: ConnectorView): boolean =>
  !converter(view).startsWith('io.apicurio.') &&
  word(view, 'value.converter.ignore.default.for.nullables') === 'true';

/** Classes of `converters`, the connector's own extension point, not Kafka Connect's. */
function customConverters(view: ConnectorView): string | false {
  const found = listOf(view.settings.get('converters')).map(
    (name) => view.settings.get(`${name}.type`) ?? name,
  );
  return found.length > 0 && found.join(', ');
}

const nullBecomesDefault = (view: ConnectorView): boolean =>
  isJson(view) && word(view, 'value.converter.replace.null.with.default') !== 'false';
const nullBecomesDefaultInAvro = (view: ConnectorView): boolean =>
  view.facts.value === 'avro' && !keepsNullsInAvro(view);

/** Is a column's DEFAULT sent in place of its NULL? */
export function sendsDefaults(view: ConnectorView): boolean {
  return nullBecomesDefault(view) || nullBecomesDefaultInAvro(view);
}

/** Are years of few digits taken for years of two? */
export function adjustsYears(view: ConnectorView): boolean {
  return view.facts.log === 'binlog' && word(view, 'enable.time.adjuster') !== 'false';
}

export const VALUE_RULES: readonly ConnectorRule[] = [
  {
    id: 'null-becomes-default',
    level: 'error',
    trapped: nullBecomesDefault,
    message: 'NULL in a column with a DEFAULT is sent as the default; the shadow cannot tell',
    cure: 'set value.converter.replace.null.with.default=false',
  },
  {
    id: 'null-becomes-default-in-avro',
    level: 'error',
    trapped: nullBecomesDefaultInAvro,
    message: 'NULL in a column with a DEFAULT is sent as the default; the shadow cannot tell',
    cure:
      'set value.converter.ignore.default.for.nullables=true with Confluent’s converter ' +
      '(Apicurio 2.6 takes no notice of it), or use JSON',
  },
  {
    id: 'conversion-failures-hidden',
    level: 'warning',
    trapped: ({ facts }) => !facts.stopsAtValues,
    message: 'values that the connector cannot convert are sent as NULL with a warning in its log',
    cure: 'set event.converting.failure.handling.mode=fail',
  },
  {
    id: 'events-skipped',
    level: 'error',
    trapped: (view) =>
      ['event.processing.failure.handling.mode', 'inconsistent.schema.handling.mode'].some(
        (setting) => !['', 'fail'].includes(word(view, setting)),
      ),
    message: 'events that the connector cannot read are left out with a warning in its log',
    cure: 'set event.processing.failure.handling.mode and inconsistent.schema.handling.mode to fail',
  },
  {
    id: 'mode-unknown',
    level: 'error',
    trapped: ({ facts }) => facts.unreadable.length > 0 && facts.unreadable.join(', '),
    message: 'a mode is set to what understudy cannot read',
    cure: 'set it to one of the values that the README lists for source.modes',
  },
  {
    id: 'money-digits',
    level: 'error',
    trapped: (view) =>
      view.facts.log === 'slot' && !['', '2'].includes(word(view, 'money.fraction.digits')),
    message:
      'money is sent with other fraction digits than its two: rounded where they are fewer, and in ' +
      'JSON without schema read as another power of ten',
    cure: 'take money.fraction.digits out, or set it to 2',
  },
  {
    id: 'time-adjuster',
    level: 'warning',
    trapped: adjustsYears,
    message: 'years 0 to 99 of dates and times are moved into 1970 to 2069',
    cure: 'set enable.time.adjuster=false',
  },
  {
    id: 'placeholder',
    level: 'error',
    trapped: (view) => settingsLike(view, /^unavailable\.value\.placeholder$/),
    message: 'large values that did not change are sent as a text that is taken for data',
    cure: 'take unavailable.value.placeholder out',
  },
  {
    id: 'custom-converters',
    level: 'warning',
    trapped: customConverters,
    message: 'values pass through converters whose inverse is not known',
    cure: 'take converters out, or exclude the columns from drift checks',
  },
  {
    id: 'post-processors',
    level: 'warning',
    trapped: (view) => settingsLike(view, /^post\.processors$/),
    message:
      'the connector changes rows after reading them; what it selects again is newer than the change',
    cure: 'take post.processors out',
  },
];

/**
 * Modes that lose values of some types. Only for where no catalogue tells which columns there are:
 * else each column is named, and a mode that harms none of them is none.
 */
export const MODE_RULES: readonly ConnectorRule[] = [
  {
    id: 'lossy-time',
    level: 'warning',
    trapped: ({ facts }) => facts.modes.time === 'connect',
    message: 'microseconds are cut off',
    cure: 'set time.precision.mode=adaptive or microseconds',
  },
  {
    id: 'lossy-decimal',
    level: 'warning',
    trapped: ({ facts }) => facts.modes.decimal === 'double',
    message: 'numeric values are rounded to double precision',
    cure: 'set decimal.handling.mode=precise or string',
  },
  {
    id: 'lossy-interval',
    level: 'warning',
    trapped: ({ facts }) => facts.modes.interval === 'numeric',
    message: 'intervals with months or years are sent as microseconds and cannot be restored',
    cure: 'set interval.handling.mode=string',
  },
  {
    id: 'unknown-types-omitted',
    level: 'warning',
    trapped: ({ facts }) => facts.log === 'slot' && !facts.unknownDatatypes,
    message: 'columns of types that the connector does not know are left out of the records',
    cure: 'set include.unknown.datatypes=true',
  },
];
