/**
 * The recording as a source that stops at marks: the demo plays a stretch of production's
 * traffic, lets the candidate handle its mirrored requests first, and goes on.
 */
import { fileURLToPath } from 'node:url';
import type { OffsetMap } from '../change/position.ts';
import type { ChangeSource } from '../source/change-source.ts';
import { StagedGate } from '../source/recording/playback-gate.ts';
import { openRecording } from '../source/recording/recording-source.ts';
import { RECORDING, type DemoTraffic } from './traffic.ts';

export class Playback {
  readonly #traffic: DemoTraffic;
  readonly #gates: StagedGate[] = [];
  #mark: number;
  #ends: OffsetMap = new Map();

  private constructor(traffic: DemoTraffic, mark: number) {
    this.#traffic = traffic;
    this.#mark = mark;
  }

  /** Held at the start of the first window. */
  static async open(traffic: DemoTraffic): Promise<Playback> {
    const playback = new Playback(traffic, traffic.windows[0]?.record ?? Infinity);
    await using source = await openRecording(fileURLToPath(RECORDING));
    playback.#ends = await source.ends();
    return playback;
  }

  /** A source of its own for every follower; all stop at the same marks. */
  async openSource(): Promise<ChangeSource> {
    const gate = new StagedGate();
    gate.holdAt(this.#mark);
    this.#gates.push(gate);
    return openRecording(fileURLToPath(RECORDING), { gate });
  }

  /** Lets window `index` play; returns where every partition stands at its end. */
  play(index: number): OffsetMap {
    const next = this.#traffic.windows[index + 1];
    this.#mark = next?.record ?? Infinity;
    for (const gate of this.#gates) gate.holdAt(this.#mark);
    return this.endOf(index);
  }

  /** Where every partition stands at the end of window `index`; -1 is what came before. */
  endOf(index: number): OffsetMap {
    const next = this.#traffic.windows[index + 1];
    if (next === undefined) return this.#ends;
    return new Map(Object.entries(next.offsets).map(([key, offset]) => [key, BigInt(offset)]));
  }
}
