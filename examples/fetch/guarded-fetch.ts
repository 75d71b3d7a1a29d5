import type { LookupAddress } from "node:dns";
import { lookup } from "node:dns/promises";
import type { IncomingHttpHeaders } from "node:http";
import { isIP } from "node:net";
import { TaskFailedError } from "drover/worker";
import { permanent, transient } from "../lib/sdk.js";
import { refusalOf } from "./addresses.js";
import { sendTo } from "./pinned-request.js";

export type Resolve = (host: string) => Promise<LookupAddress[]>;

export interface FetchGuardSettings {
  /**
   * `host:port` entries, by comma, that are exempt from the address check. Only `drover dev` sets
   * any.
   */
  allow?: string | undefined;
  /** Every address of a host; called once for each hop. Default: the system's resolver. */
  resolve?: Resolve;
}

export interface FetchRequest {
  /** Default GET. */
  method?: string;
  headers?: Record<string, string>;
  body?: string | undefined;
  signal: AbortSignal;
  /** For everything together: names, redirects, body. Default 10,000. */
  timeoutMs?: number;
  /** Default 1 MiB. */
  maxBytes?: number;
  /** `fail` (default) refuses a longer body, `cut` reads no further than `maxBytes`. */
  overflow?: "fail" | "cut";
  /** Default 3. */
  maxRedirects?: number;
}

export interface FetchAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
  /** Where the answer came from in the end, without query: queries may hold secrets. */
  from: string;
}

export type GuardedFetch = (url: string, request: FetchRequest) => Promise<FetchAnswer>;

const redirects = new Set([301, 302, 303, 307, 308]);
/**
 * Headers that may follow a redirect to another origin: none that could hold a credential or a
 * signature.
 */
const harmless = new Set(["accept", "accept-encoding", "content-type", "user-agent"]);

/**
 * A fetch that payloads may steer: http and https only, each hop resolved once, every resolved
 * address public, and the connection made to just those addresses, so that a name cannot mean
 * something else a moment later.
 */
export function createGuardedFetch(settings: FetchGuardSettings = {}): GuardedFetch {
  const allowed = parseAllowList(settings.allow ?? "");
  const resolve = settings.resolve ?? ((host) => lookup(host, { all: true, order: "verbatim" }));

  return async (address, request) => {
    const limit = AbortSignal.timeout(request.timeoutMs ?? 10_000);
    const signal = AbortSignal.any([request.signal, limit]);
    try {
      return await follow(parseUrl(address), request, signal);
    } catch (error) {
      request.signal.throwIfAborted();
      if (limit.aborted) throw transient("fetch_timeout", "no full answer within the time limit");
      if (error instanceof TaskFailedError) throw error;
      throw transient("fetch_failed", `cannot fetch: ${reasonOf(error)}`);
    }
  };

  async function follow(first: URL, request: FetchRequest, signal: AbortSignal) {
    const most = request.maxRedirects ?? 3;
    let hop: Hop = { url: first, method: request.method ?? "GET", headers: request.headers ?? {} };
    if (request.body !== undefined) hop.body = request.body;
    for (let count = 0; ; count += 1) {
      const addresses = await addressesOf(hop.url, signal);
      const answer = await sendTo(addresses, {
        ...hop,
        signal,
        maxBytes: request.maxBytes ?? 1024 * 1024,
        cut: request.overflow === "cut",
      });
      const location = answer.headers.location;
      if (!redirects.has(answer.status) || location === undefined) {
        return { ...answer, from: nameOf(hop.url) };
      }
      if (count >= most) {
        throw refuse(`${nameOf(hop.url)} redirects, and at most ${most} redirects are followed`);
      }
      hop = nextHop(hop, answer.status, location);
    }
  }

  async function addressesOf(url: URL, signal: AbortSignal): Promise<LookupAddress[]> {
    const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
    const family = isIP(host);
    const found = family
      ? [{ address: host, family }]
      : await Promise.race([resolve(host), rejectOn(signal)]);
    if (found.length === 0) throw transient("fetch_failed", `${host} has no address`);
    if (allowed.has(`${url.hostname}:${portOf(url)}`)) return found;
    // One bad address among good ones is refused as well: which one is used is not ours to choose.
    for (const { address } of found) {
      const refusal = refusalOf(address);
      if (refusal) throw refuse(`${nameOf(url)} is at ${address}, which is ${refusal}`);
    }
    return found;
  }
}

export interface Hop {
  url: URL;
  method: string;
  headers: Record<string, string>;
  body?: string;
}

/** What a redirect makes of a request; throws where it must not be followed. */
export function nextHop(hop: Hop, status: number, location: string): Hop {
  const url = parseUrl(location, hop.url);
  if (hop.url.protocol === "https:" && url.protocol === "http:") {
    throw refuse(`${nameOf(hop.url)} redirects from https to http`);
  }
  const sameOrigin = url.origin === hop.url.origin;
  const headers = Object.entries(hop.headers).filter(
    ([name]) => sameOrigin || harmless.has(name.toLowerCase()),
  );
  const next: Hop = { url, method: hop.method, headers: Object.fromEntries(headers) };
  // 307 and 308 repeat the request, the older ones ask for the result of it; a body stays with its
  // origin.
  if (status !== 307 && status !== 308) next.method = hop.method === "HEAD" ? "HEAD" : "GET";
  else if (hop.body !== undefined && !sameOrigin) {
    throw refuse(`${nameOf(hop.url)} redirects a body to another origin`);
  } else if (hop.body !== undefined) next.body = hop.body;
  return next;
}

function parseUrl(text: string, base?: URL): URL {
  // The parser also turns octal, hex, short and decimal IPv4 forms into dotted ones, before any
  // check.
  const fits = text.length <= 2048 && URL.canParse(text, base?.href);
  const url = fits ? new URL(text, base) : undefined;
  if (!url) throw refuse("a URL of at most 2,048 characters was expected");
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw refuse(`only http: and https: URLs are fetched, not ${url.protocol}`);
  }
  if (url.username || url.password) throw refuse("a URL must not hold a user name or password");
  return url;
}

function parseAllowList(text: string): Set<string> {
  const entries = text.split(",").map((entry) => entry.trim());
  return new Set(entries.filter((entry) => /^[^\s:]+:\d+$|^\[[0-9a-f:]+\]:\d+$/.test(entry)));
}

const portOf = (url: URL) => url.port || (url.protocol === "https:" ? "443" : "80");
const nameOf = (url: URL) => `${url.origin}${url.pathname}`;
const refuse = (why: string) => permanent("fetch_refused", why);

/** System errors name themselves by code; the texts of some hold whole URLs. */
const reasonOf = (error: unknown): string => {
  const { code } = error as NodeJS.ErrnoException;
  return code ?? (error instanceof Error ? error.message : String(error));
};

const rejectOn = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
