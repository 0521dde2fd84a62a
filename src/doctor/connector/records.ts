/** In which encoding, form and topics the records are. */
import { listOf, type Transform } from '../../decode/connectors/settings.ts';
import { word, type ConnectorRule, type ConnectorView } from './rule.ts';

const FLATTENING = 'ExtractNewRecordState';
const ROUTING = ['ByLogicalTableRouter', 'ToLogicalTopicRouter', 'RegexRouter'];

const flattening = ({ facts }: ConnectorView): Transform | undefined =>
  facts.transforms.find(({ type }) => type === FLATTENING);

const ofFlattening = (view: ConnectorView, setting: string): string => {
  const transform = flattening(view);
  return transform === undefined ? '' : word(view, `transforms.${transform.name}.${setting}`);
};

function dropsDeletes(view: ConnectorView): boolean {
  if (flattening(view) === undefined) return false;
  return [
    ofFlattening(view, 'delete.tombstone.handling.mode'),
    ofFlattening(view, 'delete.handling.mode'),
  ].includes('drop');
}

/** Only a row that it copies, to add a field; another one it passes as it is. */
/** Does the flattening transform send a column's DEFAULT in place of its NULL? */
export function replacesNulls(view: ConnectorView): boolean {
  if (flattening(view) === undefined) return false;
  if (ofFlattening(view, 'replace.null.with.default') === 'false') return false;
  const rewritten = [
    ofFlattening(view, 'delete.tombstone.handling.mode'),
    ofFlattening(view, 'delete.handling.mode'),
  ].some((mode) => mode.startsWith('rewrite'));
  return rewritten || ofFlattening(view, 'add.fields') !== '';
}

/** Neither in the row nor beside it: a row in a table is told from no other one. */
function hidesOperation(view: ConnectorView): boolean {
  if (flattening(view) === undefined) return false;
  const added = ['add.fields', 'add.headers'].flatMap((list) => listOf(ofFlattening(view, list)));
  return !added.some((field) => field === 'op');
}

function foreignTransforms({ facts }: ConnectorView): string | false {
  const found = facts.transforms
    .filter(({ type }) => type !== FLATTENING && !ROUTING.includes(type))
    .map(({ name, type }) => (type === '' ? name : type));
  return found.length > 0 && found.join(', ');
}

/** Settings that name topics, with the values by which they are looked for. */
const TOPIC_NAMES: Readonly<Record<string, readonly string[]>> = {
  'topic.delimiter': ['.'],
  'topic.naming.strategy': [
    'io.debezium.schema.schematopicnamingstrategy',
    'io.debezium.schema.defaulttopicnamingstrategy',
  ],
  'topic.transaction': ['transaction'],
  'topic.heartbeat.prefix': ['__debezium-heartbeat'],
};

function otherTopics(view: ConnectorView): string | false {
  const found = Object.entries(TOPIC_NAMES)
    .filter(([setting, values]) => !['', ...values].includes(word(view, setting)))
    .map(([setting]) => setting);
  return found.length > 0 && found.join(', ');
}

function compacted(view: ConnectorView): string | false {
  const found = [...view.settings]
    .filter(
      ([name, value]) =>
        /^topic\.creation\..*\.cleanup\.policy$/.test(name) && /compact/.test(value),
    )
    .map(([name]) => name);
  return found.length > 0 && found.join(', ');
}

