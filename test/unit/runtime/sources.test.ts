import { expect, it } from 'vitest';
import { tableFilter } from '../../../src/config/table-filter.ts';
import { mayHoldIncluded } from '../../../src/runtime/sources.ts';

const without = tableFilter({ include: ['public.*'], exclude: ['public.audit*'] });

it.each([
  ['p.public.orders', true],
  ['p.public.audit', false],
  ['p.public.auditlog', false],
  ['p.other.orders', false],
  // What a topic cannot be named after arrives as `_`, so such a name may be another table’s.
  ['p.public.audit_log', true],
  ['p.my_schema.orders', true],
  // Not of one table: the connector’s own topics, and names with a dot in them.
  ['p.transaction', true],
  ['p', true],
  ['p.public.audit.log', true],
])('reads %s: %s', (topic, expected) => {
  expect(mayHoldIncluded(topic, 'p', without)).toBe(expected);
});
