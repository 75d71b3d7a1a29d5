import { DroverError } from "../../errors.js";
import { limits } from "../../limits.js";
import { createLoop, type Loop } from "../../service.js";
import {
  type Argument,
  type Connection,
  type ConnectionOptions,
  createConnection,
  unavailable,
} from "./connection.js";
import { asNumber, type ScriptName, type Scripts } from "./scripts.js";
import {
  addressOf,
  readSlots,
  type Redirection,
  redirectionOf,
  type SlotRange,
  splitAddress,
  urlOfNode,
} from "./slots.js";

/** One process of Redis. */
export interface Node {
  readonly address: string;
  readonly connection: Connection;
  readonly scripts: Scripts;
}

export interface NodesOptions extends Omit<ConnectionOptions, "url" | "node"> {
  /** One Redis, or some nodes of a Cluster. */
  readonly urls: readonly string[];
  /** What the keys of each partition start with. */
  readonly bases: readonly string[];
  scriptsOf(connection: Connection): Scripts;
}

interface KnownNode extends Node {
  /** Monotonic ms since which it serves no partition. */
  unusedSince: number | undefined;
  /** Said that its Cluster is down: others may know better, until a monotonic ms. */
  doubtedUntil: number;
}

/** Between two looks at the slots: failovers are also noticed where nothing is sent. */
const lookMs = 5_000;
/** The same while a partition has no node that answers. */
const brokenLookMs = 250;
/** How often a partition that its node refuses is tried. */
const heldLookMs = 100;
/** A node without partitions is kept so long: answers may still be on their way. */
const unusedMs = 2 * limits.storeCommandMs;
const doubtMs = 2_000;

const reasons = {
  moving: "its slot is moving to another node",
  down: "its node is cut off from the Redis Cluster, or this is not whole",
  homeless: "no node of the Redis Cluster serves its slot",
} as const;

/**
 * Which Redis serves a partition: the only one there is, or on a Redis Cluster the primary that
 * holds its slot. A MOVED is followed once, as nothing has run by then. An ASK never is: while a
 * slot moves key by key, a script would find half of its partition on either side, so the partition
 * is frozen until the whole of it has a home. Nothing is ever asked of replicas.
 */
export class Nodes {
  readonly #options: NodesOptions;
  readonly #known = new Map<string, KnownNode>();
  readonly #serving = new Map<string, KnownNode>();
  readonly #slots = new Map<string, number>();
  /** Partitions whose node refuses them, and what it said last. */
  readonly #held = new Map<string, Exclude<Redirection["kind"], "moved">>();
  readonly #loop: Loop;
  readonly #settled: (() => void)[] = [];
  /** The one Redis there is, unless it says that it is a node of a Cluster. */
  #only: KnownNode | undefined;
  #refusal: DroverError | undefined;
  #up = false;
  #lookedAt = 0;
  #lastError: unknown;

