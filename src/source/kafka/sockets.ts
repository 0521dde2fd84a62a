import net from 'node:net';
import tls from 'node:tls';
import type { ISocketFactory } from 'kafkajs';

const KEEP_ALIVE_MS = 60_000;

/**
 * Makes the sockets of one cluster connection and can end them all at once. kafkajs waits for
 * every request under way before it lets a socket go: with a broker that does not answer, half a
 * minute in which the process could not end.
 */
export class Sockets {
  readonly #open = new Set<net.Socket>();
  readonly #make: ISocketFactory;

  constructor(make: ISocketFactory = connect) {
    this.#make = make;
  }

  readonly factory: ISocketFactory = (options) => {
    const socket = this.#make(options);
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    return socket;
  };

  destroyAll(): void {
    // With an error, so that requests still waiting for an answer fail instead of hanging.
    for (const socket of this.#open) socket.destroy(new Error('closed by understudy'));
    this.#open.clear();
  }
}

const connect: ISocketFactory = ({ host, port, ssl, onConnect }) => {
  const serverName = net.isIP(host) === 0 ? { servername: host } : {};
  // `ssl: true` reaches us as it is; kafkajs' types know only the options.
  const secure: unknown = ssl;
  const socket = secure
    ? tls.connect({ host, port, ...serverName, ...ssl }, onConnect)
    : net.connect({ host, port }, onConnect);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  return socket;
};
