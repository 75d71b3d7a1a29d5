import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";
import type { LeaseSchema, TaskSchema } from "../../gen/drover/v1/task_pb.js";
import type { Logger } from "../../src/worker/index.js";

export const quietLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

type LeaseInit = MessageInitShape<typeof LeaseSchema>;

export const tokenOf = (name: string): Uint8Array => Buffer.from(`token-${name}`);
export const nameOf = (token: Uint8Array): string => Buffer.from(token).toString().slice(6);

/** A lease as a coordinator would send it; its token is made of the name. */
export function jsonLease(
  name: string,
  type: string,
  payload?: unknown,
  more: { timeout?: Duration; task?: MessageInitShape<typeof TaskSchema> } = {},
): LeaseInit {
  const blob =
    payload === undefined
      ? {}
      : {
          payloadBlob: {
            contentType: "application/json",
            data: Buffer.from(JSON.stringify(payload)),
          },
        };
  const base = { id: `id-${name}`, type, queue: "default", attempt: 1 };
  const task = { ...base, ...blob, ...more.task } as MessageInitShape<typeof TaskSchema>;
  return {
    leaseToken: tokenOf(name),
    fencingToken: 7n,
    task,
    ...(more.timeout ? { timeout: more.timeout } : {}),
  };
}