  constructor(options: NodesOptions) {
    this.#options = options;
    const { urls, clock, events } = options;
    this.#loop = createLoop({
      name: "slots",
      clock,
      everyMs: lookMs,
      failureMaxMs: lookMs,
      run: () => this.#look(),
      onError: (error, loop) => events?.emit("loop.failed", { loop, error }),
    });
    if (urls.length === 1) this.#only = this.#seed(urls[0]!);
  }

  /** Some partition is served. */
  get available(): boolean {
    if (this.#only) return this.#only.connection.available;
    for (const node of this.#serving.values()) if (node.connection.available) return true;
    return false;
  }

  get inCluster(): boolean {
    return !this.#only;
  }

  /** Why there was no answer last time; undefined if that never happened. */
  get lastError(): unknown {
    if (this.#refusal) return this.#refusal;
    const errors = [...this.#known.values()].map(({ connection }) => connection.lastError);
    return errors.find((error) => error !== undefined) ?? this.#lastError;
  }

  /** Those that serve partitions, each with the starts of their keys. */
  all(): { readonly node: Node; readonly bases: readonly string[] }[] {
    const { bases } = this.#options;
    if (this.#only) return [{ node: this.#only, bases }];
    return [...new Set(this.#serving.values())].map((node) => ({
      node,
      bases: bases.filter((base) => this.#serving.get(base) === node),
    }));
  }

  /**
   * Resolves when all partitions have a node that answers, or after 2 s. Rejects with
   * `config_invalid` if several nodes were given that are none of a Cluster.
   */
  async start(): Promise<void> {
    const { clock, urls } = this.#options;
    const settled = new Promise<void>((resolve) => this.#settled.push(resolve));
    this.#up = true;
    for (const url of urls) this.#seed(url);
    for (const { connection } of this.#known.values()) void connection.start();
    const patience = new AbortController();
    const gaveUp = clock.sleep(limits.storeCommandMs, patience.signal).catch(() => undefined);
    await Promise.race([settled, gaveUp]);
    patience.abort();
    if (this.#refusal) throw this.#refusal;
  }

  async stop(): Promise<void> {
    this.#up = false;
    await this.#loop.stop();
    await Promise.all([...this.#known.values()].map(({ connection }) => connection.stop()));
  }

  /** The partition's node answers, and does not refuse it. */
  serves(base: string): boolean {
    const node = this.#only ?? this.#serving.get(base);
    return node !== undefined && node.connection.available && !this.#held.has(base);
  }

  /** Its slot is on the move: nobody can run a script on it. */
  isMoving(base: string): boolean {
    return this.#held.get(base) === "moving";
  }

  /** Throws `broker_unavailable` while none is known. */
  nodeOf(base: string): Node {
    const node = this.#only ?? this.#serving.get(base);
    if (node) return node;
    throw this.#refusal ?? unavailable("no node of the Cluster is known to serve this partition");
  }

  /** One that answers, or may soon; for what any node of a Cluster can tell. */
  any(): Node {
    const nodes = [...this.#known.values()];
    return (
      nodes.find(({ connection }) => connection.available) ?? this.#seed(this.#options.urls[0]!)
    );
  }

  run(name: ScriptName, base: string, args: readonly Argument[]): Promise<unknown> {
    if (this.#only) return this.#only.scripts.run(name, base, args);
    return this.#follow(base, (node) => node.scripts.run(name, base, args));
  }

  send(base: string, name: string, args: readonly Argument[]): Promise<unknown> {
    if (this.#only) return this.#only.connection.send(name, args);
    return this.#follow(base, (node) => node.connection.send(name, args));
  }

  /** For what was sent on a connection of one's own: the node has refused it with this error. */
  heed(base: string, node: Node, error: unknown): "moved" | undefined {
    const said = redirectionOf(error, splitAddress(node.address).host);
    switch (said?.kind) {
      case "moved":
        this.#serve(base, this.#nodeAt(said.address));
        this.#lookSoon();
        return "moved";
      case "moving":
      case "homeless":
        this.#hold(base, said.kind);
        break;
      case "down":
        this.#doubt(node);
        for (const [other, its] of this.#serving) if (its === node) this.#hold(other, "down");
        break;
    }
    return undefined;
  }

  async #follow(base: string, call: (node: Node) => Promise<unknown>): Promise<unknown> {
    const held = this.#held.get(base);
    if (held) throw unavailable(reasons[held]);
    const node = this.nodeOf(base);
    try {
      return await call(node);
    } catch (error) {
      if (this.heed(base, node, error) !== "moved") throw error;
    }
    const home = this.nodeOf(base);
    if (!home.connection.available) await home.connection.start();
    try {
      return await call(home);
    } catch (error) {
      this.heed(base, home, error);
      throw error;
    }
  }

  #seed(url: string): KnownNode {
    return this.#nodeAt(addressOf(url), url);
  }

  #nodeAt(address: string, given?: string): KnownNode {
    const known = this.#known.get(address);
    if (known) return known;
    const { urls } = this.#options;
    const url = given ?? urlOfNode(urls[0]!, address);
    const shown = given === undefined || urls.length > 1 ? address : undefined;
    const connection = createConnection({ ...this.#options, url, node: shown });
    const scripts = this.#options.scriptsOf(connection);
    const node = { address, connection, scripts, unusedSince: undefined, doubtedUntil: 0 };
    this.#known.set(address, node);
    connection.onReady(() => this.#greeted(node));
    if (this.#up) void connection.start();
    return node;
  }

  #greeted(node: KnownNode): void {
    node.doubtedUntil = 0;
    if (!this.#up) return;
    if (node.connection.inCluster) {
      this.#only = undefined;
      void this.#loop.start();
      this.#loop.poke();
    } else if (this.#only) this.#settle();
    else {
      const message = `redis_url names several nodes, ${node.address} is none of a Redis Cluster`;
      const hint = "Name one Redis, or nodes of one Cluster.";
      this.#refusal = new DroverError("config_invalid", message, { field: "redis_url", hint });
      this.#settle();
    }
  }

  #settle(): void {
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  async #look(): Promise<number> {
    this.#lookedAt = this.#options.clock.monotonic();
    await this.#readSlots();
    await Promise.all([...this.#held.keys()].map((base) => this.#tryAgain(base)));
    this.#retire();
    const whole = this.#options.bases.every((base) => {
      return this.#serving.get(base)?.connection.available === true;
    });
    if (whole) this.#settle();
    if (this.#held.size > 0) return heldLookMs;
    return whole ? lookMs : brokenLookMs;
  }

  /** The first node that answers tells of all; those that were cut off are asked last. */
  async #readSlots(): Promise<void> {
    const now = this.#options.clock.monotonic();
    const nodes = [...this.#known.values()].filter(({ connection }) => connection.available);
    const doubted = (node: KnownNode) => Number(node.doubtedUntil > now);
    nodes.sort((a, b) => doubted(a) - doubted(b));
    for (const node of nodes) {
      try {
        const { host } = splitAddress(node.address);
        const ranges = readSlots(await node.connection.send("CLUSTER", ["SLOTS"]), host);
        if (ranges.length === 0) continue;
        await this.#findSlots(node);
        return this.#apply(ranges);
      } catch (error) {
        this.#lastError = error;
      }
    }
    // None answers that is known: perhaps one does that was named.
    for (const url of this.#options.urls) this.#seed(url);
  }

  /** Once: the slot of a key never changes. */
  async #findSlots(node: Node): Promise<void> {
    if (this.#slots.size > 0) return;
    const { bases } = this.#options;
    const found = bases.map((base) => node.connection.send("CLUSTER", ["KEYSLOT", base]));
    (await Promise.all(found)).forEach((slot, at) => this.#slots.set(bases[at]!, asNumber(slot)));
  }

  #apply(ranges: readonly SlotRange[]): void {
    for (const [base, slot] of this.#slots) {
      const range = ranges.find(({ first, last }) => first <= slot && slot <= last);
      this.#serve(base, range && this.#nodeAt(range.address));
    }
  }

  #serve(base: string, node: KnownNode | undefined): void {
    const before = this.#serving.get(base);
    if (before === node) return;
    if (node) this.#serving.set(base, node);
    else this.#serving.delete(base);
    this.#held.delete(base);
  }

  #hold(base: string, why: keyof typeof reasons): void {
    const before = this.#held.get(base);
    this.#held.set(base, why);
    if (before === why) return;
    const partition = this.#options.bases.indexOf(base);
    this.#options.events?.emit("partition.cold", { partition, reason: reasons[why] });
    this.#lookSoon();
  }

  /** No such key exists, so its node answers ASK for as long as the slot is on the move. */
  async #tryAgain(base: string): Promise<void> {
    const node = this.#serving.get(base);
    try {
      await node?.connection.send("EXISTS", [base]);
      this.#held.delete(base);
    } catch (error) {
      if (!redirectionOf(error, "")) this.#held.delete(base);
      if (node) this.heed(base, node, error);
    }
  }

  #doubt(node: Node): void {
    const known = this.#known.get(node.address);
    if (known) known.doubtedUntil = this.#options.clock.monotonic() + doubtMs;
    this.#lookSoon();
  }

  /** What goes wrong goes wrong for many calls at once. */
  #lookSoon(): void {
    if (this.#options.clock.monotonic() - this.#lookedAt >= heldLookMs) this.#loop.poke();
  }

  #retire(): void {
    const used = new Set(this.#serving.values());
    const now = this.#options.clock.monotonic();
    for (const node of this.#known.values()) {
      if (used.has(node) || used.size === 0) node.unusedSince = undefined;
      else node.unusedSince ??= now;
      if (node.unusedSince === undefined || now - node.unusedSince < unusedMs) continue;
      this.#known.delete(node.address);
      void node.connection.stop();
    }
  }
}
