import type { Redis } from "ioredis";
import { uuidText } from "../../task/uuid.js";
import type { Hint } from "../broker.js";
import { destroy } from "./connection.js";
import { hintChannel, queueOfText } from "./keys.js";
import type { Node, Nodes } from "./nodes.js";

export interface Hints {
  start(): void;
  stop(): void;
  listen(listener: (hint: Hint) => void): () => void;
}

/**
 * News by pub/sub, on a connection of its own. Lossy by nature: whoever needs certainty sweeps or
 * asks. Nodes of a Cluster pass on what is published on any of them, so one is listened to; another
 * once it goes.
 */
export function createHints(nodes: Pick<Nodes, "any">, prefix: string): Hints {
  const listeners = new Set<(hint: Hint) => void>();
  let heard: { readonly node: Node; readonly redis: Redis } | undefined;
  let stopped = false;
  const spread = (hint: Hint): void => {
    for (const listener of listeners) listener(hint);
  };

  function listenTo(node: Node): void {
    const redis = node.connection.dedicated();
    heard = { node, redis };
    redis.on("messageBuffer", (_channel: Buffer, message: Buffer) => {
      if (listeners.size > 0) readHints(message).forEach(spread);
    });
    // After each reconnect too: what was said meanwhile is lost, and whoever listens is told so.
    redis.on("ready", () => {
      const subscribed = redis.subscribe(hintChannel(prefix));
      subscribed.then(
        () => spread({ kind: "gap" }),
        () => undefined,
      );
    });
    redis.on("close", () => {
      const other = stopped ? node : nodes.any();
      if (other.address === node.address || heard?.redis !== redis) return;
      redis.disconnect();
      listenTo(other);
    });
    // The silence of a Redis that is no more sounds like that of one with no news.
    let known = node.connection.available;
    node.connection.onReady(() => {
      if (known && heard?.redis === redis && redis.status === "ready") destroy(redis);
      known = true;
    });
    void redis.connect().catch(() => undefined);
  }

  return {
    start() {
      if (!heard) listenTo(nodes.any());
    },
    stop() {
      stopped = true;
      heard?.redis.disconnect();
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** One letter for the kind, then what it is about; see lua/parts/base.lua. */
function readHints(message: Buffer): Hint[] {
  switch (message.toString("latin1", 0, 1)) {
    case "t":
      return idsIn(message).map((taskId) => ({ kind: "changed", taskId }));
    case "g":
      return idsIn(message).map((taskId) => ({ kind: "logged", taskId }));
    case "c": {
      const taskId = uuidText(message.subarray(1, 17));
      const graceMs = message.readUInt32BE(17);
      return [{ kind: "cancel", taskId, graceMs, sessionId: message.toString("utf8", 21) }];
    }
    case "l":
      return [{ kind: "lanes", ...queueOfText(message.toString("utf8", 1)) }];
    case "q":
      return [{ kind: "queue", ...queueOfText(message.toString("utf8", 1)) }];
    default:
      return [];
  }
}

function idsIn(message: Buffer): string[] {
  const ids: string[] = [];
  for (let at = 1; at + 16 <= message.length; at += 16) {
    ids.push(uuidText(message.subarray(at, at + 16)));
  }
  return ids;
}
