import { DroverError } from "../../errors.js";
import { asList, asNumber, asText, type Reply } from "./scripts.js";

/** Slots of a Redis Cluster, from the first to the last, and the primary that serves them. */
export interface SlotRange {
  readonly first: number;
  readonly last: number;
  readonly address: string;
}

/**
 * The reply of CLUSTER SLOTS. `asked`: host of the node that said so; a node that does not know its
 * own address leaves it out.
 */
export function readSlots(reply: unknown, asked: string): SlotRange[] {
  return asList(reply).map((row) => {
    const [first, last, primary] = asList(row);
    const [host, port] = asList(primary);
    return {
      first: asNumber(first),
      last: asNumber(last),
      address: `${hostOf(host, asked)}:${asNumber(port)}`,
    };
  });
}

const hostOf = (host: Reply | undefined, asked: string): string => {
  const text = host ? asText(host) : "";
  return text === "" || text === "?" ? asked : text;
};

/** A node's refusal to serve a slot, said before anything ran. */
export type Redirection =
  /** Another node serves it. */
  | { readonly kind: "moved"; readonly address: string }
  /** Its keys are on the way to another node. */
  | { readonly kind: "moving" }
  /** The node serves nothing now: its Cluster is not whole, or it is cut off from it. */
  | { readonly kind: "down" }
  /** No node of the Cluster serves it. */
  | { readonly kind: "homeless" };

/** What an error of the broker says of its slot. `asked`: host of the node that refused. */
export function redirectionOf(error: unknown, asked: string): Redirection | undefined {
  const cause = error instanceof DroverError ? error.cause : error;
  const text = cause instanceof Error ? cause.message : "";
  const moved = /^MOVED \d+ (.*):(\d+)$/.exec(text);
  if (moved) return { kind: "moved", address: `${moved[1] || asked}:${moved[2]}` };
  if (/^(ASK|TRYAGAIN)\b/.test(text)) return { kind: "moving" };
  if (!text.startsWith("CLUSTERDOWN")) return undefined;
  return { kind: /slot not served/.test(text) ? "homeless" : "down" };
}

export interface Address {
  readonly host: string;
  readonly port: string;
}

/** IPv6 has colons of its own: the last one divides. */
export function splitAddress(address: string): Address {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: address.slice(colon + 1) };
}

const defaultPort = "6379";

export function addressOf(url: string): string {
  const { hostname, port } = new URL(url);
  return `${hostname.replace(/^\[(.*)\]$/, "$1")}:${port || defaultPort}`;
}

/** The URL of another node of the same Cluster: same scheme, user and password. */
export function urlOfNode(seed: string, address: string): string {
  const { host, port } = splitAddress(address);
  const url = new URL(seed);
  const shown = host.includes(":") ? `[${host}]` : host;
  return `${url.protocol}//${loginOf(url)}${shown}:${port}${url.search}`;
}

const loginOf = ({ username, password }: URL): string =>
  username === "" && password === "" ? "" : `${username}:${password}@`;
