import type { LookupAddress } from "node:dns";
import * as http from "node:http";
import * as https from "node:https";
import type { LookupFunction } from "node:net";
import { permanent } from "../lib/sdk.js";

export interface PinnedRequest {
  url: URL;
  method: string;
  headers: Record<string, string>;
  body?: string;
  signal: AbortSignal;
  maxBytes: number;
  /** Read no further than `maxBytes`, instead of failing. */
  cut: boolean;
}

export interface PinnedAnswer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

/**
 * One HTTP exchange with one of just these addresses: the name in the URL is used for the Host
 * header and for TLS, never looked up again. No connection is shared, so none can be reused that
 * was made for another check.
 */
export function sendTo(addresses: LookupAddress[], request: PinnedRequest): Promise<PinnedAnswer> {
  const pinned: LookupFunction = (_host, options, callback) => {
    const [first] = addresses;
    if (options.all) callback(null, addresses);
    else callback(null, first?.address ?? "", first?.family ?? 0);
  };
  const { request: open } = request.url.protocol === "https:" ? https : http;
  const headers = { "user-agent": "drover", "accept-encoding": "identity", ...request.headers };
  return new Promise((resolve, reject) => {
    const sending = open(request.url, {
      method: request.method,
      headers,
      lookup: pinned,
      agent: false,
      signal: request.signal,
      maxHeaderSize: 16 * 1024,
    });
    sending.on("error", reject);
    sending.on("response", (response) => {
      readBody(response, request).then(
        (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        reject,
      );
    });
    sending.end(request.body);
  });
}

async function readBody(response: http.IncomingMessage, request: PinnedRequest): Promise<Buffer> {
  const { maxBytes, cut } = request;
  // The body of a redirect is of no use, and its size nobody's concern.
  const redirect = response.statusCode !== undefined && Math.floor(response.statusCode / 100) === 3;
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    if (!cut && !redirect && Number(response.headers["content-length"] ?? 0) > maxBytes) {
      throw tooLarge(maxBytes);
    }
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (redirect) break;
      bytes += chunk.length;
      if (bytes > maxBytes && !cut) throw tooLarge(maxBytes);
      chunks.push(chunk);
      if (bytes > maxBytes) break;
    }
  } finally {
    response.destroy();
  }
  return Buffer.concat(chunks).subarray(0, maxBytes);
}

const tooLarge = (maxBytes: number) =>
  permanent("fetch_too_large", `the answer is larger than ${maxBytes} bytes`);