export const RECORD_RULES: readonly ConnectorRule[] = [
  {
    id: 'types-left-out',
    level: 'error',
    trapped: (view) =>
      view.facts.value === 'avro' && word(view, 'value.converter.connect.meta.data') === 'false',
    message: 'Avro is written without the names of types: a date cannot be told from a number',
    cure: 'set value.converter.connect.meta.data=true, or take it out',
  },
  {
    id: 'names-scrubbed',
    level: 'error',
    trapped: (view) =>
      view.facts.value === 'avro' && word(view, 'value.converter.scrub.invalid.names') === 'true',
    message:
      'the converter replaces characters in the names of columns, and nothing maps them back',
    cure: 'take value.converter.scrub.invalid.names out; field.name.adjustment.mode=avro_unicode does it',
  },
  {
    id: 'encoding',
    level: 'error',
    trapped: ({ facts }) => facts.value === 'other' || facts.key === 'other',
    message: 'records are in an encoding that understudy does not read',
    cure: 'set key.converter and value.converter to JSON or Avro',
  },
  {
    id: 'encoding-unset',
    level: 'warning',
    trapped: ({ facts }) => facts.value === 'unset' || facts.key === 'unset',
    message:
      'the worker’s converters are used, which Kafka Connect does not tell: no trap of theirs can be seen',
    cure: 'set key.converter and value.converter in the connector',
  },
  {
    id: 'encodings-differ',
    level: 'warning',
    trapped: ({ facts }) =>
      facts.key !== facts.value &&
      facts.form !== 'cloudevents' &&
      ![facts.key, facts.value].some((encoding) => encoding === 'unset' || encoding === 'other'),
    message:
      'key and value of a record are encoded differently: a change of either must be made twice',
    cure: 'set key.converter to what value.converter is, with its settings',
  },
  {
    id: 'json-without-schema',
    level: 'warning',
    trapped: ({ facts }) => facts.value === 'json-without-schema',
    message:
      'records carry no types: they are read by the modes the connector has now (or source.modes), ' +
      'older records too',
    cure: 'set value.converter.schemas.enable=true, or never change a mode without new topics',
  },
  {
    id: 'names-not-adjusted',
    level: 'warning',
    trapped: ({ facts }) => facts.value === 'avro' && facts.modes.names === 'none',
    message: 'a column or table whose name Avro does not allow stops the connector',
    cure: 'set schema.name.adjustment.mode and field.name.adjustment.mode to avro_unicode',
  },
  {
    id: 'names-collide',
    level: 'warning',
    trapped: ({ facts }) => facts.modes.names === 'avro',
    message:
      'columns whose names differ only in characters that Avro does not allow stop the connector',
    cure: 'set schema.name.adjustment.mode and field.name.adjustment.mode to avro_unicode',
  },
  {
    id: 'flat-form',
    level: 'warning',
    trapped: ({ facts }) => facts.form === 'flat',
    message:
      'a transform takes the row out of its envelope: no old row, no source transaction, no truncate, ' +
      'and only those positions that add.fields adds',
    cure: `take ${FLATTENING} out of transforms`,
  },
  {
    id: 'flat-operation-hidden',
    level: 'warning',
    trapped: hidesOperation,
    message:
      'an insert cannot be told from an update: a NULL in it that may stand for a large value that ' +
      'was not sent makes its row wait for one',
    cure: 'set add.fields=op for that transform, or add.headers=op',
  },
  {
    id: 'flat-deletes-dropped',
    level: 'error',
    trapped: dropsDeletes,
    message:
      'deletes are dropped, also the old row of a key that changes: such rows stay in the shadow',
    cure: 'set delete.tombstone.handling.mode=rewrite-with-tombstone for that transform',
  },
  {
    id: 'flat-null-becomes-default',
    level: 'error',
    trapped: replacesNulls,
    message:
      'the transform sends NULL in a column with a DEFAULT as the default, wherever it adds a field',
    cure: 'set replace.null.with.default=false for that transform too',
  },
  {
    id: 'cloudevents-form',
    level: 'warning',
    trapped: ({ facts }) => facts.form === 'cloudevents',
    message:
      'records are CloudEvents, which carry less of source and transaction than Debezium’s own',
    cure: 'set value.converter to JSON or Avro',
  },
  {
    id: 'transforms',
    level: 'warning',
    trapped: foreignTransforms,
    message: 'records pass through transforms that may drop or change them unseen',
    cure: 'take them out of transforms',
  },
  {
    id: 'topic-names',
    level: 'error',
    trapped: otherTopics,
    message: 'topics have other names than those that understudy looks for',
    cure: 'take the setting out',
  },
  {
    id: 'topics-compacted',
    level: 'error',
    trapped: compacted,
    message: 'topics are made with compaction, which removes changes of rows that changed again',
    cure: 'set cleanup.policy=delete there',
  },
];
