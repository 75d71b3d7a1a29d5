import type { IncomingMessage } from "node:http";
import sharp from "sharp";
import { idHeader, signatureFault } from "../lib/webhook-signature.js";
import { escapeHtml, json, page, readText, serveLoopback, type Reply } from "./http.js";

export interface ReceivedHook {
  /** Who sent it: the id of the task. */
  task_id: string;
  method: string;
  path: string;
  body: string;
  fencing_token: string;
  /** Signed with our secret, a moment ago. */
  verified: boolean;
  /** Empty if verified. */
  fault: string;
  received_at: string;
}

export interface SampleServer {
  port: number;
  url: string;
  /** Latest last. */
  hooks: () => readonly ReceivedHook[];
  stop(): Promise<void>;
}

export interface SampleServerOptions {
  /** 0, the default, picks a free one. */
  port?: number;
  /** Webhooks have to be signed with it. */
  secret: string;
  /** How many webhooks are kept; older ones go. Default 100. */
  keep?: number;
}

export const sampleWidth = 800;
export const sampleHeight = 600;

/**
 * The other side of the sample tasks: `/photo.png` and `/photo.jpg` are pictures to process,
 * `/hooks` takes webhooks, refuses those that are not signed, and lists what it got.
 */
export async function start(options: SampleServerOptions): Promise<SampleServer> {
  const hooks: ReceivedHook[] = [];
  const keep = options.keep ?? 100;
  const photos = { png: await photo().png().toBuffer(), jpg: await photo().jpeg().toBuffer() };

  const web = await serveLoopback(options.port ?? 0, async (request, url) => {
    if (url.pathname === "/photo.png") return { type: "image/png", body: photos.png };
    if (url.pathname === "/photo.jpg") return { type: "image/jpeg", body: photos.jpg };
    if (url.pathname === "/hooks" && request.method === "GET") return json({ hooks });
    if (url.pathname === "/hooks") return await takeHook(request, url);
    if (url.pathname === "/") return page("Received webhooks", hooks.map(hookHtml).join(""));
    return json({ error: "not found; try /photo.png, /photo.jpg or /hooks" }, 404);
  });

  async function takeHook(request: IncomingMessage, url: URL): Promise<Reply> {
    const body = await readText(request, 256 * 1024);
    if (body === undefined) return json({ error: "body too large" }, 413);
    const { headers } = request;
    const fault = signatureFault(options.secret, { headers, body, now: Date.now() });
    hooks.push({
      task_id: String(headers[idHeader] ?? ""),
      method: request.method ?? "",
      path: url.pathname,
      body,
      fencing_token: String(headers["drover-fencing-token"] ?? ""),
      verified: fault === undefined,
      fault: fault ?? "",
      received_at: new Date().toISOString(),
    });
    hooks.splice(0, hooks.length - keep);
    return fault === undefined ? json({ received: true }) : json({ error: fault }, 401);
  }

  return {
    port: web.port,
    url: `http://127.0.0.1:${web.port}`,
    hooks: () => hooks,
    stop: () => web.stop(),
  };
}

/** Drawn, so that no picture has to lie in the repository. */
function photo() {
  const sky = `<linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">
    <stop offset="0" stop-color="#1b3a6b"/><stop offset="1" stop-color="#f4a261"/>
    </linearGradient>`;
  const size = `width="${sampleWidth}" height="${sampleHeight}"`;
  const drawing = `<svg xmlns="http://www.w3.org/2000/svg" ${size}>
    <defs>${sky}</defs><rect width="100%" height="100%" fill="url(#sky)"/>
    <circle cx="600" cy="210" r="70" fill="#ffe8a3"/>
    <path d="M0 470 L190 300 L330 430 L500 250 L800 480 L800 600 L0 600 Z" fill="#264027"/></svg>`;
  return sharp(Buffer.from(drawing));
}

const hookHtml = (hook: ReceivedHook): string =>
  `<h2>${escapeHtml(hook.method)} of task ${escapeHtml(hook.task_id)}</h2>
<p>${hook.verified ? "signature verified" : escapeHtml(hook.fault)}, ${hook.received_at}</p>
<pre>${escapeHtml(hook.body)}</pre>`;
