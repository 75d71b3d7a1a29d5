import { connect, type Socket } from "node:net";
import { AbstractConnector, type RedisOptions } from "ioredis";

/** Answers to lone calls are some hundred bytes, those to large ones some hundred thousand. */
const readBytes = 64 * 1024;

/**
 * Dials a Redis without TLS. Whatever comes is read into one buffer, and those who listen to `data`
 * get copies: in Node's own way a buffer of that size is made for each read, and what was read goes
 * through a queue, which costs a lone answer more than reading it.
 */
export class PlainConnector extends AbstractConnector {
  readonly #options: RedisOptions;

  constructor(options: unknown) {
    const given = options as RedisOptions;
    super(given.disconnectTimeout ?? 0);
    this.#options = given;
  }

  async connect(): Promise<Socket> {
    const { path, host, port, family } = this.#options;
    const buffer = Buffer.allocUnsafeSlow(readBytes);
    const callback = (length: number): boolean =>
      socket.emit("data", Buffer.from(buffer.subarray(0, length)));
    const onread = { buffer, callback };
    const socket = path
      ? connect({ path, onread })
      : connect({ port: port!, host: host!, family: family!, onread });
    socket.once("error", (error) => (this.firstError = error));
    this.stream = socket;
    return socket;
  }
}
