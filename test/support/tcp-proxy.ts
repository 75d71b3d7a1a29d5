import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterAll } from "vitest";
import { systemClock } from "../../src/clock.js";

/** `up`: from the one who dialed towards the target; `down`: back. */
export type Direction = "up" | "down";

export interface TcpProxy {
  /** host:port to dial. */
  readonly address: string;
  /** Connections accepted so far. */
  readonly accepted: number;
  /** Nothing goes this way any more, on open connections and new ones; nobody is told. */
  blackhole(direction: Direction): void;
  /** RST on all open connections and every new one. */
  cut(): void;
  /** What was held back goes on, and new connections are let through. */
  pass(): void;
  /** Bytes wait this long, in ms, each way. */
  delay(ms: number): void;
  /** RST on all open connections. */
  reset(): void;
}

interface Link {
  readonly source: Socket;
  readonly target: Socket;
  readonly direction: Direction;
}

/** A TCP proxy that can fail the ways networks do. Closed after the file. */
export async function startTcpProxy(target: string): Promise<TcpProxy> {
  const [host, port] = target.split(":") as [string, string];
  const links = new Set<Link>();
  const silent = new Set<Direction>();
  let delayMs = 0;
  let severed = false;
  let accepted = 0;

  /** A blackhole does not read: as on a real one, the sender's kernel keeps what is on its way. */
  function obey({ source, direction }: Link): void {
    if (silent.has(direction)) source.pause();
    else source.resume();
  }

  async function forward(data: Buffer, to: Socket): Promise<void> {
    if (delayMs > 0) await systemClock.sleep(delayMs);
    if (!to.destroyed) to.write(data);
  }

  function join(source: Socket, target: Socket, direction: Direction): void {
    const link = { source, target, direction };
    let order = Promise.resolve();
    source.on("data", (data: Buffer) => {
      order = order.then(() => forward(data, target));
    });
    source.on("end", () => void order.then(() => target.end()));
    source.on("error", () => target.resetAndDestroy());
    source.on("close", () => {
      links.delete(link);
      // An end that the blackhole swallowed must stay unheard.
      if (!silent.has(direction)) target.destroySoon();
    });
    links.add(link);
    obey(link);
  }

  const server = createServer({ allowHalfOpen: true }, (near) => {
    if (severed) return void near.resetAndDestroy();
    accepted += 1;
    const far = connect({ host, port: Number(port), allowHalfOpen: true });
    join(near, far, "up");
    join(far, near, "down");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const reset = (): void => {
    for (const { source } of links) source.resetAndDestroy();
  };
  afterAll(() => {
    server.close();
    reset();
  });
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get accepted() {
      return accepted;
    },
    blackhole(direction) {
      silent.add(direction);
      for (const link of links) obey(link);
    },
    cut() {
      severed = true;
      reset();
    },
    pass() {
      severed = false;
      silent.clear();
      for (const link of links) obey(link);
    },
    delay(ms) {
      delayMs = ms;
    },
    reset,
  };
}
