import { once } from "node:events";
import * as http2 from "node:http2";
import { gzipSync } from "node:zlib";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GrpcRawStream } from "../../src/api/raw-stream.js";
import { limits } from "../../src/limits.js";
import { framed } from "../../src/wire/messages.js";
import { createInbox, type Inbox } from "../support/inbox.js";

type Call = grpc.ServerDuplexStream<Buffer, Buffer>;

const asIs = (bytes: Buffer): Buffer => bytes;
const path = "/test/Talk";
const definition = {
  path,
  requestStream: true,
  responseStream: true,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
};

let server: grpc.Server;
let session: http2.ClientHttp2Session;
let calls: Inbox<Call>;
let heard: Inbox<string>;
let raw: GrpcRawStream;
/** Who handed the last message on. */
let stack = "";

beforeEach(async () => {
  calls = createInbox();
  heard = createInbox();
  server = new grpc.Server({ "grpc.max_receive_message_length": limits.messageBytes });
  server.addService({ talk: definition }, { talk: (call: Call) => calls.push(call) });
  const port = await new Promise<number>((resolve, reject) => {
    const credentials = grpc.ServerCredentials.createInsecure();
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  session = http2.connect(`http://127.0.0.1:${port}`);
  await once(session, "connect");
});

afterEach(() => {
  session.destroy();
  server.forceShutdown();
});

const frame = (text: string): Buffer => framed(Buffer.from(text));

/** Begins a call, and listens to it at its other end. */
async function talk(headers: http2.OutgoingHttpHeaders = {}) {
  const given = { ":method": "POST", ":path": path, "content-type": "application/grpc" };
  const stream = session.request({ ...given, te: "trailers", ...headers });
  stream.on("error", () => undefined);
  stream.write(frame("early"));
  const call = await calls.next("a call");
  raw = new GrpcRawStream(call);
  const inbox = heard;
  raw.listen({
    onMessage(bytes) {
      const text = bytes.toString();
      if (text === "throw") throw new Error("thrown");
      stack = String(new Error("here").stack);
      inbox.push(text);
    },
    onEnd: () => inbox.push("<end>"),
    onFailure: (error) => inbox.push(`<${(error as Error).message}>`),
    onWritable: () => inbox.push("<writable>"),
  });
  expect(await heard.next("the first message")).toBe("early");
  return { stream, call };
}

const next = (): Promise<string> => heard.next("a message");

describe("a raw stream", () => {
  it("reads past the layers of grpc-js, however the messages are cut", async () => {
    const { stream } = await talk();
    for (const byte of Buffer.concat([frame("a"), frame(""), frame("bc")])) {
      stream.write(Buffer.of(byte));
    }
    expect([await next(), await next(), await next()]).toEqual(["a", "", "bc"]);
    expect(stack).toContain("readDirectly");
    expect(stack).not.toContain("grpc-js");
  });

  it("takes compressed messages, and marks of compression that mean nothing", async () => {
    const zipped = framed(gzipSync("zipped"));
    zipped[0] = 1;
    const { stream } = await talk({ "grpc-encoding": "gzip" });
    stream.write(zipped);
    expect(await next()).toBe("zipped");
    const plain = await talk();
    const marked = frame("marked");
    marked[0] = 1;
    plain.stream.write(marked);
    expect(await next()).toBe("marked");
  });

  it("writes its head, messages and status in that order", async () => {
    const { stream, call } = await talk();
    raw.write(Buffer.from("one"));
    raw.write(Buffer.from("two"));
    call.emit("error", { code: grpc.status.ABORTED, details: "over" });
    const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    const [trailers] = (await once(stream, "trailers")) as [http2.IncomingHttpHeaders];
    expect(headers).toMatchObject({ ":status": 200, "content-type": "application/grpc+proto" });
    expect(Buffer.concat(chunks)).toEqual(Buffer.concat([frame("one"), frame("two")]));
    expect(trailers).toMatchObject({ "grpc-status": "10", "grpc-message": "over" });
  });

  it("says that the peer takes too little, and when it takes more again", async () => {
    const { stream } = await talk();
    raw.write(Buffer.alloc(200 * 1024));
    expect(raw.writable).toBe(false);
    stream.resume();
    expect(await next()).toBe("<writable>");
    expect(raw.writable).toBe(true);
  });

  it("reads nothing while it is paused, and nothing is lost", async () => {
    const { stream } = await talk();
    raw.pause();
    stream.write(frame("later"));
    await new Promise((resolve) => session.ping(() => resolve(undefined)));
    expect(heard.waiting).toEqual([]);
    raw.resume();
    expect(await next()).toBe("later");
  });

  it("ends once when the peer has half-closed or is gone", async () => {
    const { stream } = await talk();
    stream.end(frame("last"));
    expect([await next(), await next()]).toEqual(["last", "<end>"]);
    const { stream: broken, call } = await talk();
    broken.close(http2.constants.NGHTTP2_CANCEL);
    expect(await next()).toBe("<end>");
    raw.write(Buffer.from("to nobody"));
    if (!call.cancelled) await once(call, "cancelled");
  });

  it("hands on what a message throws, and takes no more", async () => {
    const { stream } = await talk();
    stream.write(Buffer.concat([frame("throw"), frame("unheard")]));
    expect(await next()).toBe("<thrown>");
    expect(heard.waiting).toEqual([]);
  });

  it("refuses a message that is too long", async () => {
    const { stream } = await talk();
    stream.resume();
    stream.write(Buffer.of(0, 0xff, 0, 0, 0));
    const [trailers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
    expect(trailers["grpc-status"]).toBe("8");
  });
});
