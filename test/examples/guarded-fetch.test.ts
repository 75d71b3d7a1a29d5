import type { LookupAddress } from "node:dns";
import { expect, test } from "vitest";
import { createGuardedFetch, nextHop, type Hop } from "../../examples/fetch/guarded-fetch.js";
import { failureOf, testServer } from "./example-context.js";

const { signal } = new AbortController();
const hello = () => testServer((_request, response) => response.end("hello"));
const at = (...addresses: string[]): LookupAddress[] =>
  addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));

test.each([
  ["a loopback address", "http://127.0.0.1:PORT/"],
  ["another loopback address", "http://127.8.9.10:PORT/"],
  ["a decimal address", "http://2130706433:PORT/"],
  ["an octal address", "http://0177.0.0.1:PORT/"],
  ["a hexadecimal address", "http://0x7f000001:PORT/"],
  ["a short address", "http://127.1:PORT/"],
  ["a trailing dot", "http://127.0.0.1.:PORT/"],
  ["full-width digits", "http://１２７.0.0.1:PORT/"],
  ["a percent-encoded address", "http://%31%32%37.0.0.1:PORT/"],
  ["zero", "http://0:PORT/"],
  ["the unspecified address", "http://0.0.0.0:PORT/"],
  ["the IPv6 loopback", "http://[::1]:PORT/"],
  ["the IPv6 unspecified", "http://[::]:PORT/"],
  ["an IPv4-mapped address", "http://[::ffff:127.0.0.1]:PORT/"],
  ["an IPv4-mapped address in hexadecimal", "http://[::ffff:7f00:1]:PORT/"],
  ["an IPv4-compatible address", "http://[::127.0.0.1]:PORT/"],
  ["the metadata service", "http://169.254.169.254/latest/meta-data/"],
  ["a name of the loopback", "http://localhost:PORT/"],
  ["a user name", "http://127.0.0.1:PORT@127.0.0.1:PORT/"],
  ["a file", "file:///etc/passwd"],
  ["gopher", "gopher://127.0.0.1:PORT/"],
  ["data", "data:text/plain,hello"],
  ["no URL", "//127.0.0.1:PORT/"],
  ["a URL without end", `http://example.com/${"a".repeat(3000)}`],
])("%s is refused without a connection", async (_what, url) => {
  const server = await hello();
  const fetch = createGuardedFetch();
  const work = fetch(url.replaceAll("PORT", String(server.port)), { signal });
  await failureOf(work, "fetch_refused", false);
  expect(server.connections()).toBe(0);
});

test("a name is refused if only one of its addresses is not public", async () => {
  const fetch = createGuardedFetch({ resolve: async () => at("1.1.1.1", "10.0.0.1") });
  const { message } = await failureOf(
    fetch("http://mixed.example/", { signal }),
    "fetch_refused",
    false,
  );
  expect(message).toContain("10.0.0.1, which is private");
});

test("a name that means another address a moment later is asked for once, and the first one used", async () => {
  const server = await hello();
  const answers = [at("192.0.1.1"), at("127.0.0.1")];
  let asked = 0;
  const fetch = createGuardedFetch({ resolve: async () => answers[asked++] ?? [] });
  const work = fetch(`http://rebinding.example:${server.port}/`, { signal, timeoutMs: 300 });
  await expect(work).rejects.toMatchObject({ retryable: true });
  expect(asked).toBe(1);
  expect(server.connections()).toBe(0);
});

test("a host and port on the allow list is fetched, by the address it was resolved to", async () => {
  const server = await hello();
  const fetch = createGuardedFetch({
    allow: `catcher.example:${server.port}, 127.0.0.1:1`,
    resolve: async () => at("127.0.0.1"),
  });
  const answer = await fetch(`http://catcher.example:${server.port}/a?secret=1`, { signal });
  expect(answer).toMatchObject({ status: 200, from: `http://catcher.example:${server.port}/a` });
  expect(answer.body.toString()).toBe("hello");
  expect(server.requests[0]?.headers.host).toBe(`catcher.example:${server.port}`);
});

test("an allowed port is allowed for its host alone, and a host for its port alone", async () => {
  const [allowed, other] = [await hello(), await hello()];
  const fetch = createGuardedFetch({
    allow: `127.0.0.1:${allowed.port}`,
    resolve: async () => at("127.0.0.1"),
  });
  const name = `http://name.example:${allowed.port}/`;
  await failureOf(fetch(name, { signal }), "fetch_refused", false);
  await failureOf(fetch(other.url, { signal }), "fetch_refused", false);
  expect(allowed.connections() + other.connections()).toBe(0);
});

test("entries of the allow list that are no host:port allow nothing", async () => {
  const server = await hello();
  const fetch = createGuardedFetch({ allow: "*, 127.0.0.1, :, 127.0.0.1:*, http://127.0.0.1" });
  await failureOf(fetch(server.url, { signal }), "fetch_refused", false);
});

