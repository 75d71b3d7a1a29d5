import * as http from "node:http";
import type { AddressInfo } from "node:net";

export interface Running {
  port: number;
  /** Closes every connection and waits until the port is free. */
  stop(): Promise<void>;
}

export type Reply = { status?: number; type?: string; body: string | Buffer };
export type Answer = (request: http.IncomingMessage, url: URL) => Reply | Promise<Reply>;

const headers = {
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
};

/** A small server on the loopback address: nobody else has any business with the samples. */
export async function serveLoopback(port: number, answer: Answer): Promise<Running> {
  const server = http.createServer({ requestTimeout: 10_000 }, (request, response) => {
    void reply(request, answer).then(({ status = 200, type, body }) => {
      response.writeHead(status, { ...headers, "content-type": type ?? "application/json" });
      response.end(body);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function reply(request: http.IncomingMessage, answer: Answer): Promise<Reply> {
  try {
    const path = request.url ?? "/";
    if (!URL.canParse(path, "http://loopback")) return json({ error: "bad path" }, 400);
    return await answer(request, new URL(path, "http://loopback"));
  } catch (error) {
    return json({ error: error instanceof Error ? error.message : String(error) }, 500);
  }
}

export const json = (value: unknown, status = 200): Reply => ({
  status,
  type: "application/json",
  body: JSON.stringify(value),
});

export const page = (title: string, content: string): Reply => ({
  type: "text/html; charset=utf-8",
  body: `<!doctype html><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<style>body{font:15px system-ui;margin:2rem;max-width:60rem}pre{white-space:pre-wrap}</style>
<h1>${escapeHtml(title)}</h1>${content}`,
});

export const escapeHtml = (text: string): string =>
  text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** The whole body as text, or undefined if it is longer than `maxBytes`. */
export async function readText(
  stream: AsyncIterable<Buffer>,
  maxBytes: number,
): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
