import { expect, it } from 'vitest';
import { Intake } from '../../../src/apply/intake.ts';
import { MemoryCredit } from '../../../src/apply/memory-credit.ts';
import { changeEvent } from '../../support/change-events.ts';
import { MemoryLog, type Entry } from '../../support/memory-log.ts';

const change: Entry = (at) => changeEvent({ op: 'create', ...at, offset: Number(at.offset) });
const heartbeat: Entry = (at) => ({ kind: 'heartbeat', at, eventTimeMs: null });

async function read(fill: (log: MemoryLog) => void): Promise<{
  readonly calls: readonly string[];
  readonly intake: Intake;
  readonly credit: MemoryCredit;
  readonly released: readonly number[];
  readonly failure: unknown;
}> {
  const log = new MemoryLog();
  fill(log);
  log.end();
  const calls: string[] = [];
  const credit = new MemoryCredit((bytes) => log.released.push(bytes));
  const stream = await log.open(new Map(), {
    ...{ budgetBytes: 1, group: 'test', signal: new AbortController().signal },
  });
  const intake = new Intake({
    stream,
    decode: (record) => log.decode(record),
    sink: {
      push: ({ kind, at }) => calls.push(`${kind} ${at.topic}/${at.partition}@${at.offset}`),
      advance: (topic, partition, next) => calls.push(`next ${topic}/${partition}@${next}`),
    },
    credit,
    onChunk: () => calls.push('chunk'),
  });
  const failure = await intake.run().then(
    () => null,
    (error: unknown) => error,
  );
  return { calls, intake, credit, released: log.released, failure };
}

it('hands on every record, then how far its partition was read', async () => {
  const { calls, intake, failure } = await read((log) => {
    log.append('t', 0, change, heartbeat);
    log.append('t', 1, change);
  });
  expect(failure).toBeNull();
  expect(calls).toEqual([
    ...['change t/0@0', 'heartbeat t/0@1', 'next t/0@2', 'chunk'],
    ...['change t/1@0', 'next t/1@1', 'chunk'],
  ]);
  expect([...intake.consumed]).toEqual([
    ['t/0', 2n],
    ['t/1', 1n],
  ]);
});

it('keeps the bytes of changes until they are applied, and no others', async () => {
  const { credit, released } = await read((log) => {
    log.append('t', 0, change, heartbeat, change);
  });
  expect(credit.heldBytes).toBe(2 * 128);
  expect(released).toEqual([128]);
});

it('passes a record that it cannot decode neither as read nor as pushed', async () => {
  const { calls, intake, failure } = await read((log) => {
    log.append('t', 0, change);
    log.append('t', 0, change, 'corrupt', change);
    log.append('t', 1, change);
  });
  expect(failure).toMatchObject({ code: 'RECORD_CORRUPT', context: { offset: 2n } });
  expect(calls).toEqual(['change t/0@0', 'next t/0@1', 'chunk', 'change t/0@1']);
  expect([...intake.consumed]).toEqual([['t/0', 1n]]);
});
