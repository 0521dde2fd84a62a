import { expect, test } from 'vitest';
import { readTopicIds, writeTopicIdsRequest } from '../../../../src/source/kafka/topic-ids.ts';

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};
const compact = (text: string): Buffer => Buffer.from([text.length + 1, ...Buffer.from(text)]);
const id = (byte: number): Buffer => Buffer.alloc(16, byte);
const partition = Buffer.concat([
  Buffer.alloc(14),
  Buffer.from([3]), // two replicas
  Buffer.alloc(8),
  Buffer.from([1, 0, 0]), // none in sync, none offline (null), no tags
]);

function topic(name: string, of: { readonly id: number; readonly errorCode?: number }): Buffer {
  return Buffer.concat([
    Buffer.from([0, of.errorCode ?? 0]),
    compact(name),
    id(of.id),
    Buffer.from([0, 2]),
    partition,
    int32(0),
    Buffer.from([1, 5, 2, 9, 9]), // one tag of two bytes
  ]);
}

function answer(...topics: readonly Buffer[]): Buffer {
  return Buffer.concat([
    Buffer.from([0]),
    int32(0),
    Buffer.from([2]),
    ...[int32(1), compact('localhost'), int32(9092), Buffer.from([0, 0])],
    compact('cluster'),
    int32(1),
    Buffer.from([topics.length + 1]),
    ...topics,
    Buffer.from([0]),
  ]);
}

test('tells the ids of topics that have one', () => {
  const ids = readTopicIds(
    answer(
      topic('a', { id: 7 }),
      topic('old', { id: 0 }),
      topic('gone', { id: 9, errorCode: 3 }),
      topic('b', { id: 255 }),
    ),
  );
  expect([...ids]).toEqual([
    ['a', '07'.repeat(16)],
    ['b', 'ff'.repeat(16)],
  ]);
  expect(readTopicIds(answer())).toEqual(new Map());
});

test('throws for an answer that is cut off, wherever', () => {
  const whole = answer(topic('a', { id: 7 }));
  for (let length = 0; length < whole.length - 1; length += 1) {
    expect(() => readTopicIds(whole.subarray(0, length))).toThrow(RangeError);
  }
});

test('asks for topics by name, however many', () => {
  const names = Array.from({ length: 200 }, (_, i) => `topic-${i}`);
  const request = writeTopicIdsRequest(names);
  // 201 as a varint of two bytes, behind the header's empty tags.
  expect([...request.subarray(0, 3)]).toEqual([0, 0xc9, 1]);
  expect(request.includes('topic-199')).toBe(true);
  expect(request.length).toBe(
    3 + names.reduce((sum, name) => sum + 16 + 1 + name.length + 1, 0) + 4,
  );
});
