import sharp, { type Metadata } from "sharp";
import { z } from "zod";
import { createGuardedFetch, type GuardedFetch } from "../fetch/guarded-fetch.js";
import { outputFolder, writeOutput } from "../lib/output.js";
import { readPayload } from "../lib/payload.js";
import { permanent, transient, type SampleHandler } from "../lib/sdk.js";

const maxPixels = 50_000_000;
const maxSourceBytes = 20 * 1024 * 1024;
const side = z.number().int().min(1).max(8192);
const outputFormat = z.enum(["png", "jpeg", "webp", "avif"]);

const imageSchema = z
  .object({
    image_url: z.string().min(1).max(2048),
    operation: z.enum(["resize", "rotate", "convert"]),
    /**
     * Without both sides, `resize` makes the image 320 wide. With one, the other follows the image.
     */
    width: side.optional(),
    height: side.optional(),
    /** Degrees clockwise, for `rotate`. */
    angle: z.number().int().min(-360).max(360).default(90),
    /** Default: as the source. */
    format: outputFormat.optional(),
  })
  .refine((image) => image.operation !== "convert" || image.format !== undefined, {
    path: ["format"],
    message: "png, jpeg, webp or avif was expected, to convert to",
  });
type ImageWork = z.output<typeof imageSchema>;

/**
 * What a source may be, and what becomes of it if no format is asked for. Vector formats can pull
 * in other files.
 */
const sources: Readonly<Record<string, z.output<typeof outputFormat>>> = {
  jpeg: "jpeg",
  png: "png",
  webp: "webp",
  heif: "avif",
  gif: "png",
  tiff: "png",
};

export interface ProcessImageSettings {
  /** Default: a fetch guard that allows what DROVER_FETCH_ALLOW names. */
  fetch?: GuardedFetch;
  /** Where images go. Default: `images` below the output folder. */
  folder?: string;
}

export interface ProcessImageResult {
  path: string;
  width: number;
  height: number;
  bytes: number;
  sha256: string;
  format: string;
}

/** Fetches an image, resizes, rotates or converts it, and writes one file per task. */
export function createProcessImage(
  settings: ProcessImageSettings = {},
): SampleHandler<ProcessImageResult> {
  return {
    type: "process_image",
    async handle(payload, context) {
      const work = readPayload(imageSchema, payload);
      const fetch =
        settings.fetch ?? createGuardedFetch({ allow: process.env["DROVER_FETCH_ALLOW"] });
      const source = await download(fetch, work.image_url, context.signal);
      context.progress(0.4, "fetched");
      const image = await unlessAborted(render(source, work), context.signal);
      context.progress(0.9, "rendered");
      const folder = settings.folder ?? `${outputFolder()}/images`;
      const file = await writeOutput(folder, image.format, [image.data], context);
      return { ...file, width: image.width, height: image.height, format: image.format };
    },
  };
}

async function download(fetch: GuardedFetch, url: string, signal: AbortSignal): Promise<Buffer> {
  const answer = await fetch(url, { signal, timeoutMs: 20_000, maxBytes: maxSourceBytes });
  if (answer.status === 200) return answer.body;
  const says = `${answer.from} answered ${answer.status}, not 200`;
  const passing = answer.status >= 500 || answer.status === 429 || answer.status === 408;
  throw passing ? transient("fetch_failed", says) : permanent("fetch_failed", says);
}

async function render(source: Buffer, work: ImageWork) {
  if (source.length === 0) throw notAnImage("it is empty");
  const input = sharp(source, { limitInputPixels: maxPixels, failOn: "error" });
  const metadata = await input.metadata().catch(cannotDecode);
  const usual = sources[metadata.format ?? ""];
  if (!usual) throw notAnImage(`it is ${metadata.format ?? "unknown"}`);
  const format = work.format ?? usual;
  let image = input.autoOrient();
  if (work.operation === "rotate") image = image.rotate(work.angle, { background: "#ffffff" });
  const size = sizeFor(work, metadata);
  if (size) image = image.resize(size);
  const { data, info } = await image
    .toFormat(format)
    .timeout({ seconds: 30 })
    .toBuffer({ resolveWithObject: true })
    .catch(cannotDecode);
  return { data, width: info.width, height: info.height, format };
}

function sizeFor(work: ImageWork, source: Metadata) {
  const { width, height } = work;
  if (width === undefined && height === undefined) {
    return work.operation === "resize" ? { width: 320 } : undefined;
  }
  const [sourceWidth, sourceHeight] = [source.autoOrient.width, source.autoOrient.height];
  const outWidth = width ?? (sourceWidth * (height ?? 0)) / sourceHeight;
  const outHeight = height ?? (sourceHeight * (width ?? 0)) / sourceWidth;
  if (outWidth * outHeight > maxPixels) {
    throw permanent("invalid_payload", `payload.width: the result would pass ${maxPixels} pixels`);
  }
  return { ...(width && { width }), ...(height && { height }) };
}

const notAnImage = (why: string) =>
  permanent("not_an_image", `image_url must hold a JPEG, PNG, WebP, AVIF, GIF or TIFF: ${why}`);
const cannotDecode = (error: Error): never => {
  throw notAnImage(error.message.slice(0, 200));
};

/** The library cannot stop half-way, but nobody has to wait for it; its own limit is 30 s. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

export default createProcessImage();