test("a redirect to an address that is not public is refused without a connection", async () => {
  const hidden = await hello();
  const server = await testServer((_request, response) => {
    response.writeHead(302, { location: `http://127.0.0.1:${hidden.port}/admin` }).end();
  });
  const fetch = createGuardedFetch({ allow: `127.0.0.1:${server.port}` });
  await failureOf(fetch(server.url, { signal }), "fetch_refused", false);
  expect(hidden.connections()).toBe(0);
});

test.each(["file:///etc/passwd", "http://user:secret@1.1.1.1/", "http://169.254.169.254/"])(
  "a redirect to %s is refused",
  async (location) => {
    const server = await testServer((_request, response) => {
      response.writeHead(307, { location }).end();
    });
    const fetch = createGuardedFetch({ allow: `127.0.0.1:${server.port}` });
    const { message } = await failureOf(fetch(server.url, { signal }), "fetch_refused", false);
    expect(message).not.toContain("secret");
  },
);

test("three redirects are followed, a fourth is not", async () => {
  const server = await testServer((request, response) => {
    const left = Number(request.url?.slice(1));
    if (left === 0) response.end("there");
    else response.writeHead(302, { location: `/${left - 1}` }).end();
  });
  const fetch = createGuardedFetch({ allow: `127.0.0.1:${server.port}` });
  expect((await fetch(`${server.url}/3`, { signal })).body.toString()).toBe("there");
  await failureOf(fetch(`${server.url}/4`, { signal }), "fetch_refused", false);
});

const hop = (changes: Partial<Hop> = {}): Hop => ({
  url: new URL("https://one.example/start"),
  method: "POST",
  headers: { Authorization: "Bearer secret", cookie: "a=b", accept: "*/*", "x-signature": "s" },
  ...changes,
});

test("a redirect from https to http is refused", () => {
  expect(() => nextHop(hop(), 302, "http://one.example/")).toThrow("from https to http");
});

test("credentials stay with their origin", () => {
  expect(nextHop(hop(), 302, "/next").headers).toEqual(hop().headers);
  expect(nextHop(hop(), 302, "https://two.example/").headers).toEqual({ accept: "*/*" });
  expect(nextHop(hop(), 302, "https://one.example:444/").headers).toEqual({ accept: "*/*" });
});

test("a body is sent again to its own origin only, and only where the redirect says so", () => {
  const post = hop({ body: "data" });
  expect(nextHop(post, 308, "/next")).toMatchObject({ method: "POST", body: "data" });
  expect(nextHop(post, 303, "/next")).not.toHaveProperty("body");
  expect(nextHop(post, 303, "/next").method).toBe("GET");
  expect(() => nextHop(post, 307, "https://two.example/")).toThrow("another origin");
});

test("an answer over the limit is refused, whether it says its size or not", async () => {
  const server = await testServer((request, response) => {
    if (request.url === "/said") response.end("x".repeat(2000));
    else response.writeHead(200).write("x".repeat(2000));
  });
  const fetch = createGuardedFetch({ allow: `127.0.0.1:${server.port}` });
  for (const path of ["/said", "/endless"]) {
    const work = fetch(server.url + path, { signal, maxBytes: 1000 });
    await failureOf(work, "fetch_too_large", false);
  }
});

test("an answer that may be cut is read up to the limit", async () => {
  const server = await testServer((_request, response) => {
    response.writeHead(200).write("x".repeat(2000));
  });
  const fetch = createGuardedFetch({ allow: `127.0.0.1:${server.port}` });
  const answer = await fetch(server.url, { signal, maxBytes: 1000, overflow: "cut" });
  expect(answer.body).toHaveLength(1000);
});

test.each(["/never", "/drip"])("an answer that takes too long at %s ends in time", async (path) => {
  const server = await testServer((request, response) => {
    if (request.url === "/drip") response.writeHead(200).write("x");
  });
  const fetch = createGuardedFetch({ allow: `127.0.0.1:${server.port}` });
  const work = fetch(server.url + path, { signal, timeoutMs: 200 });
  await failureOf(work, "fetch_timeout", true);
});

test("a resolver that never answers is not waited for", async () => {
  const fetch = createGuardedFetch({ resolve: () => new Promise(() => undefined) });
  const work = fetch("http://slow.example/", { signal, timeoutMs: 100 });
  await failureOf(work, "fetch_timeout", true);
});

test("the caller's signal ends the fetch with its own reason, even before it began", async () => {
  const stop = new AbortController();
  const server = await testServer(() => stop.abort(new Error("stop it")));
  const fetch = createGuardedFetch({ allow: `127.0.0.1:${server.port}` });
  await expect(fetch(server.url, { signal: stop.signal })).rejects.toThrow("stop it");
  await expect(fetch(server.url, { signal: stop.signal })).rejects.toThrow("stop it");
  expect(server.requests).toHaveLength(1);
});

test("a server that cannot be reached is worth another attempt", async () => {
  const fetch = createGuardedFetch({ allow: "127.0.0.1:1" });
  const { message } = await failureOf(
    fetch("http://127.0.0.1:1/?secret", { signal }),
    "fetch_failed",
    true,
  );
  expect(message).toContain("ECONNREFUSED");
  expect(message).not.toContain("secret");
});
