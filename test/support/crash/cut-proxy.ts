/**
 * A proxy in front of a database server through which one applier speaks, and which breaks at a
 * message of one's choice. It knows no protocol: what a driver sends at once is a message, and a
 * commit is told by its text, which all engines' drivers send as it is.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** When a connection breaks, counted from the moment the point is armed. */
export interface CrashPoint {
  /** The n-th message of the client at all, or its n-th commit. From 1. */
  readonly of: 'messages' | 'commits';
  readonly n: number;
  /**
   * - `before`: the server never sees the message.
   * - `during`: it sees it, and the connection breaks at once.
   * - `after`: it has answered, and the client does not hear it.
   */
  readonly side: 'before' | 'during' | 'after';
}

/**
 * What happens at the point.
 * - `cut`: all connections break; new ones are let in.
 * - `die`: all connections break; no new ones: the process is gone.
 * - `stop`: nothing passes any more, in either direction, until `wake`: the process is stopped.
 * - `end-sessions`: the server ends the sessions itself (`endSessions` below).
 */
export type CrashKind = 'cut' | 'die' | 'stop' | 'end-sessions';

export interface Crash {
  readonly point: CrashPoint;
  readonly kind: CrashKind;
}

/** How long an answer is waited for that is to be lost; a statement may wait for a lock. */
const ANSWER_MS = 1_000;

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** Answers from here on do not reach the client. */
  muted: boolean;
  /** What was sent while nothing passed. */
  readonly heldUp: Buffer[];
  readonly heldDown: Buffer[];
}

export class CutProxy implements AsyncDisposable {
  readonly #target: { readonly host: string; readonly port: number };
  readonly #endSessions: () => Promise<void>;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #armed: { crash: Crash; seen: number; fired: (crash: Crash) => void } | null = null;
  #state: 'open' | 'stopped' | 'dead' = 'open';
  #waiting: Socket[] = [];

  private constructor(url: string, endSessions: () => Promise<void>) {
    const { hostname, port } = new URL(url);
    this.#target = { host: hostname, port: Number(port) };
    this.#endSessions = endSessions;
    this.#server = createServer((client) => this.#accept(client));
  }

  /** `endSessions` ends, on the server, the sessions that appliers have there. */
  static async listen(url: string, endSessions: () => Promise<void>): Promise<CutProxy> {
    const proxy = new CutProxy(url, endSessions);
    await new Promise<void>((resolve) => {
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  /** The address of the server through this proxy. */
  through(url: string): string {
    const address = this.#server.address();
    const changed = new URL(url);
    changed.hostname = '127.0.0.1';
    changed.port = address !== null && typeof address === 'object' ? String(address.port) : '';
    return changed.href;
  }

  /** Resolves when the crash has happened. Only one is armed at a time. */
  arm(crash: Crash): Promise<Crash> {
    return new Promise((fired) => {
      this.#armed = { crash, seen: 0, fired };
    });
  }

  disarm(): void {
    this.#armed = null;
  }

  /** Breaks everything, as the end of the process would. */
  die(): void {
    this.#state = 'dead';
    this.#cut();
  }

  /** A stopped process goes on: what it had sent arrives, and it hears what it was told. */
  wake(): void {
    if (this.#state !== 'stopped') return;
    this.#state = 'open';
    for (const link of this.#links) {
      for (const chunk of link.heldUp.splice(0)) link.server.write(chunk);
      for (const chunk of link.heldDown.splice(0)) link.client.write(chunk);
      if (link.server.destroyed) link.client.end();
    }
    for (const client of this.#waiting.splice(0)) this.#join(client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disarm();
    this.die();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  #accept(client: Socket): void {
    client.on('error', () => undefined);
    switch (this.#state) {
      case 'open':
        this.#join(client);
        return;
      case 'stopped':
        this.#waiting.push(client);
        return;
      case 'dead':
        client.destroy();
        return;
    }
  }

  #join(client: Socket): void {
    if (client.destroyed) return;
    const server = connect(this.#target);
    client.setNoDelay(true);
    server.setNoDelay(true);
    const link: Link = { client, server, muted: false, heldUp: [], heldDown: [] };
    this.#links.add(link);
    server.on('error', () => undefined);
    client.on('data', (chunk: Buffer) => this.#up(link, chunk));
    server.on('data', (chunk: Buffer) => this.#down(link, chunk));
    client.on('close', () => {
      this.#links.delete(link);
      server.destroy();
    });
    server.on('close', () => {
      // A stopped process does not hear that its session was ended before it goes on.
      if (this.#state !== 'stopped') client.destroy();
    });
  }

  #up(link: Link, chunk: Buffer): void {
    if (this.#state === 'stopped') {
      link.heldUp.push(chunk);
      return;
    }
    const armed = this.#armed;
    if (armed === null || !this.#reaches(chunk)) {
      link.server.write(chunk);
      return;
    }
    this.#armed = null;
    void this.#fire(armed.crash, link, chunk).then(() => armed.fired(armed.crash));
  }

  #down(link: Link, chunk: Buffer): void {
    if (link.muted || this.#state === 'stopped') link.heldDown.push(chunk);
    else link.client.write(chunk);
  }

  #reaches(chunk: Buffer): boolean {
    const armed = this.#armed;
    if (armed === null) return false;
    const { of, n } = armed.crash.point;
    if (of === 'commits' && !chunk.includes('COMMIT')) return false;
    armed.seen += 1;
    return armed.seen === n;
  }

  async #fire({ point, kind }: Crash, link: Link, chunk: Buffer): Promise<void> {
    switch (point.side) {
      case 'before':
        if (kind === 'stop') link.heldUp.push(chunk);
        break;
      case 'during':
        await new Promise<void>((resolve) => {
          link.server.write(chunk, () => resolve());
        });
        break;
      case 'after': {
        link.muted = true;
        const answered = new Promise<void>((resolve) => {
          link.server.once('data', () => resolve());
          link.server.once('close', () => resolve());
        });
        link.server.write(chunk);
        const limit = new AbortController();
        await Promise.race([
          answered,
          pause(ANSWER_MS, undefined, { signal: limit.signal }).catch(() => undefined),
        ]);
        limit.abort();
        break;
      }
    }
    switch (kind) {
      case 'cut':
        this.#cut();
        return;
      case 'die':
        this.die();
        return;
      case 'stop':
        this.#state = 'stopped';
        link.muted = false;
        return;
      case 'end-sessions':
        await this.#endSessions();
        // Where the message was answered, the answer is lost with the session.
        if (point.side === 'before') link.server.write(chunk);
        if (link.muted) link.client.destroy();
        return;
    }
  }

  #cut(): void {
    for (const { client, server } of this.#links) {
      client.destroy();
      server.destroy();
    }
    for (const client of this.#waiting.splice(0)) client.destroy();
  }
}
